//! dockerd restarted by `setup docker` and `unset docker`, with a real one that no systemd manages.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::hubcap::{Hubcap, Place, command};
use crate::support::programs::{Dockerd, install, install_script, modern, program};

const JSON: &str = "{\n\t\"labels\": [ \"a=b\" ]\n}";
const OTHER: &str = "quay.example";

/// A dockerd, and a hubcap with a proxy.
struct Machine {
    // Ended before its files go with the place.
    dockerd: Dockerd,
    hubcap: Hubcap,
    place: Place,
}

impl Machine {
    fn start(command: impl Fn(&Path) -> Command) -> Self {
        let place = Place::new();
        let docker = place.dir.path().join("docker");
        std::fs::create_dir(&docker).expect("a directory");
        let upstream = format!("{OTHER}=http://127.0.0.1:9");
        let hubcap =
            place.start("http://127.0.0.1:9", &["--proxy-listen", "127.0.0.1:0", "--upstream", &upstream]);
        let dockerd = Dockerd::start_as(command(&docker), &docker, (JSON, &[]));
        Self { dockerd, hubcap, place }
    }

    fn docker(&self) -> PathBuf {
        self.place.dir.path().join("docker")
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = command(self.place.dir.path());
        command.args(words).args(["--docker-host", self.dockerd.host()]);
        command.arg("--certs-dir").arg(self.docker().join("certs.d"));
        command.arg("--state").arg(self.place.state());
        command.output().expect("hubcap starts")
    }

    fn setup(&self, more: &[&str]) -> Output {
        let drop_in = self.docker().join("service.d/proxy.conf").display().to_string();
        self.run(&[&["setup", "docker", "--proxy", OTHER, "--drop-in", &drop_in], more].concat())
    }

    /// dockerd's proxy, as it runs.
    fn proxy(&self) -> String {
        self.dockerd.docker(&["info", "--format", "{{.HTTPSProxy}}"])
    }

    fn uses_no_hubcap(&self) -> bool {
        self.proxy().is_empty() && ["[]", "null"].contains(&self.dockerd.mirrors().as_str())
    }

    fn is_as_it_was(&self) -> bool {
        std::fs::read_to_string(self.docker().join("daemon.json")).expect("there") == JSON
            && !self.docker().join("certs.d").exists()
            && !self.docker().join("service.d").exists()
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn succeed(output: &Output) -> String {
    assert!(output.status.success(), "{}", said(output));
    said(output)
}

/// Restarted for the proxy, not restarted again, and restarted without it.
fn is_restarted_when_it_has_to_be(command: impl Fn(&Path) -> Command) {
    let machine = Machine::start(command);
    let ours = machine.hubcap.proxy.clone().expect("a proxy");
    let said = succeed(&machine.setup(&[]));
    assert!(said.contains("to have it take effect: restart dockerd (or --restart does it here)"), "{said}");
    assert_eq!(machine.proxy(), "");
    let first = machine.dockerd.pid();
    let said = succeed(&machine.setup(&["--restart"]));
    assert!(said.contains("dockerd is restarted"), "{said}");
    assert_eq!(machine.proxy(), ours);
    let second = machine.dockerd.pid();
    assert_ne!(first, second);
    assert!(machine.dockerd.mirrors().contains(&machine.hubcap.https));
    let said = succeed(&machine.setup(&["--restart"]));
    assert!(said.contains("dockerd needs no restart"), "{said}");
    assert_eq!(machine.dockerd.pid(), second);
    let said = succeed(&machine.run(&["unset", "docker", "--restart"]));
    assert!(said.contains("dockerd is restarted"), "{said}");
    assert!(machine.is_as_it_was(), "{said}");
    assert!(machine.uses_no_hubcap());
    assert_ne!(machine.dockerd.pid(), second);
}

#[test]
fn a_dockerd_that_takes_its_proxy_from_its_environment_is_restarted_when_it_has_to_be() {
    is_restarted_when_it_has_to_be(|_| program("dockerd"));
}

#[test]
fn a_dockerd_that_takes_its_proxy_from_its_file_is_restarted_when_it_has_to_be() {
    if modern("dockerd").is_some() {
        is_restarted_when_it_has_to_be(|_| modern("dockerd").expect("as before"));
    }
}

#[test]
fn a_dockerd_that_does_not_come_back_gets_its_files_back_and_runs_again() {
    let Some(dockerd) = modern("dockerd") else { return };
    let path = dockerd.get_program().to_owned();
    let engine = |docker: &Path| {
        let engine = docker.join("engine");
        install(&path, &engine);
        let mut command = Command::new(engine);
        command.envs(dockerd.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command
    };
    let machine = Machine::start(engine);
    // From now on it refuses a file with proxies.
    let (new, engine) = (machine.docker().join("new"), machine.docker().join("engine"));
    let script = format!(
        "#!/bin/sh\ngrep -q proxies \"{}\" && {{ echo 'no proxies here' >&2; exit 3; }}\nexec \"{}\" \"$@\"\n",
        machine.docker().join("daemon.json").display(),
        path.display()
    );
    install_script(&new, &script);
    std::fs::rename(&new, engine).expect("replaced");
    let output = machine.setup(&["--restart"]);
    let log = machine.docker().join("dockerd.log").display().to_string();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    for words in [
        "ended at its start (exit status: 3)",
        &log,
        "Its files are as they were, and it runs with them again",
    ] {
        assert!(said(&output).contains(words), "{words:?} is not in {}", said(&output));
    }
    assert!(machine.is_as_it_was());
    assert!(machine.uses_no_hubcap());
    // A command that does not work is told, too, and changes as little.
    let pid = machine.dockerd.pid();
    let output = machine.setup(&["--restart-command", "echo no such service >&2; false"]);
    assert!(said(&output).contains("no such service"), "{}", said(&output));
    assert!(machine.is_as_it_was() && machine.dockerd.pid() == pid);
}

#[test]
fn a_proxy_that_does_not_answer_for_a_registry_is_not_wired() {
    let machine = Machine::start(|_| program("dockerd"));
    let output = machine.run(&["setup", "docker", "--proxy", "other.example"]);
    let said = said(&output);
    assert!(
        said.contains("does not answer for other.example") && said.contains("--upstream other.example"),
        "{said}"
    );
    assert!(machine.is_as_it_was());
}
