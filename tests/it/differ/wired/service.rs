//! `setup containerd --unpack`: the differ is a service of systemd's, which a script plays, and stays across reboots.

use std::path::PathBuf;
use std::process::{Command, Output};

use rustix::process::{Pid, Signal, kill_process};

use super::super::containerd::Version;
use super::{CONFIG, DOCKERS, IMAGE, Wired, containerd, processes, wait};
use crate::clients::said;
use crate::support::machine::Machine;
use crate::support::programs::{install, install_script, modern_root, succeed};

const SYSTEMCTL: &str = include_str!("service/systemctl");
const HOLDER: &str = include_str!("service/holder.pl");
const UNITS: [&str; 2] =
    ["/etc/systemd/system/hubcap-differ.service", "/etc/systemd/system/hubcap-differ.socket"];
const WANTS: &str = "/etc/systemd/system/sockets.target.wants/hubcap-differ.socket";
const SETUP: [&str; 6] = ["setup", "containerd", "--unpack", "--unchecked", "--listen", "127.0.0.1:5443"];
const UNSET: [&str; 2] = ["unset", "containerd"];

/// Has systemd's programs be the scripts.
fn play_systemd(machine: &Machine) {
    let dir = machine.dir("systemd");
    std::fs::write(dir.join("holder.pl"), HOLDER).expect("written");
    let holder = dir.join("holder.pl").display().to_string();
    let journalctl = "#!/bin/sh\ncase \"$*\" in --sync) ;; *--unit=hubcap-differ.service*) cat /run/stand-in/log ;; *) exit 1 ;; esac\n";
    for (name, script) in
        [("systemctl", SYSTEMCTL.replace("HOLDER", &holder)), ("journalctl", journalctl.into())]
    {
        install_script(dir.join(name), &script);
        let place = machine.at("/usr/bin").join(name);
        assert!(place.exists(), "{name} is missing: tests/run installs what the tests need");
        succeed(machine.command("mount").arg("--bind").arg(dir.join(name)).arg(format!("/usr/bin/{name}")));
    }
    boot(machine);
}

/// systemd is the machine's first process, and starts what is wanted before containerd.
fn boot(machine: &Machine) {
    std::fs::create_dir_all(machine.at("/run/systemd/system")).expect("a directory");
    succeed(machine.command("systemctl").args(["start", "sockets.target"]));
}

impl Wired {
    /// On a machine with systemd.
    fn with_systemd(version: Version, config: Option<&str>) -> Option<Self> {
        let wired = Self::start(version, config)?;
        play_systemd(&wired.machine);
        Some(wired)
    }

    fn set_up(&self) -> String {
        let told = self.hubcap(&SETUP);
        assert!(told.contains("differ: proved with an image"), "{told}\n{}", self.service_log());
        told
    }

    /// Runs, and must fail.
    fn fails(&self, words: &[&str]) -> String {
        failed(&self.command(words).output().expect("hubcap starts"))
    }

    fn service_log(&self) -> String {
        std::fs::read_to_string(self.machine.at("/run/stand-in/log")).unwrap_or_default()
    }

    /// What systemctl was asked for.
    fn asked(&self) -> String {
        std::fs::read_to_string(self.machine.at("/run/stand-in/asked")).unwrap_or_default()
    }

    /// Pulls an image anew, and says how many of its three layers the service has applied.
    fn applied_by_service(&self) -> usize {
        let applied = || self.service_log().lines().filter(|line| line.contains("applied sha256:")).count();
        let before = applied();
        self.pull(IMAGE).unwrap_or_else(|error| panic!("{error}\n{}", self.service_log()));
        applied() - before
    }

    fn service_worker(&self) -> Option<Pid> {
        processes(&["differ", "--socket", "-"]).into_iter().find(|pid| self.is_here(*pid))
    }

    /// The containerd that runs now.
    fn containerd_pid(&self) -> Vec<Pid> {
        let root = self.machine.dir("containerd").join("root");
        processes(&["--root", root.to_str().expect("text")])
    }

