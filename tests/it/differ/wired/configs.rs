//! Configurations of containerd, as users have them.

use super::super::containerd::Version;
use super::{CONFIG, Wired};

const SERVICE: &str = "io.containerd.service.v1.diff-service";

#[test]
fn a_missing_file_is_made_and_removed() {
    for version in [Version::Sid, Version::Trixie] {
        let Some(wired) = Wired::start(version, None) else { return };
        wired.up();
        assert_eq!(wired.applied_of_a_pull(), 3);
        wired.hubcap(&["down"]);
        wired.assert_unwired(None);
    }
}

#[test]
fn files_of_the_second_and_the_third_version_come_back_to_the_byte() {
    let text = |number: u8| format!("version={number} # mine\n\n[debug]\n  level = 'info'\n");
    for (version, number) in [(Version::Sid, 3), (Version::Sid, 2), (Version::Trixie, 2)] {
        let config = text(number);
        let Some(wired) = Wired::start(version, Some(&config)) else { return };
        wired.up();
        assert_eq!(wired.applied_of_a_pull(), 3);
        wired.hubcap(&["down"]);
        wired.assert_unwired(Some(&config));
    }
}

#[test]
fn an_imported_list_of_differs_is_kept_behind_hubcaps() {
    for version in [Version::Sid, Version::Trixie] {
        let config = "version = 2\nimports = [\"conf.d/*.toml\"]\n";
        let Some(wired) = Wired::start(version, Some(config)) else { return };
        let theirs = format!("version = 2\n[plugins.\"{SERVICE}\"]\n  default = [\"walking\"]\n");
        wired.machine.write("/etc/containerd/conf.d/differs.toml", &theirs);
        wired.up();
        let ours = std::fs::read_to_string(wired.machine.at("/run/hubcap-differ/containerd.toml"));
        assert!(ours.expect("written").contains("default = [\"hubcap\", \"walking\"]"));
        assert_eq!(wired.applied_of_a_pull(), 3);
        wired.hubcap(&["down"]);
        wired.assert_unwired(Some(config));
    }
}

#[test]
fn what_others_write_into_the_file_meanwhile_stays() {
    let Some(wired) = Wired::start(Version::Sid, Some("version = 3\n")) else { return };
    wired.up();
    let now = wired.config().expect("there");
    wired.machine.write(CONFIG, &format!("{now}[debug]\n  level = \"info\"\n"));
    wired.hubcap(&["down"]);
    wired.assert_unwired(Some("version = 3\n[debug]\n  level = \"info\"\n"));
}

#[test]
fn print_shows_what_would_change_and_changes_nothing() {
    let Some(wired) = Wired::start(Version::Sid, Some("version = 3\n")) else { return };
    let printed = wired.hubcap(&["up", "--unpack", "--print", "--listen", "127.0.0.1:5443"]);
    assert!(printed.contains("+imports = [\"/run/hubcap-differ/*.toml\"]"), "{printed}");
    wired.assert_unwired(Some("version = 3\n"));
}
