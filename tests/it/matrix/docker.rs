//! dockerd, by `docker pull`.

use std::time::{Duration, Instant};

use super::assert_five_sentences;
use super::client::{Client, Covers, Pull, Wiring};
use super::origins::Image;
use crate::clients::said;
use crate::real::assert_greets;
use crate::support::PATIENCE;
use crate::support::machine::{Machine, Programs};
use crate::support::programs::{Running, succeed};

pub(crate) const DEBIAN_12: Client = Client {
    title: "dockerd",
    version: "20.10.24",
    store: "its own",
    programs: Programs::Installed,
    process: "dockerd",
    name: "docker",
    about: "dockerd",
    remedy: "hubcap up",
    wiring: Wiring::Up { restart: false },
    covers: Covers::DockerHub,
    asks: version,
    start: |machine| pulling(machine, "{\n\t\"labels\": [ \"a=b\" ]\n}"),
    identity: Image::of_config,
};

pub(crate) const OWN_STORE: Client = Client {
    version: "28.5.2",
    programs: Programs::Sid,
    start: |machine| pulling(machine, "{\"features\": {\"containerd-snapshotter\": false}}"),
    ..DEBIAN_12
};

pub(crate) const CONTAINERD_STORE: Client = Client {
    store: "containerd's",
    covers: Covers::Every,
    start: |machine| pulling(machine, "{\"features\": {\"containerd-snapshotter\": true}}"),
    identity: Image::of_manifest,
    ..OWN_STORE
};

fn version(machine: &Machine) -> String {
    succeed(machine.command("dockerd").arg("--version"))
}

/// A dockerd with its usual files and its usual socket. `json` is its `daemon.json`.
pub(crate) fn start(machine: &Machine, json: &str) -> Running {
    machine.write("/etc/docker/daemon.json", json);
    let dir = machine.dir("docker");
    let log = std::fs::File::create(dir.join("log")).expect("a log");
    let both = (log.try_clone().expect("a log"), log);
    let mut dockerd = machine.command("dockerd");
    dockerd.args(["--bridge=none", "--iptables=false", "--data-root"]).arg(dir.join("data"));
    let dockerd = Running(dockerd.stdout(both.0).stderr(both.1).spawn().expect("dockerd starts"));
    let end = Instant::now() + PATIENCE;
    while !machine.command("docker").arg("version").output().is_ok_and(|output| output.status.success()) {
        let log = || std::fs::read_to_string(dir.join("log")).unwrap_or_default();
        assert!(Instant::now() < end, "dockerd does not answer: {}", log());
        std::thread::sleep(Duration::from_millis(50));
    }
    dockerd
}

fn pulling(machine: &Machine, json: &str) -> Pull {
    let dockerd = start(machine, json);
    Box::new(move |machine, image| {
        let _ = &dockerd;
        let pulled = machine.command("docker").args(["pull", &image.name]).output().expect("docker starts");
        if !pulled.status.success() {
            return Err(said(&pulled));
        }
        let docker = |words: &[&str]| succeed(machine.command("docker").args(words));
        let id = docker(&["image", "inspect", "--format", "{{.Id}}", &image.name]);
        assert_greets(&mut machine.command("docker"), &image.name, &image.greeting);
        docker(&["image", "rm", "--force", &image.name]);
        assert_eq!(docker(&["image", "ls", "--quiet"]), "", "the contents really go");
        Ok(id.trim().to_owned())
    })
}

#[test]
pub(super) fn dockerd_20_10_is_served() {
    assert_five_sentences(&DEBIAN_12);
}

#[test]
pub(super) fn dockerd_28_with_its_own_store_is_served() {
    assert_five_sentences(&OWN_STORE);
}

#[test]
pub(super) fn dockerd_28_with_containerds_store_is_served() {
    assert_five_sentences(&CONTAINERD_STORE);
}
