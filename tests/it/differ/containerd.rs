//! A containerd with everything of its own, and images that are imported into it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use serde_json::json;

use super::Differ;
use super::tree::{Tree, walk};
use crate::support::PATIENCE;
use crate::support::image::sha256;
use crate::support::programs::{Running, modern, modern_root, program};

const OCI: &str = "application/vnd.oci.image";

/// Which containerd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// 2.1.9 of Debian's unstable.
    Sid,
    /// 1.7.24 of Debian 13.
    Trixie,
}

/// What keeps the snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Snapshotter {
    /// A layer is one directory.
    Overlayfs,
    /// A layer is written into a copy of those below it.
    Native,
}

pub(super) struct Containerd {
    pub(super) dir: PathBuf,
    pub(super) snapshotter: Snapshotter,
    version: Version,
    process: Running,
}

impl Version {
    fn command(self, name: &str) -> Option<Command> {
        let today = modern(name)?;
        let trixie = modern_root().join("trixie/usr/bin").join(name);
        Some(if self == Self::Trixie { Command::new(trixie) } else { today })
    }
}

impl Containerd {
    /// With its own differ alone, or with hubcap's before it. None where this containerd is not unpacked.
    pub(super) fn start(dir: &Path, version: Version, differ: Option<&Differ>) -> Option<Self> {
        Self::start_by(dir, version, differ, spawn)
    }

