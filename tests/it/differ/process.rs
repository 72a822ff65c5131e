//! The processes and their socket.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::Differ;
use super::containerd::{Containerd, Packed, Version, image, spawn};
use super::entry::{archive, directory, file};
use crate::support::hubcap::{command, run};
use crate::support::programs::{Running, install};
use crate::support::{PATIENCE, noise};

#[test]
fn only_its_user_may_open_the_socket() {
    let dir = tempfile::tempdir().expect("a directory");
    let differ = Differ::start(dir.path());
    let mode = std::fs::metadata(&differ.socket).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "{mode:o}");
}

#[test]
fn a_second_differ_on_the_same_socket_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let differ = Differ::start(dir.path());
    let second = run(dir.path(), &["differ", "--socket", differ.socket.to_str().expect("text")]);
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && said.contains("another process listens"), "{said}");
}

#[test]
fn a_socket_that_an_ended_process_has_left_is_replaced() {
    let dir = tempfile::tempdir().expect("a directory");
    drop(UnixListener::bind(dir.path().join("differ.sock")).expect("bound"));
    assert!(dir.path().join("differ.sock").exists());
    Differ::start(dir.path());
}

#[test]
fn a_file_in_the_place_of_the_socket_stays() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("file");
    std::fs::write(&path, "precious").expect("written");
    let output = run(dir.path(), &["differ", "--socket", path.to_str().expect("text")]);
    assert!(!output.status.success());
    assert_eq!(std::fs::read(&path).expect("there"), b"precious");
}

#[test]
fn it_ends_by_a_signal_and_removes_its_socket() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut differ = Differ::start(dir.path());
    kill_process(Pid::from_child(&differ.process.0), Signal::TERM).expect("a running process");
    let end = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = differ.process.0.try_wait().expect("a child") {
            break status;
        }
        assert!(Instant::now() < end, "{}", differ.log());
        std::thread::sleep(Duration::from_millis(10));
    };
    assert!(status.success() && !differ.socket.exists(), "{status}");
}

