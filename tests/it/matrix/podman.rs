//! podman, buildah and skopeo, which read the same files.

use super::assert_five_sentences;
use super::client::{Client, Covers, Pulled, Wiring};
use super::origins::Image;
use crate::clients::said;
use crate::support::image::sha256;
use crate::support::machine::{Machine, Programs};
use crate::support::programs::{modern_root, succeed};

pub(crate) const PODMAN_4: Client = Client {
    title: "podman",
    version: "4.3.1",
    store: "containers/storage",
    programs: Programs::Installed,
    process: "podman",
    name: "podman",
    about: "podman",
    remedy: "hubcap up",
    wiring: Wiring::Setup,
    covers: Covers::Every,
    asks: |machine| succeed(machine.command("podman").arg("--version")),
    start: |machine| {
        prepare(machine);
        Box::new(podman)
    },
    identity: Image::of_manifest,
};

pub(crate) const PODMAN_5: Client = Client { version: "5.8.6", programs: Programs::Sid, ..PODMAN_4 };

pub(crate) const BUILDAH_1_28: Client = Client {
    title: "buildah",
    version: "1.28.2",
    process: "buildah",
    asks: |machine| succeed(machine.command("buildah").arg("--version")),
    start: |machine| {
        prepare(machine);
        Box::new(buildah)
    },
    identity: Image::of_greeting,
    ..PODMAN_4
};

pub(crate) const BUILDAH_1_43: Client = Client { version: "1.43.2", programs: Programs::Sid, ..BUILDAH_1_28 };

pub(crate) const SKOPEO_1_9: Client = Client {
    title: "skopeo",
    version: "1.9.3",
    store: "none",
    process: "skopeo",
    asks: |machine| succeed(machine.command("skopeo").arg("--version")),
    start: |machine| {
        prepare(machine);
        Box::new(skopeo)
    },
    ..PODMAN_4
};

pub(crate) const SKOPEO_1_22: Client = Client { version: "1.22.0", programs: Programs::Sid, ..SKOPEO_1_9 };

/// What a machine with podman has.
fn prepare(machine: &Machine) {
    machine.write("/etc/containers/policy.json", r#"{"default": [{"type": "insecureAcceptAnything"}]}"#);
    // Today's look for their helper there, and need none to pull.
    let helpers = modern_root().join("usr/lib/podman");
    let conf = format!("[engine]\nhelper_binaries_dir = [\"{}\"]\n", helpers.display());
    machine.write("/etc/containers/containers.conf", &conf);
}

/// podman or buildah, with a store of the test.
fn run(machine: &Machine, program: &str, words: &[&str]) -> Pulled {
    let storage = machine.dir("storage");
    let mut command = machine.command(program);
    command.arg("--root").arg(storage.join("root")).arg("--runroot").arg(storage.join("run"));
    let output = command.args(["--storage-driver", "vfs"]).args(words).output().expect("it starts");
    let told = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() { Ok(told) } else { Err(said(&output)) }
}

fn podman(machine: &Machine, image: &Image) -> Pulled {
    let podman = |words: &[&str]| run(machine, "podman", words);
    podman(&["pull", "--quiet", &image.name])?;
    let digest = podman(&["image", "inspect", "--format", "{{.Digest}}", &image.name])?;
    let mounted = podman(&["image", "mount", &image.name])?;
    let greeting = std::fs::read_to_string(format!("{mounted}/etc/greeting")).expect("in the image");
    assert_eq!(greeting.trim(), image.greeting);
    podman(&["image", "unmount", "--force", &image.name])?;
    podman(&["rmi", "--force", &image.name])?;
    Ok(digest)
}

/// Builds from it.
fn buildah(machine: &Machine, image: &Image) -> Pulled {
    let context = machine.dir("context");
    let file = format!("FROM {}\nCOPY Containerfile /copied\n", image.name);
    std::fs::write(context.join("Containerfile"), file).expect("written");
    let buildah = |words: &[&str]| run(machine, "buildah", words);
    buildah(&[
        "build",
        "--isolation",
        "chroot",
        "--no-cache",
        "--tag",
        "built",
        &context.display().to_string(),
    ])?;
    let container = buildah(&["from", "--pull-never", "built"])?;
    let mounted = buildah(&["mount", &container])?;
    let greeting = std::fs::read_to_string(format!("{mounted}/etc/greeting")).expect("in the image");
    buildah(&["rm", &container])?;
    buildah(&["rmi", "--all", "--force"])?;
    Ok(greeting.trim().to_owned())
}

/// Copies it into a directory, whose files have the digests as names.
fn skopeo(machine: &Machine, image: &Image) -> Pulled {
    let to = machine.dir("copied");
    std::fs::remove_dir_all(&to).expect("removed");
    let mut command = machine.command("skopeo");
    command.arg("copy").arg(format!("docker://{}", image.name)).arg(format!("dir:{}", to.display()));
    let output = command.output().expect("skopeo starts");
    if !output.status.success() {
        return Err(said(&output));
    }
    for entry in std::fs::read_dir(&to).expect("a directory").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.len() == 64 {
            let bytes = std::fs::read(entry.path()).expect("a file");
            assert_eq!(sha256(&bytes), format!("sha256:{name}"));
        }
    }
    Ok(sha256(&std::fs::read(to.join("manifest.json")).expect("a manifest")))
}

#[test]
pub(super) fn podman_4_is_served() {
    assert_five_sentences(&PODMAN_4);
}

#[test]
pub(super) fn podman_5_is_served() {
    assert_five_sentences(&PODMAN_5);
}

#[test]
pub(super) fn buildah_1_28_is_served() {
    assert_five_sentences(&BUILDAH_1_28);
}

#[test]
pub(super) fn buildah_1_43_is_served() {
    assert_five_sentences(&BUILDAH_1_43);
}

#[test]
pub(super) fn skopeo_1_9_is_served() {
    assert_five_sentences(&SKOPEO_1_9);
}

#[test]
pub(super) fn skopeo_1_22_is_served() {
    assert_five_sentences(&SKOPEO_1_22);
}
