//! A real dockerd of today that is switched to containerd's image store by `up --image-store containerd`, and back by `down`.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use crate::real::{layout, push};
use crate::support::hubcap::{Place, command};
use crate::support::programs::{Dockerd, Registry, modern, program};

const IMAGE: &str = "library/it:1";
const JSON: &str = "{\n\t\"labels\": [ \"a=b\" ],\n\t\"features\": { \"buildkit\":true }\n}";
const SWITCH: [&str; 4] = ["up", "--image-store", "containerd", "--restart"];

/// A dockerd, a registry with an image, and a hubcap between them.
struct Machine {
    // Ended before its files go with the place.
    dockerd: Dockerd,
    registry: Registry,
    place: Place,
    layout: PathBuf,
    json: &'static str,
}

impl Machine {
    fn start(dockerd: Command, json: &'static str) -> Self {
        let place = Place::new();
        let dir = place.dir.path();
        let docker = dir.join("docker");
        std::fs::create_dir(&docker).expect("a directory");
        let registry = Registry::start(dir);
        let layout = layout(dir);
        push(&registry, &layout, (IMAGE, "v2s2"));
        let dockerd = Dockerd::start_as(dockerd, &docker, (json, &[]));
        Self { dockerd, registry, layout, json, place }
    }

    /// With today's dockerd, if it is here.
    fn modern() -> Option<Self> {
        modern("dockerd").map(|dockerd| Self::start(dockerd, JSON))
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = command(self.place.dir.path());
        command.args(words).args(["--docker-host", self.dockerd.host()]);
        command.arg("--certs-dir").arg(self.docker().join("certs.d"));
        command.arg("--store").arg(self.place.store()).arg("--state").arg(self.place.state());
        if words[0] == "up" {
            let upstream = format!("docker.io=http://127.0.0.1:{}", self.registry.port);
            command.args(["--listen", "127.0.0.1:0", "--upstream", &upstream]);
        }
        command.stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("hubcap starts")
    }

