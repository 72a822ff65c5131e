//! The images that builds begin from.

use super::podman::Machine;
use super::{OTHER, REPOSITORY, Site};
use crate::support::programs::Dockerd;

#[tokio::test(flavor = "multi_thread")]
async fn docker_build_with_buildkit_pulls_its_from_images_through_hubcap() {
    let mut site = Site::start("v2s2");
    let context = site.dir("context");
    let file = format!("FROM {REPOSITORY}\nCOPY Dockerfile /copied\n");
    std::fs::write(context.join("Dockerfile"), file).expect("written");
    let dockerd = Dockerd::start(&site.dir("docker"), &site.hubcap.https);
    let build = || {
        dockerd.build(&context, "built");
        dockerd.docker(&["image", "rm", "--force", "built"]);
        dockerd.docker(&["builder", "prune", "--all", "--force"]);
    };
    build();
    let served = site.blobs_served();
    assert_eq!(served, 4, "three layers and the configuration, once each");
    build();
    assert_eq!(site.blobs_served(), served, "no blob comes from the origin again");
    site.origins.clear();
    build();
}

#[tokio::test(flavor = "multi_thread")]
async fn buildah_bud_pulls_its_from_images_through_hubcap() {
    let mut site = Site::start("oci");
    let machine = Machine::new(&site);
    machine.hubcap(&site, &["setup", "podman", OTHER]);
    let context = site.dir("context");
    let file = format!("FROM {OTHER}/{REPOSITORY}\nRUN [\"/bin/busybox\", \"cat\", \"/etc/greeting\"]\n");
    std::fs::write(context.join("Containerfile"), file).expect("written");
    let context = context.to_str().expect("text");
    let build = || {
        let said = machine
            .run("buildah", &["bud", "--isolation", "chroot", "--no-cache", "--tag", "built", context]);
        assert!(said.contains("hello from the other one"), "{said}");
        machine.run("buildah", &["rmi", "--all", "--force"]);
    };
    build();
    let served = site.blobs_served();
    assert_eq!(served, 4, "three layers and the configuration, once each");
    build();
    assert_eq!(site.blobs_served(), served, "no blob comes from the origin again");
    site.origins.clear();
    build();
    machine.hubcap(&site, &["unset", "podman"]);
    machine.assert_the_testers_own_files_are_untouched();
}