    /// Nothing of `setup --unpack` is there, and containerd unpacks by itself.
    fn assert_unset(&self, config: Option<&str>) {
        assert_eq!(self.config().as_deref(), config);
        for path in UNITS.into_iter().chain([WANTS, "/etc/hubcap-differ", "/run/hubcap-differ"]) {
            assert!(self.machine.at(path).symlink_metadata().is_err(), "{path}");
        }
        assert!(self.service_worker().is_none());
        wait("dockerd does not find containerd", || self.pull(IMAGE).is_ok());
        assert_eq!(self.applied_by_service(), 0);
    }

    /// A command that restarts containerd, and writes down whether somebody listens for the differ meanwhile.
    fn restart_command(&self) -> PathBuf {
        let dir = self.machine.dir("restart");
        let (root, log) = (self.machine.dir("containerd"), dir.join("listens"));
        let program = modern_root().join("usr/bin/containerd");
        let script = format!(
            "#!/bin/sh\ngrep -q ' {} .*/run/hubcap-differ/differ.sock' /proc/net/unix && ls {} >/dev/null && echo yes >>{log} || echo no >>{log}\n\
             kill $1\n# It may be a zombie.\nwhile readlink /proc/$1/exe >/dev/null; do sleep 0.01; done\n\
             setsid {} --root {root}/root </dev/null >>{root}/log 2>&1 &\n",
            "00010000",
            UNITS.join(" "),
            program.display(),
            log = log.display(),
            root = root.display()
        );
        install_script(dir.join("restart"), &script);
        dir.join("restart")
    }
}

fn failed(output: &Output) -> String {
    let told = said(output);
    assert!(!output.status.success(), "{told}");
    told
}

#[test]
fn a_machine_that_is_set_up_unpacks_with_the_differ_until_unset() {
    for version in [Version::Sid, Version::Trixie] {
        let Some(wired) = Wired::with_systemd(version, Some(DOCKERS)) else { return };
        let told = wired.set_up();
        assert!(told.contains("systemd runs ") && told.contains("containerd is restarted"), "{told}");
        assert_eq!(wired.applied_by_service(), 3, "{}", wired.service_log());
        assert!(wired.machine.at(WANTS).symlink_metadata().is_ok());
        let doctor = said(&wired.run(&["doctor"]));
        assert!(doctor.contains("it unpacks with hubcap's differ"), "{doctor}");
        // Once more changes nothing, and containerd is not restarted.
        let before = (wired.config(), wired.containerd_pid());
        let again = wired.hubcap(&SETUP);
        assert!(again.contains("differ already") && !again.contains("is restarted"), "{again}");
        assert_eq!((wired.config(), wired.containerd_pid()), before);
        // `down` is about what `up` has done.
        wired.hubcap(&["down"]);
        assert_eq!(wired.applied_by_service(), 3, "{}", wired.service_log());
        wired.hubcap(&UNSET);
        wired.assert_unset(Some(DOCKERS));
        wired.hubcap(&UNSET);
    }
}

#[test]
fn a_machine_that_is_set_up_unpacks_with_the_differ_after_a_reboot() {
    let Some(mut wired) = Wired::with_systemd(Version::Sid, Some(DOCKERS)) else { return };
    wired.set_up();
    // Containerd stops before systemd's sockets; then all processes have ended, and `/run` is empty.
    for pid in wired.containerd_pid() {
        kill_process(pid, Signal::TERM).expect("it runs");
    }
    wait("containerd does not end", || wired.containerd_pid().is_empty());
    let holder = std::fs::read_to_string(wired.machine.at("/run/stand-in/holder")).expect("a holder");
    kill_process(Pid::from_raw(holder.trim().parse().expect("a number")).expect("a process"), Signal::TERM)
        .expect("it runs");
    wait("the differ does not end", || wired.service_worker().is_none());
    for dir in ["hubcap-differ", "stand-in", "systemd", "containerd"] {
        let _ = std::fs::remove_dir_all(wired.machine.at("/run").join(dir));
    }
    boot(&wired.machine);
    wired.containerd = containerd(&wired.machine, &modern_root().join("usr/bin/containerd"));
    wait("dockerd does not find containerd", || wired.pull(IMAGE).is_ok());
    assert_eq!(wired.applied_by_service(), 3, "{}", wired.service_log());
    wired.hubcap(&UNSET);
    wired.assert_unset(Some(DOCKERS));
}

