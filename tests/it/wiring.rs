//! dockerd wired and unwired, with a real one: `up`, `down`, `setup docker` and `unset docker`.

mod builds;
mod container;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::real::{layout, push};
use crate::support::hubcap::{Place, command};
use crate::support::programs::{Dockerd, Registry, free_port, install, program};

const IMAGE: &str = "library/it:1";
const JSON: &str = "{\n\t\"max-concurrent-downloads\": 4,\n\t\"labels\": [ \"a=b\" ]\n}";

/// A machine with a dockerd of its own, and a GitHub job's files.
struct Machine {
    // Ended before its files go with the place.
    dockerd: Dockerd,
    docker: PathBuf,
    place: Place,
    origin: String,
}

impl Machine {
    fn start(json: &str, flags: &[&str], origin: &str) -> Self {
        Self::start_as(|_| program("dockerd"), (json, flags), origin)
    }

    /// With a dockerd that `command` starts; it is told the directory of dockerd's files.
    fn start_as(command: impl Fn(&Path) -> Command, config: (&str, &[&str]), origin: &str) -> Self {
        let place = Place::new();
        let docker = place.dir.path().join("docker");
        std::fs::create_dir(&docker).expect("a directory");
        let dockerd = Dockerd::start_as(command(&docker), &docker, config);
        Self { dockerd, docker, place, origin: origin.into() }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = command(self.place.dir.path());
        command.args(words).args(["--docker-host", self.dockerd.host()]).arg("--certs-dir").arg(self.certs());
        command.arg("--store").arg(self.place.store()).arg("--state").arg(self.place.state());
        command.stdin(Stdio::null());
        for file in ["GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"] {
            command.env(file, self.place.dir.path().join(file));
        }
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("hubcap starts")
    }

    /// Runs, and must succeed.
    fn hubcap(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{words:?}: {said}");
        said
    }

    fn up(&self) -> String {
        let upstream = format!("docker.io={}", self.origin);
        self.hubcap(&["up", "--listen", "127.0.0.1:0", "--upstream", &upstream])
    }

    fn certs(&self) -> PathBuf {
        self.docker.join("certs.d")
    }

    fn json(&self) -> String {
        std::fs::read_to_string(self.docker.join("daemon.json")).expect("a file")
    }

    fn hosts(&self) -> PathBuf {
        self.certs().join("docker.io/hosts.toml")
    }

    /// The job's file, and forgets it.
    fn told(&self, file: &str) -> String {
        let path = self.place.dir.path().join(file);
        let told = std::fs::read_to_string(&path).unwrap_or_default();
        let _ = std::fs::remove_file(path);
        told
    }