    /// The same, by another way to start a program.
    pub(super) fn start_by(
        dir: &Path,
        version: Version,
        differ: Option<&Differ>,
        spawn: impl Fn(Command, File) -> Child,
    ) -> Option<Self> {
        let mut containerd = version.command("containerd")?;
        std::fs::create_dir_all(dir).expect("a directory");
        let at = dir.display();
        let number = if version == Version::Sid { 3 } else { 2 };
        let mut config = format!(
            "version = {number}\nroot = \"{at}/root\"\nstate = \"{at}/state\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.cri.v1.images\", \
             \"io.containerd.cri.v1.runtime\"]\n\
             [grpc]\naddress = \"{at}/containerd.sock\"\n[ttrpc]\naddress = \"{at}/containerd.sock.ttrpc\"\n\
             [plugins.\"io.containerd.internal.v1.opt\"]\npath = \"{at}/opt\"\n"
        );
        if let Some(differ) = differ {
            config += &format!(
                "[proxy_plugins.hubcap]\ntype = \"diff\"\naddress = \"{}\"\n\
                 [plugins.\"io.containerd.service.v1.diff-service\"]\ndefault = [\"hubcap\", \"walking\"]\n",
                differ.socket.display()
            );
        }
        std::fs::write(dir.join("config.toml"), config).expect("written");
        let log = File::create(dir.join("log")).expect("a log");
        containerd.arg("--config").arg(dir.join("config.toml"));
        let child = spawn(containerd, log);
        let snapshotter = Snapshotter::Overlayfs;
        let mut started = Self { dir: dir.into(), snapshotter, version, process: Running(child) };
        let end = Instant::now() + PATIENCE;
        while !started.ctr(&["version"]).status.success() {
            let log = || std::fs::read_to_string(dir.join("log")).unwrap_or_default();
            let ended = started.process.0.try_wait().expect("a child");
            assert!(ended.is_none(), "containerd has ended with {ended:?}: {}", log());
            assert!(Instant::now() < end, "containerd does not answer: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(started)
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.dir.join("containerd.sock")
    }

    pub(super) fn ctr(&self, words: &[&str]) -> Output {
        let mut ctr = self.version.command("ctr").expect("as containerd");
        ctr.arg("--address").arg(self.socket()).args(words).output().expect("ctr starts")
    }

    /// Imports an image and unpacks it by the service that clients like dockerd use.
    pub(super) fn import(&self, image: &Path) -> Result<(), String> {
        let image = image.display().to_string();
        let local: &[&str] = if self.version == Version::Sid { &["--local"] } else { &[] };
        let output = self.ctr(
            &[&["images", "import", "--snapshotter", self.snapshotter.name()], local, &[image.as_str()]]
                .concat(),
        );
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// The snapshots' numbers, in the order in which they were made.
    pub(super) fn snapshots(&self) -> Vec<u32> {
        let entries = std::fs::read_dir(self.snapshots_dir()).into_iter().flatten();
        let number =
            |entry: std::io::Result<std::fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse().ok();
        let mut numbers: Vec<u32> = entries.filter_map(number).collect();
        numbers.sort_unstable();
        numbers
    }

    /// What is in a snapshot: one layer, or with the native snapshotter those below it as well.
    pub(super) fn snapshot(&self, number: u32) -> Tree {
        let dir = self.snapshots_dir().join(number.to_string());
        walk(&if self.snapshotter == Snapshotter::Native { dir } else { dir.join("fs") })
    }

    fn snapshots_dir(&self) -> PathBuf {
        self.dir.join(format!("root/io.containerd.snapshotter.v1.{}/snapshots", self.snapshotter.name()))
    }
}

impl Snapshotter {
    const fn name(self) -> &'static str {
        match self {
            Self::Overlayfs => "overlayfs",
            Self::Native => "native",
        }
    }
}

/// Starts a program that writes all that it says to `log`.
pub(super) fn spawn(mut command: Command, log: File) -> Child {
    command.stdout(log.try_clone().expect("a log")).stderr(log).spawn().expect("it starts")
}

/// How a layer is packed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Packed {
    Plain,
    Gzip,
    Zstd,
}

/// A layer as a registry has it.
#[derive(Debug)]
pub(super) struct Blob {
    pub(super) media_type: String,
    pub(super) bytes: Vec<u8>,
    /// Its DiffID.
    pub(super) diff: String,
}

impl Blob {
    pub(super) fn new(archive: &[u8], packed: Packed) -> Self {
        let (bytes, suffix) = match packed {
            Packed::Plain => (archive.to_vec(), ""),
            Packed::Gzip => (crate::support::packed("gzip", archive), "+gzip"),
            Packed::Zstd => (crate::support::packed("zstd", archive), "+zstd"),
        };
        Self { media_type: format!("{OCI}.layer.v1.tar{suffix}"), bytes, diff: sha256(archive) }
    }
}

/// Writes an image of these layers to a file that `ctr images import` reads.
pub(super) fn image(dir: &Path, name: &str, layers: &[(Vec<u8>, Packed)]) -> PathBuf {
    let blobs = layers.iter().map(|(archive, packed)| Blob::new(archive, *packed));
    image_of(dir, name, &blobs.collect::<Vec<_>>())
}

/// The same for layers that are packed already.
pub(super) fn image_of(dir: &Path, name: &str, layers: &[Blob]) -> PathBuf {
    let root = dir.join(format!("{name}.layout"));
    let blobs = root.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).expect("a directory");
    let put = |bytes: &[u8], media_type: &str| {
        let digest = sha256(bytes);
        std::fs::write(blobs.join(digest.trim_start_matches("sha256:")), bytes).expect("written");
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    };
    let diffs: Vec<_> = layers.iter().map(|layer| &layer.diff).collect();
    let config = json!({"os": "linux", "architecture": "amd64", "config": {},
        "rootfs": {"type": "layers", "diff_ids": diffs}});
    let manifest = format!("{OCI}.manifest.v1+json");
    let descriptor = put(config.to_string().as_bytes(), &format!("{OCI}.config.v1+json"));
    let document = json!({"schemaVersion": 2, "mediaType": manifest, "config": descriptor,
        "layers": layers.iter().map(|layer| put(&layer.bytes, &layer.media_type)).collect::<Vec<_>>()});
    let mut entry = put(document.to_string().as_bytes(), &manifest);
    entry["annotations"] = json!({"io.containerd.image.name": format!("docker.io/library/{name}:1")});
    std::fs::write(root.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("written");
    let index = json!({"schemaVersion": 2, "manifests": [entry]});
    std::fs::write(root.join("index.json"), index.to_string()).expect("written");
    let file = dir.join(format!("{name}.tar"));
    let mut tar = program("tar");
    let tar = tar.arg("-cf").arg(&file).arg("-C").arg(&root).args(["oci-layout", "index.json", "blobs"]);
    crate::support::programs::succeed(tar);
    std::fs::remove_dir_all(root).expect("removed");
    file
}
