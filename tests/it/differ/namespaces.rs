//! User namespaces, as rootless containers have them, and a containerd that sees other files.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use super::Differ;
use super::containerd::{Containerd, Packed, Snapshotter, Version, image, spawn};
use super::entry::{archive, device, directory, file, symlink};
use super::tree::assert_same;
use crate::support::PATIENCE;
use crate::support::programs::Running;

/// A process in namespaces of its own, which others enter.
struct Namespaces(Running);

impl Namespaces {
    /// A user namespace that has the first 65,536 users, with a mount namespace.
    fn of_users() -> Self {
        let namespaces = Self::new(&["--user", "--mount"], "exec sleep infinity");
        for map in ["uid_map", "gid_map"] {
            std::fs::write(namespaces.process().join(map), "0 0 65536").expect("mapped");
        }
        namespaces
    }

    fn new(flags: &[&str], script: &str) -> Self {
        let mut unshare = Command::new("unshare");
        unshare.args(flags).args(["sh", "-c", script]).stdout(Stdio::null());
        let namespaces = Self(Running(unshare.spawn().expect("unshare starts")));
        let end = Instant::now() + PATIENCE;
        let mounts = |process: &Path| std::fs::read_link(process.join("ns/mnt")).expect("running");
        while mounts(&namespaces.process()) == mounts(Path::new("/proc/self")) {
            assert!(Instant::now() < end, "no namespaces");
        }
        namespaces
    }

    fn process(&self) -> PathBuf {
        Path::new("/proc").join(self.0.0.id().to_string())
    }

    /// Starts a program in them.
    fn spawn(&self, flags: &[&str], command: &Command, log: File) -> std::process::Child {
        let mut nsenter = Command::new("nsenter");
        nsenter.arg(format!("--target={}", self.0.0.id())).args(flags);
        nsenter.arg(command.get_program()).args(command.get_args());
        if let Some(dir) = command.get_current_dir() {
            nsenter.current_dir(dir);
        }
        for (name, value) in command.get_envs() {
            nsenter.env(name, value.unwrap_or_default());
        }
        spawn(nsenter, log)
    }
}

fn layers() -> [(Vec<u8>, Packed); 2] {
    let capability = super::same::CAPABILITY;
    let first = vec![
        directory("dir").mode(0o1777).owner(1000, 5),
        file("dir/x", "x").mode(0o4755).owner(1000, 5),
        device(b'3', "null", 1, 3),
        device(b'6', "fifo", 0, 0),
        symlink("link", "dir"),
        file("attributes", "x").attribute("user.a", "b").attribute("security.capability", capability),
        file("gone", "x"),
    ];
    let second = vec![file(".wh.gone", ""), file("dir/.wh..wh..opq", ""), file("dir/y", "y")];
    [first, second].map(|entries| (archive(&entries), Packed::Gzip))
}

#[test]
fn rootless_layers_are_what_rootless_containerd_makes() {
    // Of an overlay in a user namespace only the first layer is hubcap's.
    for (snapshotter, applied) in [(Snapshotter::Overlayfs, 1), (Snapshotter::Native, 2)] {
        let dir = tempfile::tempdir().expect("a directory");
        let users = Namespaces::of_users();
        let enter = |command: Command, log| users.spawn(&["--user", "--mount"], &command, log);
        let differ = Differ::start_by(dir.path(), enter);
        let start = |name: &str, differ| {
            let mut started = Containerd::start_by(&dir.path().join(name), Version::Sid, differ, enter)?;
            started.snapshotter = snapshotter;
            Some(started)
        };
        let Some(ours) = start("ours", Some(&differ)) else { return };
        let theirs = start("theirs", None).expect("as the other");
        let image = image(dir.path(), "rootless", &layers());
        for containerd in [&ours, &theirs] {
            containerd.import(&image).unwrap_or_else(|error| panic!("{error}\n{}", differ.log()));
        }
        for number in theirs.snapshots() {
            let [mut our, mut their] = [&ours, &theirs].map(|containerd| containerd.snapshot(number));
            // overlayfs has marked it by chance, where containerd has mounted it.
            our.remove(Path::new(""));
            their.remove(Path::new(""));
            assert!(!their.contains_key(Path::new("null")), "no device");
            assert_same(&our, &their, &format!("{snapshotter:?}, layer {number}"));
        }
        assert_eq!(differ.applied(), applied, "{}", differ.log());
        assert_eq!(differ.log().contains("overlay in a user namespace"), applied == 1, "{}", differ.log());
    }
}

#[test]
fn an_owner_that_a_user_namespace_does_not_have_fails_as_in_containerd() {
    let dir = tempfile::tempdir().expect("a directory");
    let users = Namespaces::of_users();
    let enter = |command: Command, log| users.spawn(&["--user", "--mount"], &command, log);
    let differ = Differ::start_by(dir.path(), enter);
    let start =
        |name: &str, differ| Containerd::start_by(&dir.path().join(name), Version::Sid, differ, enter);
    let Some(ours) = start("ours", Some(&differ)) else { return };
    let theirs = start("theirs", None).expect("as the other");
    let image = image(dir.path(), "owner", &[(archive(&[file("x", "x").owner(70_000, 0)]), Packed::Gzip)]);
    for containerd in [&ours, &theirs] {
        let error = containerd.import(&image).expect_err("refused");
        assert!(error.to_lowercase().contains("invalid argument"), "{error}");
    }
}

/// Has a containerd in these namespaces unpack by a differ that is not in them.
fn assert_left(namespaces: &Namespaces, flags: &[&str], dir: &Path, why: &str) {
    let differ = Differ::start(dir);
    let enter = |command: Command, log| namespaces.spawn(flags, &command, log);
    let started = Containerd::start_by(&dir.join("c"), Version::Sid, Some(&differ), enter);
    let Some(containerd) = started else { return };
    let image = image(dir, "elsewhere", &layers());
    containerd.import(&image).unwrap_or_else(|error| panic!("{error}\n{}", differ.log()));
    let log = differ.log();
    assert!(log.contains(why) && differ.applied() == 0, "{log}");
}

#[test]
fn a_containerd_in_another_user_namespace_is_left_its_layers() {
    let dir = tempfile::tempdir().expect("a directory");
    let users = Namespaces::of_users();
    assert_left(&users, &["--user", "--mount"], dir.path(), "another user namespace");
}

#[test]
fn a_containerd_that_sees_other_files_is_left_its_layers() {
    let dir = tempfile::tempdir().expect("a directory");
    // The directories of its snapshots are there outside too: they are others.
    let root = dir.path().join("c/root");
    let snapshots = root.join("io.containerd.snapshotter.v1.overlayfs/snapshots");
    for number in 1..=4 {
        std::fs::create_dir_all(snapshots.join(format!("{number}/fs"))).expect("made");
    }
    let mount = format!("mount -t tmpfs tmpfs {} && exec sleep infinity", root.display());
    let mounts = Namespaces::new(&["--mount"], &mount);
    let end = Instant::now() + PATIENCE;
    let mounted = mounts.process().join("root").join(root.strip_prefix("/").expect("absolute"));
    while std::fs::read_dir(&mounted).expect("readable").next().is_some() {
        assert!(Instant::now() < end, "nothing is mounted");
    }
    assert_left(&mounts, &["--mount"], dir.path(), "another directory for containerd");
    for number in 1..=4 {
        let outside = snapshots.join(format!("{number}/fs"));
        assert_eq!(std::fs::read_dir(outside).expect("readable").count(), 0);
    }
}
