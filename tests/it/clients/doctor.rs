//! `hubcap doctor` on a machine with a real dockerd.

use std::process::Command;

use serde_json::Value;

use super::{Site, said};
use crate::support::hubcap::command;
use crate::support::programs::Dockerd;

/// A site, its dockerd, and a doctor that looks at both.
struct Patient {
    site: Site,
    dockerd: Dockerd,
}

impl Patient {
    fn command(&self, words: &[&str]) -> Command {
        let (place, mut command) = (&self.site.place, command(self.site.place.dir.path()));
        command.args(words).arg("--state").arg(place.state()).arg("--store").arg(place.store());
        command.args(["--docker-host", self.dockerd.host()]);
        command.arg("--certs-dir").arg(place.dir.path().join("docker/certs.d"));
        let origin = self.site.origins.first().map_or(9, |registry| registry.port);
        command.args(["--upstream", &format!("docker.io=http://127.0.0.1:{origin}")]);
        command
    }

    fn hubcap(&self, words: &[&str]) {
        let output = self.command(words).output().expect("hubcap starts");
        assert!(output.status.success(), "{words:?}: {}", said(&output));
    }

    /// Its exit code, its words, and its findings about one thing as `state: says`.
    fn doctor(&self, about: &str) -> (Option<i32>, String, Vec<String>) {
        let words = said(&self.command(&["doctor"]).output().expect("hubcap starts"));
        let output = self.command(&["doctor", "--json"]).output().expect("hubcap starts");
        let told: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", said(&output)));
        assert_eq!(told["healthy"], output.status.success());
        let findings =
            told["findings"].as_array().expect("findings").iter().filter(|one| one["about"] == about);
        let shown = |one: &Value| {
            format!("{}: {}", one["state"].as_str().unwrap_or(""), one["says"].as_str().unwrap_or(""))
        };
        (output.status.code(), words, findings.map(shown).collect())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_says_which_pulls_go_through_hubcap_and_what_mends_the_others() {
    let site = Site::start("v2s2");
    let docker = site.dir("docker");
    let dockerd = Dockerd::start_with(&docker, "{}", &[]);
    let mut patient = Patient { site, dockerd };

    let (code, words, found) = patient.doctor("dockerd");
    assert_eq!(code, Some(0), "what was never set up is no failure: {words}");
    assert!(found.iter().any(|one| one.starts_with("past: it does not ask hubcap")), "{found:?}");
    assert!(
        words.contains("-> hubcap setup docker\n") && words.contains("-> hubcap setup podman\n"),
        "{words}"
    );

    patient.hubcap(&["setup", "docker"]);
    let (code, words, found) = patient.doctor("dockerd");
    assert_eq!(code, Some(0), "{words}");
    assert!(
        found.iter().any(|one| one.starts_with("through: docker pull") && one.contains("Docker Hub")),
        "{found:?}"
    );
    assert!(found.iter().any(|one| one.starts_with("past: other registries")), "{found:?}");
    assert!(words.contains("docker.io answers") && words.contains("all that was set up works"), "{words}");

    // Somebody else's tool writes the file anew, and has dockerd read it.
    std::fs::write(docker.join("daemon.json"), r#"{"registry-mirrors": []}"#).expect("written");
    patient.dockerd.hang_up();
    crate::support::eventually("dockerd reads its file", || patient.dockerd.mirrors() == "[]").await;
    let (code, words, found) = patient.doctor("dockerd");
    assert_eq!(code, Some(1), "{words}");
    assert!(
        found.iter().any(|one| one.starts_with("broken: ") && one.contains("daemon.json was changed")),
        "{found:?}"
    );
    assert!(found.iter().any(|one| one.contains("does not have https://127.0.0.1:")), "{found:?}");
    patient.hubcap(&["setup", "docker"]);
    assert_eq!(patient.doctor("dockerd").0, Some(0), "what it says mends it");

    patient.site.origins.clear();
    let (code, words, found) = patient.doctor("registries");
    assert_eq!(code, Some(1), "{words}");
    assert!(found.iter().any(|one| one.starts_with("broken: docker.io does not answer")), "{found:?}");

    patient.site.hubcap.signal(rustix::process::Signal::KILL);
    let (code, words, found) = patient.doctor("daemon");
    assert_eq!(code, Some(1), "{words}");
    assert!(found.iter().any(|one| one.contains("but dockerd ask it first, each time in vain")), "{found:?}");
    patient.hubcap(&["unset", "docker"]);
    assert!(patient.doctor("daemon").2[0].starts_with("note: none runs"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_knows_of_files_that_were_changed_and_of_builders_made_before() {
    let site = Site::start("v2s2");
    let home = site.place.dir.path();
    let look = || {
        said(&site.run(&[
            "doctor",
            "--docker-host",
            "unix:///nowhere.sock",
            "--upstream",
            &format!("docker.io=http://127.0.0.1:{}", site.origins[0].port),
        ]))
    };
    let instances = site.dir(".docker/buildx/instances");
    std::fs::write(
        instances.join("old"),
        r#"{"Name":"old","Driver":"docker-container","Nodes":[{"Name":"old0"}]}"#,
    )
    .expect("written");
    assert!(look().contains("-> hubcap setup buildkit; docker buildx rm old"), "{}", look());

    site.hubcap(&["setup", "buildkit"]);
    let file = home.join(".docker/buildx/buildkitd.default.toml");
    let text = std::fs::read_to_string(&file).expect("written");
    assert!(text.contains("http = false") && text.contains("[registry.\"docker.io\"]"), "{text}");
    let made = |network: &str| {
        use base64::Engine as _;
        let files = base64::engine::general_purpose::STANDARD.encode(&text);
        let json = format!(
            r#"{{"Name":"old","Driver":"docker-container","Nodes":[{{"Name":"old0","DriverOpts":{{{network}}},"Files":{{"buildkitd.toml":"{files}"}}}}]}}"#
        );
        std::fs::write(instances.join("old"), json).expect("written");
    };
    made("");
    assert!(look().contains("which is its own container there"), "{}", look());
    made("\"network\":\"host\"");
    assert!(
        look().contains("through hubcap  buildkit    the builder old")
            && look().contains("all that was set up works"),
        "{}",
        look()
    );
    std::fs::write(&file, "debug = true\n").expect("written");
    assert!(look().contains("buildkitd.default.toml was changed since"), "{}", look());
    site.hubcap(&["unset", "buildkit"]);
    assert_eq!(std::fs::read_to_string(&file).expect("theirs"), "debug = true\n");
    assert!(!look().contains("was changed since"));
}