    fn pid(&self) -> i32 {
        let run = std::fs::read(self.place.state().join("run.json")).expect("a run");
        let run: serde_json::Value = serde_json::from_slice(&run).expect("json");
        i32::try_from(run["pid"].as_u64().expect("a number")).expect("a process")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.run(&["down"]);
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn dockerd_pulls_through_what_up_wired_and_down_leaves_every_byte_as_it_was() {
    let dir = tempfile::tempdir().expect("a directory");
    let registry = Registry::start(dir.path());
    push(&registry, &layout(dir.path()), (IMAGE, "v2s2"));
    let machine = Machine::start(JSON, &[], &format!("http://127.0.0.1:{}", registry.port));
    let mirrors = machine.dockerd.mirrors();

    let said = machine.up();
    assert!(said.contains("proved with a pull"), "{said}");
    let told = machine.told("GITHUB_OUTPUT");
    let log = machine.place.state().join("hubcap.log");
    assert_eq!(told, format!("log={}\nwired=true\n", log.display()));
    assert!(
        machine.json().starts_with(JSON.trim_end_matches("\n}")) && machine.json() != JSON,
        "{}",
        machine.json()
    );
    assert!(machine.hosts().exists());
    assert_eq!(machine.dockerd.docker(&["image", "ls", "--quiet"]), "", "the proof leaves nothing");
    machine.dockerd.docker(&["pull", IMAGE]);
    assert_eq!(registry.blobs_served(), 4);

    let said = machine.hubcap(&["down"]);
    assert_eq!(machine.json(), JSON, "{said}");
    assert!(!machine.certs().exists(), "what was made is gone");
    assert_eq!(machine.dockerd.mirrors(), mirrors, "dockerd has forgotten the mirror");
    let told = machine.told("GITHUB_OUTPUT");
    assert!(
        told.contains("changed=true\n") && told.contains("bytes-saved=0\n") && told.contains("key="),
        "{told}"
    );
    let page = machine.told("GITHUB_STEP_SUMMARY");
    assert!(
        page.contains("| `docker.io/library/it:1` | miss | 0 B | 0 B |") && page.contains("Not measured"),
        "{page}"
    );

    // The next job: nothing comes from the origin, and nothing is new.
    machine.dockerd.docker(&["image", "rm", "--force", IMAGE]);
    machine.up();
    machine.dockerd.docker(&["pull", IMAGE]);
    assert_eq!(registry.blobs_served(), 4);
    machine.hubcap(&["down"]);
    let told = machine.told("GITHUB_OUTPUT");
    assert!(told.contains("changed=false\n") && !told.contains("bytes-saved=0\n"), "{told}");
    let page = machine.told("GITHUB_STEP_SUMMARY");
    assert!(page.contains("| hit |") && page.contains("  after the last byte :"), "{page}");
}

#[test]
fn a_dockerd_under_another_name_is_wired_and_unwired() {
    let named = |docker: &Path| {
        let dockerd = docker.join("engine");
        let found =
            ["/usr/sbin/dockerd", "/usr/bin/dockerd"].into_iter().find(|path| Path::new(path).exists());
        install(found.expect("dockerd"), &dockerd);
        Command::new(dockerd)
    };
    let machine = Machine::start_as(named, (JSON, &[]), "http://127.0.0.1:9");
    assert!(machine.up().contains("proved with a pull"));
    machine.hubcap(&["down"]);
    assert_eq!(machine.json(), JSON);
    assert_eq!(machine.dockerd.mirrors(), "[]");
}

#[test]
fn up_and_down_can_be_run_twice_after_a_kill_and_in_any_order() {
    let machine = Machine::start(JSON, &[], "http://127.0.0.1:9");
    assert!(machine.hubcap(&["down"]).contains("no daemon runs"));
    machine.up();
    let (json, pid) = (machine.json(), machine.pid());
    assert!(machine.up().contains("runs already"));
    assert_eq!((machine.json(), machine.pid()), (json.clone(), pid));
    // A kill, and another port.
    let killed = rustix::process::Pid::from_raw(pid).expect("a process");
    rustix::process::kill_process(killed, rustix::process::Signal::KILL).expect("it runs");
    machine.up();
    assert_ne!(machine.json(), json);
    let killed = rustix::process::Pid::from_raw(machine.pid()).expect("a process");
    rustix::process::kill_process(killed, rustix::process::Signal::KILL).expect("it runs");
    machine.hubcap(&["down"]);
    assert_eq!(machine.json(), JSON);
    machine.hubcap(&["down"]);
    machine.hubcap(&["unset", "docker"]);
    assert_eq!(machine.json(), JSON);
    assert!(!machine.certs().exists());
}

#[test]
fn what_others_write_into_dockerds_files_meanwhile_stays() {
    let machine =
        Machine::start("{\"registry-mirrors\": [\"https://mirror.example\"]}", &[], "http://127.0.0.1:9");
    std::fs::create_dir_all(machine.hosts().parent().expect("a directory")).expect("made");
    let theirs = "[host.\"https://corp.example\"]\n  capabilities = [\"pull\"]\n";
    std::fs::write(machine.hosts(), theirs).expect("written");
    machine.up();
    assert!(machine.dockerd.mirrors().contains("https://mirror.example/"), "{}", machine.dockerd.mirrors());
    std::fs::write(machine.docker.join("daemon.json"), machine.json().replacen('{', "{\"debug\": true,", 1))
        .expect("written");
    machine.hubcap(&["down"]);
    let json: serde_json::Value = serde_json::from_str(&machine.json()).expect("json");
    assert_eq!(json, serde_json::json!({"debug": true, "registry-mirrors": ["https://mirror.example"]}));
    assert_eq!(std::fs::read_to_string(machine.hosts()).expect("theirs"), theirs);
    assert_eq!(machine.dockerd.mirrors(), "[\"https://mirror.example/\"]");
}

#[test]
fn a_dockerd_that_cannot_be_wired_is_left_as_it_is_and_the_reason_is_told() {
    let machine =
        Machine::start("{}", &["--registry-mirror", "https://mirror.example"], "http://127.0.0.1:9");
    let output = machine.run(&["up", "--listen", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("--registry-mirror"), "{}", text(&output.stderr));
    assert!(machine.told("GITHUB_OUTPUT").ends_with("wired=false\n"));
    let commented = "{\n  // mine\n  \"debug\": false\n}";
    std::fs::write(machine.docker.join("daemon.json"), commented).expect("written");
    // In a job it is a warning.
    let output = machine.command(&["up"]).env("GITHUB_ACTIONS", "true").output().expect("hubcap starts");
    assert_eq!(output.status.code(), Some(0));
    let said = text(&output.stdout);
    assert!(said.contains("::warning title=hubcap::dockerd was left as it was"), "{said}");
    assert_eq!(machine.json(), commented);
    assert!(!machine.certs().exists());
    assert_eq!(machine.dockerd.mirrors(), "[\"https://mirror.example/\"]");
}

#[test]
fn print_shows_what_would_change_and_changes_nothing() {
    let machine = Machine::start(JSON, &[], "http://127.0.0.1:9");
    let before = tree(&machine.place.dir.path().join("docker"), &["daemon.json", "certs.d"]);
    let listen = format!("127.0.0.1:{}", free_port());
    for words in [["up", "--print"].as_slice(), &["setup", "docker", "--print"]] {
        let said = machine.hubcap(&[words, &["--listen", &listen]].concat());
        assert!(
            said.contains("+\t\"registry-mirrors\"") && said.contains("+[host.\"https://127.0.0.1:"),
            "{said}"
        );
        assert_eq!(tree(&machine.place.dir.path().join("docker"), &["daemon.json", "certs.d"]), before);
        assert!(!machine.place.state().join("ca.pem").exists());
    }
    machine.hubcap(&["setup", "docker", "docker.io", "ghcr.io", "--listen", &listen, "--unchecked"]);
    assert!(machine.certs().join("ghcr.io/hosts.toml").exists());
    let said = machine.hubcap(&["unset", "docker", "--print"]);
    assert!(said.contains("-\t\"registry-mirrors\"") && machine.hosts().exists(), "{said}");
    machine.hubcap(&["unset", "docker"]);
    assert_eq!(tree(&machine.place.dir.path().join("docker"), &["daemon.json", "certs.d"]), before);
}

#[test]
fn up_wires_other_clients_as_well_and_down_takes_all_of_it_back() {
    let machine = Machine::start(JSON, &[], "http://127.0.0.1:9");
    // With one of their own, podman passes the machine's files over, so the test does not touch them.
    let home = machine.place.dir.path().join(".config/containers");
    std::fs::create_dir_all(&home).expect("made");
    std::fs::write(home.join("registries.conf"), "# mine\n").expect("written");
    let before = tree(&home, &["."]);
    let up = ["up", "--listen", "127.0.0.1:0", "--client", "podman", "--client", "docker"];
    let said = machine.hubcap(&up);
    assert!(said.contains("through hubcap: podman, buildah and skopeo") && said.contains("proved"), "{said}");
    let conf = std::fs::read_to_string(home.join("registries.conf.d/zz-hubcap.conf")).expect("written");
    assert!(conf.contains("docker.io"), "{conf}");
    machine.hubcap(&["down"]);
    assert_eq!(tree(&home, &["."]), before);
    assert_eq!(machine.json(), JSON);
    // Who names a dockerd elsewhere means nothing else of the machine.
    assert!(!machine.up().contains("podman, buildah and skopeo"));
    let output = machine.run(&["up", "--client", "moby"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("docker, containerd, buildkit, podman"),
        "{}",
        text(&output.stderr)
    );
}

/// The files below some names, with what is in them.
fn tree(root: &Path, names: &[&str]) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut todo: Vec<PathBuf> =
        names.iter().map(|name| root.join(name)).filter(|path| path.exists()).collect();
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(std::fs::read_dir(&path).expect("a directory").flatten().map(|entry| entry.path()));
        } else {
            found.insert(path.clone(), std::fs::read(&path).expect("a file"));
        }
    }
    found
}
