//! The listener on a bridge, which containers use: BuildKit's builders are in containers, and can send a mirror no secret.

use std::process::Command;

use reqwest::Method;

use crate::clients::{said, tree};
use crate::real::{layout, push};
use crate::support::bridge::Bridge;
use crate::support::eventually;
use crate::support::hubcap::{Hubcap, Place, blob, command, manifest};
use crate::support::image::{self, Image};
use crate::support::noise;
use crate::support::origin::Origin;
use crate::support::programs::{Dockerd, Registry, modern, succeed};

const LOGIN: &str = "Bearer client-s3cret";

/// A registry with a public and a private image, and a hubcap that has a login for both.
struct Site {
    origin: Origin,
    private: Image,
    place: Place,
}

impl Site {
    async fn new() -> Self {
        let origin = Origin::start().await;
        image::put(&origin, "library/public:1", &[&noise(200_000, 2)]);
        let private = image::put(&origin, "org/private:1", &[&noise(200_000, 1)]);
        origin.make_private("org/private", "me:hunter2", LOGIN);
        Self { origin, private, place: Place::new() }
    }

    fn serve(&self, more: &[&str]) -> Hubcap {
        let mut command = self.place.serve(&self.origin.url(), more);
        command.env("HUBCAP_LOGIN", "me:hunter2");
        Hubcap::spawn(command)
    }

