//! Docker Hub's and Quay's place on a machine: two of Debian's docker-registry on loopback, which hubcap's configuration
//! names. Both have the same repository with different contents.

use std::path::Path;

use serde_json::Value;

use crate::real::layout_with;
use crate::support::machine::Machine;
use crate::support::programs::{Registry, succeed};

/// In both registries.
const REPOSITORY: &str = "library/it:1";

/// An image that clients pull.
#[derive(Clone)]
pub(crate) struct Image {
    /// `docker.io/library/it:1`
    pub(crate) name: String,
    pub(crate) manifest: String,
    pub(crate) config: String,
    /// What is in its `/etc/greeting`, without the end of the line.
    pub(crate) greeting: String,
}

impl Image {
    pub(crate) fn is_docker_hubs(&self) -> bool {
        self.name.starts_with("docker.io/")
    }

    /// One that no registry has.
    pub(crate) fn in_another_repository(&self) -> Self {
        Self { name: self.name.replace("/it:", "/another:"), ..self.clone() }
    }

    /// Whether a host belongs to its registry.
    pub(crate) fn is_at(&self, host: &str) -> bool {
        if self.is_docker_hubs() { host.ends_with("docker.io") } else { host.ends_with("quay.io") }
    }

    /// A client that has it calls it by the digest of its manifest,
    pub(crate) fn of_manifest(&self) -> String {
        self.manifest.clone()
    }

    /// by that of its configuration,
    pub(crate) fn of_config(&self) -> String {
        self.config.clone()
    }

    /// or does not keep it, and shows what is in it.
    pub(crate) fn of_greeting(&self) -> String {
        self.greeting.clone()
    }
}

/// Two registries.
pub(crate) struct Origins(Vec<Registry>);

impl Origins {
    /// Starts them, each with its image, and writes hubcap's configuration.
    pub(crate) fn start(machine: &Machine) -> (Self, [Image; 2]) {
        let started =
            [("docker.io", 5000, "hello from the hub"), ("quay.io", 5001, "hello from the other one")].map(
                |(name, port, greeting)| {
                    let dir = machine.dir(name);
                    let registry = Registry::start_by(machine.command("docker-registry"), &dir, (port, ""));
                    let layout = layout_with(&dir, format!("{greeting}\n").as_bytes());
                    let mut push = machine.command("/usr/bin/skopeo");
                    push.args(["--insecure-policy", "copy", "--dest-tls-verify=false", "--format", "oci"]);
                    push.arg(format!("oci:{}:it", layout.display()));
                    succeed(push.arg(format!("docker://127.0.0.1:{port}/{REPOSITORY}")));
                    (registry, image(&layout, format!("{name}/{REPOSITORY}"), greeting.into()))
                },
            );
        let toml = "[upstream]\n\"docker.io\" = [\"http://127.0.0.1:5000\"]\n\"quay.io\" = [\"http://127.0.0.1:5001\"]\n";
        std::fs::write(machine.home().join("hubcap.toml"), toml).expect("written");
        let [(hub, hubs), (other, others)] = started;
        (Self(vec![hub, other]), [hubs, others])
    }

    pub(crate) fn blobs_served(&self) -> usize {
        self.0.iter().map(Registry::blobs_served).sum()
    }

    pub(crate) fn stop(&mut self) {
        self.0.clear();
    }
}

/// The image of a layout.
fn image(layout: &Path, name: String, greeting: String) -> Image {
    let read = |path: &Path| -> Value {
        serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("JSON")
    };
    let digest = |value: &Value| value["digest"].as_str().expect("a digest").to_owned();
    let manifest = digest(&read(&layout.join("index.json"))["manifests"][0]);
    let blob = layout.join("blobs/sha256").join(manifest.trim_start_matches("sha256:"));
    let config = digest(&read(&blob)["config"]);
    Image { name, manifest, config, greeting }
}
