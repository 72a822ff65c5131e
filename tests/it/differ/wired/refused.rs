//! What cannot be given the differ stays as it is, and the job goes on.

use super::super::containerd::Version;
use super::{DOCKERS, Wired};
use crate::clients::said;
use crate::matrix::docker;
use crate::support::machine::{Machine, Programs};
use crate::support::programs::modern_root;

/// `up --unpack` succeeds, with a warning that says this.
fn warned(wired: &Wired, why: &str) {
    let mut up = wired.command(&["up", "--unpack", "--listen", "127.0.0.1:0"]);
    let output = up.env("GITHUB_ACTIONS", "true").output().expect("hubcap starts");
    let told = said(&output);
    assert!(output.status.success() && told.contains("pulls through"), "{told}");
    let warnings: Vec<&str> = told.lines().filter(|line| line.starts_with("::warning ")).collect();
    assert!(warnings.len() == 1 && warnings[0].contains(why), "{told}");
}

#[test]
fn a_configuration_that_disables_the_service_is_left_as_it_is() {
    let config = "version = 2\ndisabled_plugins = [\"io.containerd.differ.v1.hubcap\"]\n";
    let Some(wired) = Wired::start(Version::Sid, Some(config)) else { return };
    warned(&wired, "it disables the plugin");
    wired.assert_unwired(Some(config));
}

#[test]
fn a_dockerd_with_its_own_image_store_is_told_of_containerds() {
    let json = "{\"features\": {\"containerd-snapshotter\": false}}";
    let Some(wired) = Wired::start_with(Version::Sid, Some(DOCKERS), json) else { return };
    warned(&wired, "--image-store containerd");
    assert_eq!(wired.config().as_deref(), Some(DOCKERS));
}

/// `up --unpack` and `down` succeed on a machine whose containerd stays as it is, and say this of it.
fn left_alone(machine: &Machine, why: &str) {
    let (_origins, _) = crate::matrix::origins::Origins::start(machine);
    let _dockerd = docker::start(machine, super::CONTAINERD_STORE);
    let run = |words: &[&str]| {
        let output = machine.hubcap(words).output().expect("hubcap starts");
        assert!(output.status.success(), "{}", said(&output));
        said(&output)
    };
    let told = run(&["up", "--unpack", "--listen", "127.0.0.1:0"]);
    assert!(told.contains(why), "{told}");
    run(&["down"]);
}

#[test]
fn a_containerd_before_1_7_is_left_as_it_is() {
    let Some(machine) = Machine::with(Programs::Sid) else { return };
    let _containerd = super::containerd(&machine, std::path::Path::new("/usr/bin/containerd"));
    left_alone(&machine, "containerd 1.6.20 cannot have a differ");
}

#[test]
fn a_containerd_that_dockerd_has_started_is_left_as_it_is() {
    let Some(machine) = Machine::with(Programs::Sid) else { return };
    left_alone(&machine, "dockerd has started its containerd itself");
}

#[test]
fn a_containerd_that_does_not_start_with_it_gets_its_file_back_and_runs_with_that() {
    let Some(wired) = Wired::start(Version::Sid, Some(DOCKERS)) else { return };
    // A command that restarts nothing: so the proof finds that containerd does not ask.
    let mut up =
        wired.command(&["up", "--unpack", "--listen", "127.0.0.1:0", "--restart-containerd", "true"]);
    let output = up.output().expect("hubcap starts");
    let told = said(&output);
    assert!(output.status.success() && told.contains("does not ask the differ"), "{told}");
    wired.assert_unwired(Some(DOCKERS));
    wired.hubcap(&["down"]);
}

#[test]
fn a_differ_that_cannot_listen_changes_nothing() {
    let Some(wired) = Wired::start(Version::Sid, Some(DOCKERS)) else { return };
    // A file in the place of its directory.
    wired.machine.write("/run/hubcap-differ", "precious");
    warned(&wired, "the differ does not listen on");
    assert_eq!(wired.config().as_deref(), Some(DOCKERS));
    assert_eq!(std::fs::read(wired.machine.at("/run/hubcap-differ")).expect("there"), b"precious");
    assert!(wired.differ().is_none() && wired.applied_of_a_pull() == 0);
}

#[test]
fn a_differ_of_hubcaps_that_its_user_has_configured_stays() {
    let config = "version = 2\n[proxy_plugins.hubcap]\n  type = \"diff\"\n  address = \"/run/other.sock\"\n";
    let Some(wired) = Wired::start(Version::Sid, Some(config)) else { return };
    warned(&wired, "it has a plugin \"hubcap\" in proxy_plugins already");
    assert_eq!(wired.config().as_deref(), Some(config));
    assert!(wired.differ().is_none() && !wired.machine.at("/run/hubcap-differ").exists());
}

#[test]
fn a_containerd_in_mounts_of_its_own_is_left_as_it_is() {
    let Some(machine) = Machine::with(Programs::Sid) else { return };
    let mut unshare = machine.command("unshare");
    unshare.args(["--mount", "--propagation", "slave"]).arg(modern_root().join("usr/bin/containerd"));
    let _containerd = super::containerd_by(&machine, unshare);
    left_alone(&machine, "in a namespace of its own (mnt)");
    assert!(!machine.at("/run/hubcap-differ").exists());
}

#[test]
fn a_containerd_that_does_not_restart_in_down_keeps_a_differ_that_answers() {
    let Some(wired) = Wired::start(Version::Sid, Some(DOCKERS)) else { return };
    wired.up();
    let output = wired.run(&["down", "--restart-containerd", "exit 3"]);
    let told = said(&output);
    assert!(!output.status.success() && told.contains("differ goes on"), "{told}");
    assert_eq!(wired.config().as_deref(), Some(DOCKERS));
    assert_eq!(wired.applied_of_a_pull(), 3, "{}", wired.log());
}
