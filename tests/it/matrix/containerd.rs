//! containerd, by `ctr images pull --hosts-dir`.

use std::process::Command;
use std::time::{Duration, Instant};

use super::assert_five_sentences;
use super::client::{Client, Covers, Pull, Wiring};
use super::origins::Image;
use crate::clients::said;
use crate::support::PATIENCE;
use crate::support::machine::{Machine, Programs};
use crate::support::programs::{Running, succeed};

pub(crate) const DEBIAN_12: Client = Client {
    title: "containerd, by `ctr --hosts-dir`",
    version: "1.6.20",
    store: "its own",
    programs: Programs::Installed,
    process: "ctr",
    name: "containerd",
    about: "containerd",
    remedy: "hubcap up",
    wiring: Wiring::Setup,
    covers: Covers::Every,
    asks: version,
    start: pulling,
    identity: Image::of_manifest,
};

pub(crate) const DEBIAN_13: Client = Client { version: "1.7.24", programs: Programs::Trixie, ..DEBIAN_12 };

pub(crate) const SID: Client =
    Client { version: "2.1.9", programs: Programs::Sid, process: "containerd", ..DEBIAN_12 };

/// containerd's own directory of registries.
const CERTS_DIR: &str = "/etc/containerd/certs.d";

pub(super) fn version(machine: &Machine) -> String {
    succeed(machine.command("containerd").arg("--version"))
}

/// A containerd with its usual files and its usual socket. CRI reads what `hubcap setup` writes.
pub(super) fn start(machine: &Machine) -> Running {
    let dir = machine.dir("containerd");
    let (version, cri) = match version(machine).contains(" v2.") || version(machine).contains(" 2.") {
        true => (3, "io.containerd.cri.v1.images"),
        false => (2, "io.containerd.grpc.v1.cri"),
    };
    machine.write(
        "/etc/containerd/config.toml",
        &format!(
            "version = {version}\nroot = \"{0}/root\"\n[plugins.\"io.containerd.internal.v1.opt\"]\npath = \"{0}/opt\"\n\
             [plugins.\"{cri}\".registry]\nconfig_path = \"{CERTS_DIR}\"\n",
            dir.display()
        ),
    );
    let log = std::fs::File::create(dir.join("log")).expect("a log");
    let both = (log.try_clone().expect("a log"), log);
    let child = machine.command("containerd").stdout(both.0).stderr(both.1).spawn();
    let containerd = Running(child.expect("containerd starts"));
    let end = Instant::now() + PATIENCE;
    while !machine.command("ctr").arg("version").output().is_ok_and(|output| output.status.success()) {
        let log = || std::fs::read_to_string(dir.join("log")).unwrap_or_default();
        assert!(Instant::now() < end, "containerd does not answer: {}", log());
        std::thread::sleep(Duration::from_millis(20));
    }
    containerd
}

/// `ctr` in a name space.
pub(super) fn ctr(machine: &Machine, namespace: &str, words: &[&str]) -> Command {
    let mut command = machine.command("ctr");
    command.args(["--namespace", namespace]).args(words);
    command
}

/// What is in the image's `/etc/greeting`, as a container would see it.
pub(super) fn greeting(machine: &Machine, namespace: &str, name: &str) -> String {
    let at = machine.dir("mounted").display().to_string();
    succeed(&mut ctr(machine, namespace, &["images", "mount", name, &at]));
    let greeting = succeed(machine.command("cat").arg(format!("{at}/etc/greeting")));
    succeed(&mut ctr(machine, namespace, &["images", "unmount", "--rm", &at]));
    greeting.trim().to_owned()
}

fn pulling(machine: &Machine) -> Pull {
    let containerd = start(machine);
    Box::new(move |machine, image| {
        let _ = &containerd;
        let ctr = |words: &[&str]| ctr(machine, "it", words);
        let pulled =
            ctr(&["images", "pull", "--hosts-dir", CERTS_DIR, &image.name]).output().expect("ctr starts");
        if !pulled.status.success() {
            return Err(said(&pulled));
        }
        let listed = succeed(&mut ctr(&["images", "ls", &format!("name=={}", image.name)]));
        let digest = listed.split_whitespace().find(|word| word.starts_with("sha256:"));
        let digest = digest.unwrap_or_else(|| panic!("no digest: {listed}")).to_owned();
        assert_eq!(greeting(machine, "it", &image.name), image.greeting);
        succeed(&mut ctr(&["images", "rm", "--sync", &image.name]));
        assert_eq!(succeed(&mut ctr(&["content", "ls", "--quiet"])), "", "the contents really go");
        Ok(digest)
    })
}

#[test]
pub(super) fn containerd_1_6_by_ctr_is_served() {
    assert_five_sentences(&DEBIAN_12);
}

#[test]
pub(super) fn containerd_1_7_by_ctr_is_served() {
    assert_five_sentences(&DEBIAN_13);
}

#[test]
pub(super) fn containerd_2_1_by_ctr_is_served() {
    assert_five_sentences(&SID);
}