/// The process that answers.
fn worker(differ: &Differ) -> Option<Pid> {
    let holder = differ.process.0.id();
    let children = std::fs::read_to_string(format!("/proc/{holder}/task/{holder}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok().and_then(Pid::from_raw)
}

fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_differ_that_is_killed_between_layers_fails_no_pull() {
    let dir = tempfile::tempdir().expect("a directory");
    let differ = Differ::start(dir.path());
    let Some(containerd) = Containerd::start(&dir.path().join("c"), Version::Sid, Some(&differ)) else {
        return;
    };
    for seed in 0..3 {
        let layers = [(archive(&[file("file", noise(1000, seed))]), Packed::Gzip)];
        containerd.import(&image(dir.path(), &format!("image{seed}"), &layers)).expect("unpacked");
        assert_eq!(differ.applied() as u64, seed + 1);
        let killed = worker(&differ).expect("a process that answers");
        kill_process(killed, Signal::KILL).expect("killed");
        wait("no other process answers", || worker(&differ).is_some_and(|pid| pid != killed));
    }
}

#[test]
fn a_differ_whose_program_is_gone_is_started_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let program = dir.path().join("hubcap");
    install(env!("CARGO_BIN_EXE_hubcap"), &program);
    let differ = Differ::start_by(dir.path(), |hubcap, log| {
        let mut installed = Command::new(&program);
        let environment = hubcap.get_envs().filter_map(|(name, value)| Some((name, value?)));
        installed.args(hubcap.get_args()).env_clear().envs(environment);
        spawn(installed, log)
    });
    wait("no process answers", || worker(&differ).is_some());
    // As an update does it, or the end of the job that brought it.
    std::fs::remove_file(&program).expect("removed");
    let killed = worker(&differ).expect("a process that answers");
    kill_process(killed, Signal::KILL).expect("killed");
    wait("no other process answers", || worker(&differ).is_some_and(|pid| pid != killed));
}

#[test]
fn a_differ_that_is_killed_within_a_layer_unpacks_it_in_the_next_pull() {
    let dir = tempfile::tempdir().expect("a directory");
    let differ = Differ::start(dir.path());
    let Some(containerd) = Containerd::start(&dir.path().join("c"), Version::Sid, Some(&differ)) else {
        return;
    };
    let entries: Vec<_> = (0..3000).map(|at| file(&format!("dir/file{at}"), noise(20_000, at))).collect();
    let image = image(dir.path(), "large", &[(archive(&entries), Packed::Gzip)]);
    let snapshots = dir.path().join("c/root/io.containerd.snapshotter.v1.overlayfs/snapshots");
    let failed = std::thread::scope(|scope| {
        let pull = scope.spawn(|| containerd.import(&image));
        // Some files are there, and not all.
        wait("nothing is unpacked", || {
            let first = std::fs::read_dir(&snapshots).ok().and_then(|mut entries| entries.next()?.ok());
            first.is_some_and(|first| first.path().join("fs/dir/file10").exists())
        });
        kill_process(worker(&differ).expect("a process that answers"), Signal::KILL).expect("killed");
        pull.join().expect("no panic")
    });
    assert!(failed.is_err(), "the pull was over too early to be a test");
    containerd.import(&image).unwrap_or_else(|error| panic!("{error}\n{}", differ.log()));
    assert_eq!(differ.applied(), 1, "{}", differ.log());
    let last = *containerd.snapshots().last().expect("a snapshot");
    assert!(containerd.snapshot(last).contains_key(std::path::Path::new("dir/file2999")));
}

#[test]
fn layers_that_want_all_memory_get_little_of_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let differ = Differ::start(dir.path());
    let Some(containerd) = Containerd::start(&dir.path().join("c"), Version::Sid, Some(&differ)) else {
        return;
    };
    let again: Vec<_> = (0..200_000).map(|at| directory("the-same-directory").modified(at)).collect();
    let long = "c".repeat((1 << 20) - 100);
    let records: Vec<_> =
        (0..200).map(|at| file(&format!("file{at}"), "").record("comment", &long)).collect();
    let mut names: Vec<_> =
        (0..20_000).map(|at| file("x", "").record("path", format!("wide/{at}{}", "n".repeat(240)))).collect();
    names.push(file("wide", "all of them go"));
    for (at, entries) in [again, records, names, vec![file("bomb", vec![0; 200 << 20])]].iter().enumerate() {
        let layers = [(archive(entries), Packed::Gzip)];
        containerd.import(&image(dir.path(), &format!("image{at}"), &layers)).expect("unpacked");
    }
    let status = worker(&differ).expect("a process that answers").as_raw_nonzero();
    let status = std::fs::read_to_string(format!("/proc/{status}/status")).expect("running");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(peak < 100 << 10, "{peak} KiB");
}

#[test]
fn systemd_may_hold_the_socket() {
    let dir = tempfile::tempdir().expect("a directory");
    let (socket, log) = (dir.path().join("differ.sock"), dir.path().join("differ.log"));
    let listener = UnixListener::bind(&socket).expect("bound");
    let mut hubcap = command(dir.path());
    hubcap.args(["differ", "--socket", "-"]).stdin(std::os::fd::OwnedFd::from(listener));
    let child = hubcap.stderr(std::fs::File::create(&log).expect("a log")).spawn().expect("hubcap starts");
    let differ = Differ { socket, log, process: Running(child) };
    let Some(containerd) = Containerd::start(&dir.path().join("c"), Version::Sid, Some(&differ)) else {
        return;
    };
    let layers = [(archive(&[file("file", "text")]), Packed::Gzip)];
    containerd.import(&image(dir.path(), "image", &layers)).expect("unpacked");
    assert_eq!(differ.applied(), 1, "{}", differ.log());
}

#[test]
fn standard_input_that_is_no_socket_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let output = run(dir.path(), &["differ", "--socket", "-"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("no listening socket"), "{said}");
}