#[test]
fn a_service_that_is_killed_answers_the_next_pull() {
    let Some(wired) = Wired::with_systemd(Version::Sid, None) else { return };
    wired.set_up();
    for _ in 0..8 {
        let killed = wired.service_worker().expect("a process that unpacks");
        kill_process(killed, Signal::KILL).expect("it runs");
        assert_eq!(wired.applied_by_service(), 3, "{}", wired.service_log());
    }
    wired.hubcap(&UNSET);
    wired.assert_unset(None);
}

#[test]
fn somebody_listens_whenever_containerd_is_restarted() {
    let Some(wired) = Wired::with_systemd(Version::Sid, Some(DOCKERS)) else { return };
    let script = wired.restart_command();
    let restart = |words: &[&str]| {
        let pid = wired.containerd_pid().first().expect("a containerd").as_raw_nonzero();
        let command = format!("{} {pid}", script.display());
        wired.hubcap(&[words, &["--restart-containerd", &command]].concat())
    };
    restart(&SETUP);
    assert_eq!(wired.applied_by_service(), 3);
    restart(&UNSET);
    let listens = std::fs::read_to_string(wired.machine.dir("restart").join("listens")).expect("written");
    assert_eq!(listens, "yes\nyes\n");
    wired.assert_unset(Some(DOCKERS));
}

#[test]
fn without_systemd_nothing_is_changed() {
    let Some(wired) = Wired::start(Version::Sid, Some(DOCKERS)) else { return };
    let before = wired.containerd_pid();
    let told = wired.fails(&SETUP);
    assert!(told.contains("no systemd runs here"), "{told}");
    assert_eq!(wired.containerd_pid(), before);
    assert!(!wired.machine.at("/etc/containerd/certs.d").exists());
    wired.assert_unset(Some(DOCKERS));
}

#[test]
fn units_that_systemd_does_not_start_leave_containerd_untouched() {
    let Some(wired) = Wired::with_systemd(Version::Sid, Some(DOCKERS)) else { return };
    let before = wired.containerd_pid();
    wired.machine.write("/run/stand-in/fails", "enable --now hubcap-differ.socket");
    let told = wired.fails(&SETUP);
    assert!(told.contains("enable --now hubcap-differ.socket: no such thing"), "{told}");
    assert_eq!(wired.containerd_pid(), before);
    wired.assert_unset(Some(DOCKERS));
}

#[test]
fn a_containerd_that_does_not_ask_gets_its_file_back() {
    let Some(wired) = Wired::with_systemd(Version::Sid, Some(DOCKERS)) else { return };
    // A command that restarts nothing: so the proof finds that containerd does not ask.
    let told = wired.fails(&[&SETUP[..], &["--restart-containerd", "true"]].concat());
    assert!(told.contains("does not ask the differ") && told.contains("everything is as it was"), "{told}");
    assert!(!wired.machine.at("/etc/containerd/certs.d").exists());
    wired.assert_unset(Some(DOCKERS));
}

#[test]
fn a_containerd_that_cannot_be_restarted_keeps_a_differ_that_answers_until_another_unset() {
    let Some(wired) = Wired::with_systemd(Version::Sid, Some(DOCKERS)) else { return };
    wired.set_up();
    let told = wired.fails(&[&UNSET[..], &["--restart-containerd", "false"]].concat());
    assert!(told.contains("did not restart containerd") && told.contains("differ goes on"), "{told}");
    assert_eq!(wired.applied_by_service(), 3, "{}", wired.service_log());
    let told = wired.hubcap(&UNSET);
    assert!(told.contains("containerd is restarted"), "{told}");
    wired.assert_unset(Some(DOCKERS));
}