    fn succeed(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}: {}", said(&output));
        said(&output)
    }

    /// Fails, and changes nothing.
    fn refuse(&self, words: &[&str]) -> String {
        let pid = self.dockerd.pid();
        let output = self.run(words);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(self.is_as_it_was() && self.dockerd.pid() == pid, "{}", said(&output));
        said(&output)
    }

    fn docker(&self) -> PathBuf {
        self.place.dir.path().join("docker")
    }

    fn json(&self) -> String {
        std::fs::read_to_string(self.docker().join("daemon.json")).expect("there")
    }

    fn has_containerd_store(&self) -> bool {
        self.dockerd
            .docker(&["info", "--format", "{{json .DriverStatus}}"])
            .contains("containerd.snapshotter")
    }

    fn is_as_it_was(&self) -> bool {
        self.json() == self.json && !self.docker().join("certs.d").exists() && !self.has_containerd_store()
    }

    /// An image in the store that dockerd has, without hubcap.
    fn load(&self) {
        let tar = self.place.dir.path().join("it.tar");
        let mut skopeo = program("skopeo");
        skopeo.arg("copy").arg(format!("oci:{}", self.layout.display()));
        crate::support::programs::succeed(skopeo.arg(format!("docker-archive:{}:{IMAGE}", tar.display())));
        self.dockerd.docker(&["load", "--input", tar.to_str().expect("text")]);
    }

    fn images(&self) -> String {
        self.dockerd.docker(&["image", "ls", "--quiet"])
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.run(&["down"]);
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn dockerd_is_switched_to_containerds_store_by_up_and_back_by_down() {
    let Some(machine) = Machine::modern() else { return };
    let doctor = said(&machine.run(&["doctor"]));
    assert!(doctor.contains("into its own image store (overlay2)"), "{doctor}");
    let up = machine.succeed(&SWITCH);
    assert!(up.contains("proved with a pull"), "{up}");
    assert!(up.contains("into containerd's image store (overlayfs)"), "{up}");
    assert!(machine.has_containerd_store(), "{up}");
    assert!(machine.json().contains("\"features\": {\"buildkit\":true,\"containerd-snapshotter\":true}"));
    machine.dockerd.docker(&["pull", IMAGE]);
    assert!(machine.docker().join("data/containerd").exists() && !machine.images().is_empty());
    let doctor = said(&machine.run(&["doctor"]));
    assert!(doctor.contains("into containerd's image store") && !doctor.contains("pigz would"), "{doctor}");

    // It stays so for another `up`, which does not ask for it.
    let pid = machine.dockerd.pid();
    machine.succeed(&["up"]);
    assert!(machine.json().contains("containerd-snapshotter"));
    assert!(machine.succeed(&SWITCH).contains("dockerd has containerd's image store already"));
    assert_eq!(machine.dockerd.pid(), pid);

    let down = machine.succeed(&["down", "--restart"]);
    assert!(down.contains("dockerd is restarted"), "{down}");
    assert!(down.contains("into containerd's image store (overlayfs)"), "the summary: {down}");
    assert!(machine.is_as_it_was(), "{down}");
    assert_eq!(machine.images(), "");
}

#[test]
fn a_down_that_may_not_restart_dockerd_says_that_its_store_stays_until_then() {
    let Some(machine) = Machine::modern() else { return };
    machine.succeed(&SWITCH);
    let said = machine.succeed(&["down"]);
    assert!(said.contains("still has containerd's image store, until it is restarted"), "{said}");
    assert!(machine.json() == JSON && machine.has_containerd_store());
}

#[test]
fn a_dockerd_with_images_is_switched_by_force_alone_and_has_them_again_after_down() {
    let Some(machine) = Machine::modern() else { return };
    machine.load();
    let images = machine.images();
    let refused = machine.refuse(&SWITCH);
    assert!(
        refused.contains("it would not see the image it:1 until") && refused.contains("--force"),
        "{refused}"
    );
    // In a job the pulls use hubcap all the same.
    let output = machine.command(&SWITCH).env("GITHUB_ACTIONS", "true").output().expect("hubcap starts");
    let warned = said(&output);
    assert!(output.status.success(), "{warned}");
    assert!(warned.contains("::warning title=hubcap::dockerd keeps its own image store"), "{warned}");
    assert!(warned.contains("proved with a pull") && !machine.has_containerd_store(), "{warned}");
    machine.succeed(&["down", "--force"]);

    machine.succeed(&[&SWITCH[..], &["--force"]].concat());
    assert!(machine.has_containerd_store() && machine.images().is_empty());
    machine.succeed(&["down", "--restart"]);
    assert!(machine.is_as_it_was());
    assert_eq!(machine.images(), images);
}

#[test]
fn a_dockerd_with_a_container_is_not_switched() {
    let Some(machine) = Machine::modern() else { return };
    machine.load();
    machine.dockerd.docker(&["create", "--name", "web", "--network", "none", IMAGE]);
    let said = machine.refuse(&SWITCH);
    assert!(said.contains("the container web"), "{said}");
}

#[test]
fn a_dockerd_that_may_not_be_restarted_is_not_switched() {
    let Some(machine) = Machine::modern() else { return };
    let said = machine.refuse(&["up", "--image-store", "containerd"]);
    assert!(said.contains("--restart-command"), "{said}");
}

#[test]
fn a_dockerd_without_that_store_is_not_switched() {
    let machine = Machine::start(program("dockerd"), JSON);
    let said = machine.refuse(&SWITCH);
    assert!(said.contains("dockerd 24 and later can"), "{said}");
}

#[test]
fn a_dockerd_that_keeps_its_store_after_its_restart_gets_its_files_back_and_runs_with_them() {
    let Some(machine) = Machine::modern() else { return };
    // A command that restarts nothing.
    let output = machine.run(&["up", "--image-store", "containerd", "--restart-command", "true"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("and still has its own"), "{}", said(&output));
    assert!(machine.is_as_it_was(), "{}", machine.json());
}

#[test]
fn a_dockerd_that_cannot_pull_into_that_store_has_its_own_again() {
    let Some(dockerd) = modern("dockerd") else { return };
    // It is no snapshotter of containerd's, and dockerd finds that out at a pull.
    let machine = Machine::start(dockerd, "{\"storage-driver\": \"overlay2\"}");
    let pid = machine.dockerd.pid();
    let output = machine.run(&SWITCH);
    let told = said(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("dockerd is restarted with its own image store"), "{told}");
    assert!(machine.is_as_it_was() && machine.dockerd.pid() != pid, "{told}");
}
