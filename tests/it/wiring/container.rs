//! A job in a container that was given the socket of the machine's dockerd.

use crate::clients::said;
use crate::matrix::docker;
use crate::support::machine::{Machine, Programs};

#[test]
fn in_a_container_it_is_said_at_once_that_the_machines_dockerd_cannot_be_configured_from_there() {
    let machine = Machine::with(Programs::Installed).expect("installed");
    let _dockerd = docker::start(&machine, "{}");
    machine.write("/run/.containerenv", "");
    let hubcap = |words: &[&str]| {
        let mut container = machine.command("unshare");
        container.args([
            "--uts",
            "sh",
            "-c",
            "hostname job && exec \"$@\"",
            "sh",
            env!("CARGO_BIN_EXE_hubcap"),
        ]);
        let output = container.args(words).env("GITHUB_ACTIONS", "true").output().expect("it starts");
        assert!(output.status.success(), "{}", said(&output));
        said(&output)
    };
    let told = hubcap(&["up", "--client", "docker"]);
    let warnings: Vec<&str> = told.lines().filter(|line| line.starts_with("::warning")).collect();
    let [warning] = warnings.try_into().expect("one warning");
    assert!(warning.contains("this is a container") && warning.contains("without `container:`"), "{told}");
    let told = hubcap(&["down"]);
    assert!(!told.contains("::warning"), "{told}");
    let read = |path: &str| std::fs::read_to_string(machine.at(path)).ok();
    assert_eq!(read("/etc/docker/daemon.json").as_deref(), Some("{}"));
    assert!(!machine.at("/etc/docker/certs.d").exists());
}