    /// Where it listens on its first bridge.
    fn bridge(&self) -> String {
        let status = succeed(
            Command::new("curl")
                .args(["--silent", "--unix-socket"])
                .arg(self.place.state().join("admin.sock"))
                .arg("http://hubcap/status"),
        );
        let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
        status["daemon"]["bridges"][0].as_str().expect("an address").to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_gets_what_anybody_may_have_and_nothing_by_hubcaps_login() {
    let (site, bridge) = (Site::new().await, Bridge::new());
    let hubcap = site.serve(&["--bridge-listen", &format!("{}:0", bridge.gateway())]);
    let (container, ca) = (bridge.container(), site.place.state().join("ca.pem"));
    let url = format!("https://{}", site.bridge());
    let get = |path: &str, header| container.get(&ca, &format!("{url}{path}"), header).expect("an answer").0;
    let private = [
        manifest("org/private", "1"),
        manifest("org/private", &site.private.digest),
        blob("org/private", &site.private.blobs[1]),
    ];

    assert_eq!(get(&manifest("library/public", "1"), None), 200);
    for path in &private {
        assert_eq!(get(path, None), 403, "{path}, which is not stored");
    }
    for path in &private {
        assert_eq!(hubcap.ask(Method::GET, path, &[]).await.status(), 200, "{path} on this machine");
    }
    for path in &private {
        assert_eq!(get(path, None), 403, "{path}, which is stored and granted to this machine's clients");
    }
    // A login of its own is its own.
    let login = format!("Authorization: {LOGIN}");
    for path in &private {
        assert_eq!(get(path, Some(&login)), 200, "{path}");
        assert_eq!(get(path, None), 403, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_answers_its_own_network_alone() {
    let (site, bridge, other) = (Site::new().await, Bridge::new(), Bridge::new());
    let hubcap = site.serve(&["--bridge-listen", &format!("{}:0", bridge.gateway())]);
    let (neighbour, stranger) = (bridge.container(), other.container());
    let (ca, url) = (site.place.state().join("ca.pem"), format!("https://{}/v2/", site.bridge()));
    assert_eq!(neighbour.get(&ca, &url, None).expect("an answer").0, 200);
    stranger.get(&ca, &url, None).expect_err("it is on another bridge");
    eventually("the word of it", || hubcap.log().contains("not in the network of the bridge")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_may_be_made_after_hubcap_has_started() {
    let (site, bridge) = (Site::new().await, Bridge::planned());
    let hubcap = site.serve(&["--bridge-listen", &format!("{}:0", bridge.gateway())]);
    assert!(hubcap.log().contains("hubcap answers there once one has"), "{}", hubcap.log());
    bridge.make();
    let (ca, url) = (site.place.state().join("ca.pem"), format!("https://{}/v2/", site.bridge()));
    assert_eq!(bridge.container().get(&ca, &url, None).expect("an answer").0, 200);
}

#[test]
fn an_address_that_is_no_bridges_is_refused() {
    for address in ["0.0.0.0:5443", "127.0.0.1:5443", "[::1]:5443", "172.17.0.1"] {
        let place = Place::new();
        let output =
            place.serve("http://127.0.0.1:9", &["--bridge-listen", address]).output().expect("hubcap starts");
        assert_eq!(output.status.code(), Some(2), "{address}: {}", said(&output));
        assert!(said(&output).contains("as 172.17.0.1:5443"), "{}", said(&output));
    }
}

/// A machine with a dockerd that has a bridge, and buildx.
#[test]
fn a_new_builder_of_buildx_pulls_through_what_up_configured_and_down_takes_it_back() {
    const IMAGE: &str = "library/it:1";
    let (place, bridge) = (Place::new(), Bridge::new());
    let registry = Registry::start(place.dir.path());
    push(&registry, &layout(place.dir.path()), (IMAGE, "v2s2"));
    let docker = place.dir.path().join("docker");
    std::fs::create_dir(&docker).expect("a directory");
    let dockerd = Dockerd::start_with(&docker, "{}", &["--bridge", &bridge.name]);
    let run = |words: &[&str]| {
        let mut command = command(place.dir.path());
        command.args(words).arg("--store").arg(place.store()).arg("--state").arg(place.state());
        command.args(["--docker-host", dockerd.host()]).arg("--certs-dir").arg(docker.join("certs.d"));
        let output = command.output().expect("hubcap starts");
        assert!(output.status.success(), "{words:?}: {}", said(&output));
        said(&output)
    };
    let home = place.dir.path().join(".docker");
    std::fs::create_dir(&home).expect("a directory");
    let before = tree(&home);
    let origin = format!("docker.io=http://127.0.0.1:{}", registry.port);
    let up = [
        "up",
        "--client",
        "docker",
        "--client",
        "buildkit",
        "--listen",
        "127.0.0.1:0",
        "--upstream",
        &origin,
    ];
    let text = run(&up);
    assert!(text.contains("through hubcap: BuildKit"), "{text}");

    let buildx = || modern("docker-buildx");
    let toml = std::fs::read_to_string(home.join("buildx/buildkitd.default.toml")).expect("written");
    let toml: toml::Table = toml.parse().expect("TOML");
    let mirror = toml["registry"]["docker.io"]["mirrors"][0].as_str().expect("a mirror").to_owned();
    assert!(mirror.starts_with(&format!("{}:", bridge.gateway())), "{mirror}");
    assert_eq!(toml["registry"][&mirror]["http"].as_bool(), Some(false));
    let mut ca = std::path::PathBuf::from(toml["registry"][&mirror]["ca"][0].as_str().expect("a CA"));
    if let Some(mut create) = buildx() {
        create.env("HOME", place.dir.path()).args([
            "create",
            "--name",
            "new",
            "--driver",
            "docker-container",
        ]);
        succeed(create.arg(dockerd.host()));
        let builder = std::fs::read(home.join("buildx/instances/new")).expect("a builder");
        let builder: serde_json::Value = serde_json::from_slice(&builder).expect("JSON");
        let files = builder["Nodes"][0]["Files"].as_object().expect("its files");
        let copied = |part: &str| {
            use base64::Engine as _;
            let file =
                files.iter().find(|(name, _)| name.contains(part)).expect(part).1.as_str().expect("base64");
            base64::engine::general_purpose::STANDARD.decode(file).expect("base64")
        };
        assert!(String::from_utf8_lossy(&copied("buildkitd.toml")).contains(&mirror), "{builder}");
        // What the builder has of the CA is what its requests are tried with.
        ca = place.dir.path().join("copied.pem");
        std::fs::write(&ca, copied("certs/")).expect("written");
        std::fs::remove_file(home.join("buildx/instances/new")).expect("removed");
    }
    let container = bridge.container();
    let url = format!("https://{mirror}/v2/library/it/manifests/1?ns=docker.io");
    let (status, manifest) = container
        .get(&ca, &url, Some("Accept: application/vnd.docker.distribution.manifest.v2+json"))
        .expect("an answer");
    assert!(status == 200 && manifest.contains("layers"), "{status} {manifest}");

    assert!(run(&up).contains("runs already"));
    run(&["down"]);
    for made_by_buildx in ["activity", "current", "defaults", "instances", ".lock", ".buildNodeID"] {
        let path = home.join("buildx").join(made_by_buildx);
        let _ = std::fs::remove_dir_all(&path).or_else(|_| std::fs::remove_file(&path));
    }
    let _ = std::fs::remove_dir(home.join("buildx"));
    assert_eq!(tree(&home), before);
}
