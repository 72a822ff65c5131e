//! Trouble upstream, as real clients take it: they go on to the next place that they know, and what they tell is so.

use std::path::Path;
use std::process::Command;

use super::containerd::{Containerd, of_debian, of_today};
use super::{REPOSITORY, said};
use crate::real::{layout, push};
use crate::support::hubcap::{Hubcap, Place, manifest};
use crate::support::programs::{Dockerd, Registry, modern, program};

/// Nobody listens there.
const NOWHERE: &str = "http://127.0.0.1:9";

/// A hubcap that has the manifest of an image, and can have none of its blobs, and a registry that has all of it.
struct Site {
    place: Place,
    hubcap: Hubcap,
    registry: Registry,
}

impl Site {
    async fn start() -> Self {
        let place = Place::new();
        let registry = |name: &str| {
            let dir = place.dir.path().join(name);
            std::fs::create_dir(&dir).expect("a directory");
            let registry = Registry::start(&dir);
            push(&registry, &layout(&dir), (REPOSITORY, "v2s2"));
            registry
        };
        let (gone, registry) = (registry("gone"), registry("registry"));
        let hubcap = place.start(&format!("http://127.0.0.1:{}", gone.port), &[]);
        let (name, tag) = REPOSITORY.split_once(':').expect("a tag");
        assert_eq!(hubcap.get(&manifest(name, tag)).await.status(), 200);
        drop(gone);
        Self { place, hubcap, registry }
    }

    /// A dockerd that asks hubcap, and then the registry.
    fn dockerd(&self, command: Command, name: &str, containerd_store: bool) -> Dockerd {
        let dir = self.place.dir.path().join(name);
        std::fs::create_dir(&dir).expect("a directory");
        let mirrors = format!("\"{}\", \"http://127.0.0.1:{}\"", self.hubcap.https, self.registry.port);
        let json = format!(
            "{{\"registry-mirrors\": [{mirrors}], \"features\": {{\"containerd-snapshotter\": {containerd_store}}}}}"
        );
        Dockerd::start_as(command, &dir, (&json, &[]))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_dockerd_takes_from_its_next_mirror_what_hubcap_cannot_have() {
    let site = Site::start().await;
    let context = site.place.dir.path().join("context");
    std::fs::create_dir(&context).expect("a directory");
    std::fs::write(context.join("Dockerfile"), format!("FROM {REPOSITORY}\nLABEL a=b\n")).expect("written");
    let mut dockerds = vec![("of Debian", program("dockerd"), false)];
    dockerds.extend(modern("dockerd").map(|command| ("of today", command, false)));
    dockerds.extend(modern("dockerd").map(|command| ("with containerd's store", command, true)));
    for (name, command, containerd_store) in dockerds {
        let dockerd = site.dockerd(command, name, containerd_store);
        let served = site.registry.blobs_served();
        let asked = || {
            let log = site.hubcap.log();
            log.lines().filter(|line| line.contains("hubcap::access") && line.contains("/blobs/")).count()
        };
        let before = asked();
        dockerd.docker(&["pull", REPOSITORY]);
        // After a 5xx it would ask hubcap for each of the four five times, over 50 s.
        let times = asked() - before;
        assert!(times <= 8, "{name}: {times} requests for blobs");
        assert_eq!(site.registry.blobs_served(), served + 4, "{name}");
        dockerd.docker(&["image", "rm", "--force", REPOSITORY]);
        dockerd.build(&context, "built");
        assert!(site.registry.blobs_served() > served + 4, "{name}: BuildKit pulls for itself");
    }
    let log = site.hubcap.log();
    for words in ["http.status=404", "http.status=502"] {
        assert!(log.lines().any(|line| line.contains("/blobs/") && line.contains(words)), "{words}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn containerd_goes_on_to_the_registry_and_tells_why_hubcap_could_not_help_where_that_fails_too() {
    let place = Place::new();
    let directory = |name: &str| {
        let dir = place.dir.path().join(name);
        std::fs::create_dir(&dir).expect("a directory");
        dir
    };
    let registry = Registry::start(&directory("registry"));
    push(&registry, &layout(&directory("layout")), (REPOSITORY, "oci"));
    let name = format!("localhost:{}", registry.port);
    let hubcap = place.start(NOWHERE, &["--upstream", &format!("{name}={NOWHERE}")]);
    let hosts = directory("hosts");
    let own = hosts.join(&name);
    std::fs::create_dir(&own).expect("a directory");
    let text = format!(
        "[host.\"{}\"]\n  capabilities = [\"pull\", \"resolve\"]\n  ca = \"{}\"\n",
        hubcap.https,
        place.state().join("ca.pem").display()
    );
    std::fs::write(own.join("hosts.toml"), text).expect("written");
    let containerds = [Some(of_debian(&directory("1"))), of_today(&directory("2"))];
    let pull = |containerd: &Containerd| {
        let image = format!("{name}/{REPOSITORY}");
        let words = ["content", "fetch", "--hosts-dir", text_of(&hosts), &image];
        containerd.ctr(&words).output().expect("ctr starts")
    };
    for containerd in containerds.iter().flatten() {
        let output = pull(containerd);
        assert!(output.status.success(), "{}", said(&output));
        let image = format!("{name}/{REPOSITORY}");
        assert!(containerd.ctr(&["images", "rm", "--sync", &image]).status().is_ok_and(|one| one.success()));
    }
    assert_eq!(registry.blobs_served(), 4 * containerds.iter().flatten().count());
    drop(registry);
    for containerd in containerds.iter().flatten() {
        let output = pull(containerd);
        assert!(!output.status.success(), "{}", said(&output));
        let words = "502 Bad Gateway (hubcap: the upstream cannot be used now: ";
        assert!(said(&output).contains(words), "{}", said(&output));
    }
}

fn text_of(path: &Path) -> &str {
    path.to_str().expect("text")
}
