//! What becomes of pulls when the differ is killed, when the disk is full, and after a reboot.

use std::path::PathBuf;

use rustix::process::{Pid, Signal, kill_process};

use super::super::containerd::Version;
use super::super::entry::{archive, file};
use super::{CONTAINERD_STORE, IMAGE, Wired, containerd, processes, wait};
use crate::clients::said;
use crate::support::machine::{Machine, Programs};
use crate::support::noise;
use crate::support::programs::{modern_root, succeed};

const CONFIG_3: &str = "version = 3\n";

impl Wired {
    fn up_and_wired() -> Option<Self> {
        let wired = Self::start(Version::Sid, Some(CONFIG_3))?;
        wired.up();
        Some(wired)
    }

    fn holder(&self) -> Pid {
        self.differ().expect("a holder").0
    }

    fn worker(&self) -> Pid {
        let here = |pid: &Pid| self.is_here(*pid);
        processes(&["differ", "--socket", "-"]).into_iter().find(here).expect("a process that unpacks")
    }

    /// Puts an image with a layer of many files there.
    fn push_many(&self) -> String {
        let entries: Vec<_> = (0..3000).map(|at| file(&format!("dir/file{at}"), noise(20_000, at))).collect();
        self.push("many", archive(&entries))
    }

    /// Pulls an image, and meanwhile, with some of its files there and not all, does this.
    fn pull_and(&self, image: &str, meanwhile: impl FnOnce()) -> Result<(), String> {
        let root = self.machine.dir("containerd");
        let snapshots = root.join("root/io.containerd.snapshotter.v1.overlayfs/snapshots");
        std::thread::scope(|scope| {
            let pull = scope.spawn(|| self.pull(image));
            wait("nothing is unpacked", || {
                let all = std::fs::read_dir(&snapshots).into_iter().flatten().flatten();
                all.map(|snapshot| snapshot.path().join("fs/dir"))
                    .any(|dir: PathBuf| dir.join("file10").exists())
            });
            meanwhile();
            pull.join().expect("no panic")
        })
    }
}

fn kill(pid: Pid) {
    kill_process(pid, Signal::KILL).expect("it runs");
}

#[test]
fn a_worker_that_is_killed_within_a_layer_fails_that_pull_and_no_other() {
    let Some(wired) = Wired::up_and_wired() else { return };
    let image = wired.push_many();
    let killed = wired.worker();
    let error =
        wired.pull_and(&image, || kill(killed)).expect_err("the pull was over too early to be a test");
    assert!(error.contains("failed to extract layer") && error.contains("navailable"), "{error}");
    wired.pull(&image).unwrap_or_else(|error| panic!("{error}\n{}", wired.log()));
    assert_ne!(wired.worker(), killed);
    assert_eq!(wired.applied_of_a_pull(), 3);
    wired.hubcap(&["down"]);
    wired.assert_unwired(Some(CONFIG_3));
}

#[test]
fn a_holder_that_is_killed_fails_no_pull() {
    let Some(wired) = Wired::up_and_wired() else { return };
    let image = wired.push_many();
    let (holder, worker) = (wired.holder(), wired.worker());
    wired.pull_and(&image, || kill(holder)).unwrap_or_else(|error| panic!("{error}\n{}", wired.log()));
    assert_eq!((wired.worker(), wired.applied_of_a_pull()), (worker, 3));
    wired.hubcap(&["down"]);
    assert!(processes(&["differ", "--socket", "-"]).into_iter().all(|pid| !wired.is_here(pid)));
    wired.assert_unwired(Some(CONFIG_3));
}

#[test]
fn a_differ_of_which_both_processes_are_killed_fails_pulls_until_down_or_up() {
    let Some(wired) = Wired::up_and_wired() else { return };
    let image = wired.push_many();
    let (holder, worker) = (wired.holder(), wired.worker());
    let both = || {
        kill(holder);
        kill(worker);
    };
    let error = wired.pull_and(&image, both).expect_err("the pull was over too early to be a test");
    assert!(error.contains("navailable"), "{error}");
    let error = wired.pull(IMAGE).expect_err("nobody listens");
    assert!(error.contains("connection refused"), "{error}");
    let doctor = said(&wired.run(&["doctor"]));
    assert!(doctor.contains("BROKEN") && doctor.contains("nobody listens on"), "{doctor}");
    // Another `up` starts with a containerd that unpacks by itself.
    wired.up();
    assert_eq!(wired.applied_of_a_pull(), 3);
    kill(wired.holder());
    kill(wired.worker());
    wired.hubcap(&["down"]);
    wired.assert_unwired(Some(CONFIG_3));
}

#[test]
fn a_full_disk_within_a_layer_fails_that_pull_and_the_differ_goes_on() {
    let Some(machine) = Machine::with(Programs::Sid) else { return };
    let disk = machine.dir("containerd");
    succeed(machine.command("mount").args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"]).arg(&disk));
    let wired = Wired::on(machine, Version::Sid, Some(CONFIG_3), CONTAINERD_STORE);
    wired.up();
    let worker = wired.worker();
    // Packed, it is small.
    let image = wired.push("large", archive(&[file("zeros", vec![0; 100 << 20])]));
    let error = wired.pull(&image).expect_err("no disk is so large");
    assert!(error.contains("no space left") || error.contains("No space left"), "{error}");
    // containerd removes by and by what it has of that layer.
    wait("the disk stays full", || wired.pull(IMAGE).is_ok());
    assert_eq!((wired.worker(), wired.applied_of_a_pull()), (worker, 3));
    wired.hubcap(&["down"]);
    wired.assert_unwired(Some(CONFIG_3));
}

#[test]
fn after_a_reboot_containerd_unpacks_by_itself_until_another_up() {
    let Some(mut wired) = Wired::up_and_wired() else { return };
    assert!(wired.config().expect("there").contains("/run/hubcap-differ/*.toml"));
    // All processes end, and `/run` is empty.
    kill(wired.holder());
    kill(wired.worker());
    let root = wired.machine.dir("containerd").join("root");
    let started = ["--root", root.to_str().expect("text")];
    for pid in processes(&started) {
        kill_process(pid, Signal::TERM).expect("it runs");
    }
    wait("containerd does not end", || processes(&started).is_empty());
    std::fs::remove_dir_all(wired.machine.at("/run/hubcap-differ")).expect("removed");
    wired.containerd = containerd(&wired.machine, &modern_root().join("usr/bin/containerd"));
    wait("dockerd does not find containerd", || wired.pull(IMAGE).is_ok());
    assert_eq!(wired.applied_of_a_pull(), 0);
    let doctor = said(&wired.run(&["doctor"]));
    assert!(doctor.contains("unpacks by itself since the last boot"), "{doctor}");
    wired.up();
    assert_eq!(wired.applied_of_a_pull(), 3);
    wired.hubcap(&["down"]);
    wired.assert_unwired(Some(CONFIG_3));
}
