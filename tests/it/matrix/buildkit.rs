//! A builder of buildx in its own container. There is no package of buildkitd: buildx makes the builder, and a client reads
//! the file that the builder has, as buildkitd does (BuildKit, `util/resolver/resolver.go`), and pulls with curl.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::client::{Client, Pulled, Wiring};
use super::origins::Image;
use super::{assert_five_sentences, build, docker};
use crate::clients::said;
use crate::support::image::sha256;
use crate::support::machine::Machine;
use crate::support::programs::succeed;

pub(crate) const PLAYED: Client = Client {
    title: "a builder of buildx; buildkitd is played",
    version: "0.29.1",
    store: "none",
    process: "curl",
    name: "buildkit",
    about: "buildkit",
    remedy: "hubcap up; docker buildx rm ci; docker buildx create --name ci --driver-opt network=host",
    wiring: Wiring::Setup,
    asks: |machine| {
        build::use_buildx(machine);
        succeed(machine.command("docker").args(["buildx", "version"]))
    },
    start: |machine| {
        // buildx asks it for its name when it makes a builder.
        let dockerd = docker::start(machine, "{}");
        build::use_buildx(machine);
        Box::new(move |machine, image| {
            let _ = &dockerd;
            Builder::make(machine).pull(machine, image)
        })
    },
    identity: Image::of_manifest,
    ..build::OWN_STORE
};

/// The files of a builder's container, where the test has them.
struct Builder {
    files: PathBuf,
}

/// Where a builder asks for a registry's images.
struct Host {
    url: String,
    /// What it trusts beside the system's certificates.
    authorities: Vec<PathBuf>,
    is_insecure: bool,
}

impl Builder {
    /// Made anew, since a builder keeps the file that it was made with.
    fn make(machine: &Machine) -> Self {
        let buildx =
            |words: &[&str]| machine.command("docker").arg("buildx").args(words).output().expect("it starts");
        buildx(&["rm", "--force", "ci"]);
        let made = buildx(&[
            "create",
            "--name",
            "ci",
            "--driver",
            "docker-container",
            "--driver-opt",
            "network=host",
        ]);
        assert!(made.status.success(), "{}", said(&made));
        let instance = std::fs::read(machine.home().join(".docker/buildx/instances/ci")).expect("a builder");
        let instance: Value = serde_json::from_slice(&instance).expect("JSON");
        let files = machine.dir("builder");
        std::fs::remove_dir_all(&files).and_then(|()| std::fs::create_dir(&files)).expect("emptied");
        for (name, packed) in instance["Nodes"][0]["Files"].as_object().into_iter().flatten() {
            let path = files.join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            std::fs::write(path, STANDARD.decode(packed.as_str().expect("text")).expect("base64"))
                .expect("written");
        }
        Self { files }
    }

    /// `buildkitd.toml`: the mirrors of a registry, then the registry, each with the table of its own name.
    fn hosts(&self, registry: &str) -> Vec<Host> {
        let text = std::fs::read_to_string(self.files.join("buildkitd.toml")).unwrap_or_default();
        let config: toml::Table = text.parse().expect("TOML");
        let of = |name: &str| config.get("registry").and_then(|tables| tables.get(name));
        let mirrors = of(registry).and_then(|table| table.get("mirrors")).and_then(toml::Value::as_array);
        let mirrors = mirrors.into_iter().flatten().map(|mirror| mirror.as_str().expect("text"));
        let host = |name: &str| {
            let (host, path) = name.split_once('/').map_or((name, ""), |(host, path)| (host, path));
            let is = |key| of(host).and_then(|table| table.get(key)).and_then(toml::Value::as_bool);
            let is_loopback =
                host.starts_with("127.") || host.starts_with("localhost") || host.starts_with("[::1]");
            let scheme = if is("http").unwrap_or(is_loopback) { "http" } else { "https" };
            let authorities = of(host).and_then(|table| table.get("ca")).and_then(toml::Value::as_array);
            let authorities =
                authorities.into_iter().flatten().map(|path| self.file(path.as_str().expect("text")));
            Host {
                url: format!("{scheme}://{host}/{path}").trim_end_matches('/').to_owned(),
                authorities: authorities.collect(),
                is_insecure: is("insecure").unwrap_or(false),
            }
        };
        let itself = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
        mirrors.chain([itself]).map(host).collect()
    }

    /// A path in the container, which has its files below `/etc/buildkit`.
    fn file(&self, path: &str) -> PathBuf {
        self.files.join(path.strip_prefix("/etc/buildkit/").expect("a file of the builder"))
    }

    /// From the first host that has all of it.
    fn pull(&self, machine: &Machine, image: &Image) -> Pulled {
        let (registry, rest) = image.name.split_once('/').expect("a registry");
        let (repository, tag) = rest.split_once(':').expect("a tag");
        let mut why = String::new();
        for host in self.hosts(registry) {
            match host.pull(machine, registry, (repository, tag)) {
                Ok(digest) => return Ok(digest),
                Err(error) => why.push_str(&error),
            }
        }
        Err(why)
    }
}

impl Host {
    fn pull(&self, machine: &Machine, registry: &str, (repository, tag): (&str, &str)) -> Pulled {
        let get = |path: &str| self.get(machine, &format!("/v2/{repository}/{path}?ns={registry}"));
        let manifest = get(&format!("manifests/{tag}"))?;
        let digest = sha256(&manifest);
        assert_eq!(get(&format!("manifests/{digest}"))?, manifest);
        let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
        for blob in manifest["layers"].as_array().expect("layers").iter().chain([&manifest["config"]]) {
            let expected = blob["digest"].as_str().expect("a digest");
            assert_eq!(sha256(&get(&format!("blobs/{expected}"))?), expected);
        }
        Ok(digest)
    }

    fn get(&self, machine: &Machine, path: &str) -> Result<Vec<u8>, String> {
        let mut curl = machine.command("curl");
        curl.args(["--silent", "--show-error", "--fail", "--location"]);
        curl.args(["--header", "accept: application/vnd.oci.image.manifest.v1+json, */*"]);
        if self.is_insecure {
            curl.arg("--insecure");
        }
        if let [first, others @ ..] = self.authorities.as_slice() {
            assert!(others.is_empty(), "curl takes one file");
            curl.arg("--cacert").arg::<&Path>(first);
        }
        let output = curl.arg(format!("{}{path}", self.url)).output().expect("curl starts");
        if output.status.success() { Ok(output.stdout) } else { Err(said(&output)) }
    }
}

#[test]
pub(super) fn a_builder_of_buildx_is_served() {
    assert_five_sentences(&PLAYED);
}