#[test]
fn units_of_somebody_else_stay() {
    let Some(wired) = Wired::with_systemd(Version::Sid, Some(DOCKERS)) else { return };
    wired.machine.write(UNITS[1], "[Socket]\nListenStream=/run/other.sock\n");
    let told = wired.fails(&SETUP);
    assert!(told.contains("it is there already, and not hubcap's"), "{told}");
    assert_eq!(wired.config().as_deref(), Some(DOCKERS));
    assert!(wired.machine.at(UNITS[1]).exists() && !wired.machine.at(UNITS[0]).exists());
    assert!(!wired.asked().contains("enable"), "{}", wired.asked());
}

#[test]
fn doctor_tells_that_the_program_of_the_service_is_gone() {
    let Some(wired) = Wired::with_systemd(Version::Sid, Some(DOCKERS)) else { return };
    let program = wired.machine.dir("installed").join("hubcap");
    install(env!("CARGO_BIN_EXE_hubcap"), &program);
    let mut setup: Command = wired.machine.command(program.to_str().expect("text"));
    succeed(setup.env("HUBCAP_CONFIG", wired.machine.home().join("hubcap.toml")).args(SETUP));
    std::fs::remove_file(&program).expect("there");
    let doctor = failed(&wired.run(&["doctor"]));
    assert!(doctor.contains("which is gone") && doctor.contains("hubcap unset containerd"), "{doctor}");
    wired.hubcap(&UNSET);
    wired.assert_unset(Some(DOCKERS));
}

#[test]
fn a_job_on_a_machine_that_is_set_up_leaves_it_so() {
    let Some(wired) = Wired::with_systemd(Version::Sid, Some(DOCKERS)) else { return };
    wired.set_up();
    let before = (wired.config(), wired.containerd_pid());
    let told = wired.hubcap(&["up", "--unpack", "--listen", "127.0.0.1:0"]);
    assert!(told.contains("differ: proved with a pull") && !told.contains("is restarted"), "{told}");
    let told = wired.hubcap(&["down"]);
    assert!(told.contains("`hubcap setup containerd` still needs it"), "{told}");
    assert_eq!((wired.config(), wired.containerd_pid()), before);
    assert_eq!(wired.applied_by_service(), 3, "{}", wired.service_log());
    wired.hubcap(&UNSET);
    wired.assert_unset(Some(DOCKERS));
}

/// A `setup` is refused with this while a job's differ unpacks, and changes nothing.
fn refused_while_a_job_has_it(setup: &[&str], why: &str) {
    let Some(wired) = Wired::start(Version::Sid, Some(DOCKERS)) else { return };
    wired.up();
    play_systemd(&wired.machine);
    let before = (wired.config(), wired.differ(), wired.containerd_pid());
    let told = wired.fails(setup);
    assert!(told.contains(why), "{told}");
    assert_eq!((wired.config(), wired.differ(), wired.containerd_pid()), before);
    wired.hubcap(&["down"]);
    wired.assert_unset(Some(DOCKERS));
}

#[test]
fn a_job_that_has_not_ended_keeps_its_differ() {
    refused_while_a_job_has_it(&SETUP[..3], "end that first: `hubcap down`");
}

#[test]
fn another_hubcaps_differ_is_not_taken_over() {
    let state = tempfile::tempdir().expect("a directory");
    let state = state.path().join("state").display().to_string();
    refused_while_a_job_has_it(
        &[&SETUP[..], &["--state", &state]].concat(),
        "another hubcap's differ listens on",
    );
}

#[test]
fn print_shows_the_units_and_changes_nothing() {
    let Some(wired) = Wired::with_systemd(Version::Sid, Some(CONFIG_3)) else { return };
    let printed = wired.hubcap(&[&SETUP[..], &["--print"]].concat());
    assert!(printed.contains("+ListenStream=/run/hubcap-differ/differ.sock"), "{printed}");
    assert!(printed.contains("+imports = [\"/etc/hubcap-differ/*.toml\"]"), "{printed}");
    assert_eq!(std::fs::read_to_string(wired.machine.at(CONFIG)).expect("there"), CONFIG_3);
    wired.assert_unset(Some(CONFIG_3));
}

const CONFIG_3: &str = "version = 3\n";
