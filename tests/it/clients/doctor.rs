//! `hubcap doctor` on a machine with a real dockerd.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::{OTHER, Site, said};
use crate::support::hubcap::command;
use crate::support::programs::Dockerd;

/// A site, its dockerd, and a doctor that looks at both.
struct Patient {
    // Ended before its files go with the site; else its mount of them stays.
    dockerd: Dockerd,
    site: Site,
    docker: PathBuf,
}

/// What the doctor says of one thing.
struct Told {
    code: Option<i32>,
    words: String,
    /// Each as `state: says`.
    findings: Vec<String>,
    /// The mend of the first that is broken, or else past, without what may be done as well.
    mend: String,
}

impl Told {
    /// Whether a finding begins so, and has these words in it.
    fn has(&self, start: &str, words: &str) -> bool {
        self.findings.iter().any(|one| one.starts_with(start) && one.contains(words))
    }
}

impl Patient {
    fn new() -> Self {
        let site = Site::start("v2s2");
        let docker = site.dir("docker");
        let dockerd = Dockerd::start_with(&docker, "{}", &[]);
        Self { site, dockerd, docker }
    }

    fn command(&self, words: &[&str]) -> Command {
        let (place, mut command) = (&self.site.place, command(self.site.place.dir.path()));
        command.args(words).arg("--state").arg(place.state());
        command.args(["--docker-host", self.dockerd.host()]);
        command.arg("--certs-dir").arg(self.certs());
        command
    }

    fn certs(&self) -> PathBuf {
        self.docker.join("certs.d")
    }

    fn hosts_toml(&self) -> PathBuf {
        self.certs().join("docker.io/hosts.toml")
    }

    fn daemon_json(&self) -> PathBuf {
        self.docker.join("daemon.json")
    }

    fn hubcap(&self, words: &[&str]) {
        let output = self.command(words).output().expect("hubcap starts");
        assert!(output.status.success(), "{words:?}: {}", said(&output));
    }

    fn doctor(&self, about: &str) -> Told {
        let words = said(&self.command(&["doctor"]).output().expect("hubcap starts"));
        let output = self.command(&["doctor", "--json"]).output().expect("hubcap starts");
        let told: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", said(&output)));
        assert_eq!(told["healthy"], output.status.success());
        let text = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
        let all = told["findings"].as_array().expect("findings");
        let mend = ["broken", "past"].iter().find_map(|state| {
            let first = all
                .iter()
                .find(|one| one["about"] == about && one["state"] == *state && one["mend"].is_string());
            first.map(|one| text(one, "mend"))
        });
        let findings = all.iter().filter(|one| one["about"] == about);
        let findings = findings.map(|one| format!("{}: {}", text(one, "state"), text(one, "says"))).collect();
        let mend = mend.unwrap_or_default().split(", or ").next().unwrap_or_default().to_owned();
        Told { code: output.status.code(), words, findings, mend }
    }

