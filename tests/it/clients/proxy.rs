//! `setup docker --proxy`, with a dockerd that has mirrors for Docker Hub only. It runs in a mount namespace, because
//! there is no flag for its `/etc/docker/certs.d`.

use std::path::Path;
use std::process::Command;

use super::{OTHER, REPOSITORY, Site, tree};
use crate::support::programs::{Dockerd, program};

/// dockerd, on a machine whose `/etc/docker` is the test's own.
fn dockerd(etc: &Path) -> Command {
    drop(program("dockerd"));
    let mut command = program("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c"]);
    command.arg("mkdir -p /etc/docker && mount --bind \"$1\" /etc/docker && shift && exec \"$@\"");
    command.arg("sh").arg(etc).arg("dockerd");
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn dockerd_pulls_from_another_registry_through_the_proxy_and_everything_is_taken_back() {
    let mut site = Site::start_with("v2s2", &["--proxy-listen", "127.0.0.1:0"]);
    let (etc, docker, systemd) = (site.dir("etc-docker"), site.dir("docker"), site.dir("systemd"));
    let real = tree(Path::new("/etc/docker"));
    let first = Dockerd::start_as(dockerd(&etc), &docker, ("{}", &[]));
    let (certs, before) = (etc.join("certs.d"), [tree(&etc), tree(&systemd)]);
    let drop_in = systemd.join("docker.service.d/hubcap-proxy.conf");
    let at = ["--docker-host", first.host(), "--certs-dir", certs.to_str().expect("text")];
    let setup =
        [&["setup", "docker", "--proxy", OTHER, "--drop-in", drop_in.to_str().expect("text")], &at[..]];
    let said = site.hubcap(&setup.concat());
    assert!(
        said.contains("to have it take effect: restart dockerd")
            && said.contains("While hubcap does not run"),
        "{said}"
    );
    assert!(certs.join(OTHER).join("ca.crt").exists(), "{said}");

    let doctor = |host: &str| {
        let hub = format!("docker.io=http://127.0.0.1:{}", site.origins[0].port);
        super::said(&site.run(&["doctor", "--docker-host", host, "--upstream", &hub]))
    };
    assert!(doctor(first.host()).contains("as its proxy yet"), "{}", doctor(first.host()));

    // What systemd does at a restart.
    let text = std::fs::read_to_string(&drop_in).expect("written");
    let json = std::fs::read_to_string(docker.join("daemon.json")).expect("there");
    let at: Vec<String> = at.iter().map(ToString::to_string).collect();
    drop(first);
    let mut command = dockerd(&etc);
    for line in text.lines().filter_map(|line| line.strip_prefix("Environment=\"")?.strip_suffix('"')) {
        let (name, value) = line.split_once('=').expect("a variable");
        command.env(name, value);
    }
    let second = Dockerd::start_as(command, &docker, (&json, &[]));
    assert!(
        doctor(second.host()).contains(&format!("with the images of {OTHER}, by its proxy"))
            && !doctor(second.host()).contains("has mirrors for Docker Hub only"),
        "{}",
        doctor(second.host())
    );
    let image = format!("{OTHER}/{REPOSITORY}");
    let pull = || {
        second.docker(&["pull", &image]);
        let id = second.docker(&["image", "inspect", "--format", "{{.Id}}", &image]);
        second.docker(&["image", "rm", "--force", &image]);
        id
    };
    let cold = pull();
    let served = site.blobs_served();
    assert_eq!(served, 4, "three layers and the configuration, once each");
    assert_eq!(pull(), cold);
    assert_eq!(site.blobs_served(), served, "no blob comes from the origin again");
    site.origins.clear();
    assert_eq!(pull(), cold, "with the origin stopped");

    let at: Vec<&str> = at.iter().map(String::as_str).collect();
    let said = site.hubcap(&[&["unset", "docker"], &at[..]].concat());
    assert!(said.contains("still uses hubcap's proxy, until it is restarted"), "{said}");
    let down = site.run(&[&["down"], &at[..]].concat());
    assert!(super::said(&down).contains("until it is restarted, and without hubcap they would fail"));
    assert_eq!(down.status.code(), Some(1), "{}", super::said(&down));
    assert_eq!(site.hubcap.get("/v2/").await.status(), 200, "hubcap goes on while dockerd needs it");
    assert_eq!([tree(&etc), tree(&systemd)], before, "every file and directory is as it was");
    assert_eq!(std::fs::read_to_string(docker.join("daemon.json")).expect("there"), "{}");
    assert_eq!(tree(Path::new("/etc/docker")), real, "the tester's own files are untouched");
}