    /// Types what mends it.
    fn mend(&self, told: &Told) {
        let path = PathBuf::from(env!("CARGO_BIN_EXE_hubcap"));
        let path = path.parent().expect("a directory").display().to_string();
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(&told.mend).env_clear().envs(
            command(self.site.place.dir.path()).get_envs().filter_map(|(name, value)| Some((name, value?))),
        );
        shell.env("PATH", format!("{path}:{}", std::env::var("PATH").expect("a PATH")));
        let output = shell.output().expect("sh starts");
        assert!(output.status.success(), "{}: {}", told.mend, said(&output));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_says_which_pulls_go_through_hubcap_and_what_mends_the_others() {
    let mut patient = Patient::new();
    let told = patient.doctor("dockerd");
    assert_eq!(told.code, Some(0), "what was never set up is no failure: {}", told.words);
    assert!(told.has("past: it does not ask hubcap", ""), "{:?}", told.findings);
    assert!(told.words.contains("-> hubcap setup podman --state "), "{}", told.words);
    assert!(
        patient.doctor("registries").has("fine: ", OTHER),
        "the daemon's registries, not its own settings'"
    );

    patient.mend(&told);
    let told = patient.doctor("dockerd");
    assert_eq!(told.code, Some(0), "{}", told.words);
    assert!(told.has("through: docker pull", "Docker Hub"), "{:?}", told.findings);
    assert!(told.has("past: other registries", "dockerd 20.10"), "{:?}", told.findings);
    assert!(
        told.words.contains("docker.io answers") && told.words.contains("all that was set up works"),
        "{}",
        told.words
    );

    patient.site.origins.clear();
    let told = patient.doctor("registries");
    assert_eq!(told.code, Some(1), "{}", told.words);
    assert!(told.has("broken: docker.io does not answer", ""), "{:?}", told.findings);

    patient.site.hubcap.signal(rustix::process::Signal::KILL);
    let told = patient.doctor("daemon");
    assert_eq!(told.code, Some(1), "{}", told.words);
    assert!(told.has("broken: ", "but dockerd ask it first, each time in vain"), "{:?}", told.findings);
    let told = patient.doctor("dockerd");
    assert!(!told.has("through", ""), "nothing goes through a hubcap that does not run: {:?}", told.findings);
    patient.hubcap(&["unset", "docker"]);
    assert!(patient.doctor("daemon").has("note: none runs", ""));
    let told = patient.doctor("dockerd");
    assert!(
        told.has("past: it does not ask hubcap", ""),
        "hubcap need not run for that: {:?}",
        told.findings
    );
    let up = format!("hubcap up --docker-host {} --certs-dir ", patient.dockerd.host());
    assert!(told.mend.starts_with(&up), "{}", told.mend);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_doctor_says_of_changed_files_is_so_and_what_it_says_mends_them() {
    let patient = Patient::new();
    patient.hubcap(&["setup", "docker"]);
    let json = std::fs::read_to_string(patient.daemon_json()).expect("there");
    let hosts = std::fs::read_to_string(patient.hosts_toml()).expect("there");

    // Somebody adds what hubcap does not care for.
    std::fs::write(patient.daemon_json(), json.replacen('{', "{\"debug\": true,", 1)).expect("written");
    let told = patient.doctor("dockerd");
    assert_eq!(told.code, Some(0), "{}", told.words);
    assert!(
        told.has("note: ", "daemon.json was changed since hubcap wrote it, and still names hubcap"),
        "{:?}",
        told.findings
    );
    assert!(told.has("through: docker pull", ""), "{:?}", told.findings);

    // Somebody else's tool writes the file anew, and has dockerd read it.
    std::fs::write(patient.daemon_json(), r#"{"registry-mirrors": []}"#).expect("written");
    patient.dockerd.hang_up();
    crate::support::eventually("dockerd reads its file", || patient.dockerd.mirrors() == "[]").await;
    let told = patient.doctor("dockerd");
    assert_eq!(told.code, Some(1), "{}", told.words);
    assert!(
        told.has("broken: ", "daemon.json was changed since hubcap wrote it, and no longer names hubcap"),
        "{:?}",
        told.findings
    );
    assert!(told.has("broken: it does not have https://127.0.0.1:", ""), "{:?}", told.findings);
    assert!(!told.has("through", ""), "{:?}", told.findings);
    patient.mend(&told);
    assert_eq!(patient.doctor("dockerd").code, Some(0), "what it says mends it");

    // The file is right, and dockerd has read another one.
    let right = std::fs::read_to_string(patient.daemon_json()).expect("there");
    std::fs::write(patient.daemon_json(), r#"{"registry-mirrors": []}"#).expect("written");
    patient.dockerd.hang_up();
    crate::support::eventually("dockerd reads its file", || patient.dockerd.mirrors() == "[]").await;
    std::fs::write(patient.daemon_json(), right).expect("written");
    let told = patient.doctor("dockerd");
    assert!(told.mend.starts_with("kill -HUP "), "{}", told.words);
    patient.mend(&told);
    crate::support::eventually("dockerd reads its file", || patient.dockerd.mirrors() != "[]").await;
    assert_eq!(patient.doctor("dockerd").code, Some(0), "what it says mends it");

    // Another CA, and no file.
    let ca = patient.site.place.state().join("ca.pem").display().to_string();
    std::fs::write(patient.hosts_toml(), hosts.replace(&ca, "/elsewhere/ca.pem")).expect("written");
    let told = patient.doctor("dockerd");
    assert!(told.has("broken: ", "hosts.toml does not have hubcap's CA"), "{:?}", told.findings);
    patient.mend(&told);
    assert_eq!(std::fs::read_to_string(patient.hosts_toml()).expect("there"), hosts);
    std::fs::remove_file(patient.hosts_toml()).expect("there");
    let told = patient.doctor("dockerd");
    assert!(
        told.has("broken: ", "hosts.toml was changed since hubcap wrote it, and no longer"),
        "{:?}",
        told.findings
    );
    patient.mend(&told);
    assert_eq!(patient.doctor("dockerd").code, Some(0), "what it says mends it");
    patient.hubcap(&["unset", "docker"]);
    assert!(!patient.certs().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_sees_files_of_a_hubcap_that_listened_elsewhere_before() {
    let mut patient = Patient::new();
    patient.hubcap(&["setup", "docker", "docker.io", OTHER]);
    let old = patient.site.hubcap.https.clone();
    let origin = format!("http://127.0.0.1:{}", patient.site.origins[0].port);
    let stat = format!("/proc/{}/stat", patient.site.hubcap.pid());
    patient.site.hubcap.signal(rustix::process::Signal::TERM);
    // Its socket goes before its hold on the store does.
    let has_ended = || std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z"));
    crate::support::eventually("its end", has_ended).await;
    let place = &patient.site.place;
    let other = format!("{OTHER}=http://127.0.0.1:{}", patient.site.origins[1].port);
    patient.site.hubcap = place.start(&origin, &["--upstream", &other]);
    assert_ne!(patient.site.hubcap.https, old);
    let told = patient.doctor("dockerd");
    assert_eq!(told.code, Some(1), "{}", told.words);
    for file in ["daemon.json", "docker.io/hosts.toml", "quay.example/hosts.toml"] {
        assert!(
            told.has("broken: ", &format!("{file} names another address")),
            "{file}: {:?}",
            told.findings
        );
    }
    assert!(told.mend.contains(OTHER), "{}", told.mend);
    patient.mend(&told);
    let told = patient.doctor("dockerd");
    assert_eq!(told.code, Some(0), "what it says mends it: {}", told.words);
    patient.hubcap(&["unset", "docker"]);
    assert_eq!(std::fs::read_to_string(patient.daemon_json()).expect("there"), "{}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_not_docker_hub_is_no_reason_to_want_a_mirror_of_docker_hub() {
    let patient = Patient::new();
    patient.hubcap(&["setup", "docker", OTHER]);
    let told = patient.doctor("dockerd");
    assert_eq!(told.code, Some(0), "{}", told.words);
    assert!(!told.has("through", "Docker Hub") && !told.has("broken", ""), "{:?}", told.findings);
    // One that its user wrote is there, whoever wrote it.
    let json = format!("{{\"registry-mirrors\": [\"{}\"]}}", patient.site.hubcap.https);
    std::fs::write(patient.daemon_json(), json).expect("written");
    patient.dockerd.hang_up();
    crate::support::eventually("dockerd reads its file", || patient.dockerd.mirrors() != "[]").await;
    patient.hubcap(&["unset", "docker"]);
    let told = patient.doctor("dockerd");
    assert!(told.has("through: docker pull", "Docker Hub"), "{:?}", told.findings);
}

#[test]
fn what_kubernetes_does_not_read_is_not_said_to_go_through_hubcap() {
    let site = Site::start("v2s2");
    site.hubcap(&["setup", "containerd", "--certs-dir", site.dir("hosts").to_str().expect("text")]);
    let said = said(&site.run(&["doctor", "--docker-host", "unix:///nowhere.sock"]));
    assert!(said.contains("through hubcap  containerd  ctr images pull --hosts-dir "), "{said}");
    assert!(said.contains("not through it  containerd  Kubernetes' pulls (CRI)"), "{said}");
    assert!(said.contains("-> set config_path = "), "{said}");
    site.hubcap(&["unset", "containerd"]);
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
    assert!(
        look().contains("-> hubcap setup buildkit --state ") && look().contains("; docker buildx rm old"),
        "{}",
        look()
    );

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
