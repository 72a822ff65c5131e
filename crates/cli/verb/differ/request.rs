//! What a request asks for. Whatever hubcap does not know is containerd's to do: it says so before it writes anything.

use std::fs::File;
use std::path::{Path, PathBuf};

use hubcap_oci::Digest;
use hubcap_unpack::{Layer, Packing, Target, Whiteouts};

use super::api::{ApplyRequest, Descriptor, Mount};
use super::peer::Peer;

/// containerd's directory, unless it is configured.
const ROOT: &str = "/var/lib/containerd";
/// How the directories of snapshotters begin, in containerd's directory.
const SNAPSHOTTER: &str = "io.containerd.snapshotter.v1.";

/// What the differ knows of its system.
#[derive(Debug)]
pub(super) struct System {
    /// containerd's directory, if the user has named it.
    pub(super) containerd_root: Option<PathBuf>,
    /// Whether this process is in a user namespace.
    pub(super) user_namespace: bool,
}

impl System {
    /// The layer and its target, or why hubcap does not apply it.
    pub(super) fn understand(&self, request: &ApplyRequest, peer: &Peer) -> Result<(Layer, Target), String> {
        let descriptor = request.diff.as_ref().ok_or("the request names no layer")?;
        if !request.payloads.is_empty() {
            return Err("it is encrypted".into());
        }
        let packing = packing(&descriptor.media_type)?;
        let target = self.target(&request.mounts, request.sync_fs)?;
        peer.means(&target.directory)?;
        let blob = self.blob(descriptor, &target.directory)?;
        Ok((Layer { blob, packing }, target))
    }

    fn target(&self, mounts: &[Mount], sync: bool) -> Result<Target, String> {
        let [mount] = mounts else { return Err(format!("it goes to {} mounts", mounts.len())) };
        if !mount.target.is_empty() {
            return Err(format!("it goes to {} in a mount", mount.target));
        }
        let (directory, whiteouts) = match mount.kind.as_str() {
            "bind" => (bind(mount)?, Whiteouts::Remove),
            // There, whiteouts are the kernel's to make, and paths lead through lower directories.
            "overlay" if self.user_namespace => {
                return Err("it goes to an overlay in a user namespace".into());
            }
            "overlay" => overlay(mount)?,
            other => return Err(format!("it goes to a mount of the type {other:?}")),
        };
        if !directory.is_absolute() {
            return Err(format!("it goes to {}, which is not absolute", directory.display()));
        }
        Ok(Target { directory, whiteouts, devices: !self.user_namespace, sync })
    }

    /// The blob in containerd's content store. containerd has verified it.
    fn blob(&self, descriptor: &Descriptor, directory: &Path) -> Result<File, String> {
        let digest: Digest =
            descriptor.digest.parse().map_err(|_| format!("{:?} is no digest", descriptor.digest))?;
        let root = self.containerd_root.as_deref().or_else(|| root_of(directory)).unwrap_or(Path::new(ROOT));
        let blobs = root.join("io.containerd.content.v1.content/blobs");
        let path = blobs.join(digest.algorithm().name()).join(digest.hex());
        let cannot = |error| format!("its blob {} cannot be read: {error}", path.display());
        let blob = File::open(&path).map_err(cannot)?;
        let size = blob.metadata().map_err(cannot)?.len();
        if i64::try_from(size) != Ok(descriptor.size) {
            return Err(format!(
                "its blob {} has {size} bytes instead of {}",
                path.display(),
                descriptor.size
            ));
        }
        Ok(blob)
    }
}

/// Whether this process is in a user namespace: the first one maps each number to itself.
pub(super) fn in_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    !map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// containerd unpacks what these types say that it is packed by, as its first bytes tell.
fn packing(media_type: &str) -> Result<Packing, String> {
    match media_type {
        "application/vnd.oci.image.layer.v1.tar"
        | "application/vnd.oci.image.layer.nondistributable.v1.tar" => Ok(Packing::Plain),
        // Older programs have pushed gzip under the first two.
        "application/vnd.docker.image.rootfs.diff.tar"
        | "application/vnd.docker.image.rootfs.foreign.diff.tar"
        | "application/vnd.docker.image.rootfs.diff.tar.gzip"
        | "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
        | "application/vnd.docker.image.rootfs.diff.tar.zstd"
        | "application/vnd.oci.image.layer.v1.tar+gzip"
        | "application/vnd.oci.image.layer.v1.tar+zstd"
        | "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
        | "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd" => Ok(Packing::Packed),
        other => Err(format!("it has the media type {other:?}")),
    }
}

fn bind(mount: &Mount) -> Result<PathBuf, String> {
    match mount.options.iter().find(|option| !matches!(option.as_str(), "rw" | "bind" | "rbind")) {
        Some(other) => Err(format!("it goes to a bind mount with the option {other:?}")),
        None => Ok(PathBuf::from(&mount.source)),
    }
}

/// The upper directory, and the lower ones. Files are written there without mounting anything, as containerd does.
fn overlay(mount: &Mount) -> Result<(PathBuf, Whiteouts), String> {
    let (mut upper, mut lower) = (None, Vec::new());
    for option in &mount.options {
        match option.split_once('=').unwrap_or((option, "")) {
            ("upperdir", path) => upper = Some(PathBuf::from(path)),
            ("lowerdir", paths) => lower = paths.split(':').map(PathBuf::from).collect(),
            ("workdir" | "index" | "metacopy" | "redirect_dir" | "xino" | "volatile" | "fsync" | "rw", _) => {
            }
            _ => return Err(format!("it goes to an overlay mount with the option {option:?}")),
        }
    }
    let upper = upper.ok_or("it goes to an overlay mount without an upper directory")?;
    Ok((upper, Whiteouts::Overlay { lower }))
}

/// containerd's directory, as the path of a snapshot tells it.
fn root_of(snapshot: &Path) -> Option<&Path> {
    let is_snapshotter = |path: &&Path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(SNAPSHOTTER))
    };
    snapshot.ancestors().find(is_snapshotter)?.parent()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYSTEM: System = System { containerd_root: None, user_namespace: false };

    fn mount(kind: &str, options: &[&str]) -> Mount {
        let options = options.iter().map(|&option| option.into()).collect();
        Mount { kind: kind.into(), source: "/snapshots/1/fs".into(), target: String::new(), options }
    }

    #[test]
    fn the_first_layer_goes_to_a_bind_mount() {
        let target = SYSTEM.target(&[mount("bind", &["rw", "rbind"])], true).expect("understood");
        let directory = "/snapshots/1/fs".into();
        assert_eq!(target, Target { directory, whiteouts: Whiteouts::Remove, devices: true, sync: true });
    }

    #[test]
    fn a_later_layer_goes_to_the_upper_directory() {
        let options = ["workdir=/s/3/work", "upperdir=/s/3/fs", "lowerdir=/s/2/fs:/s/1/fs", "index=off"];
        let target = SYSTEM.target(&[mount("overlay", &options)], false).expect("understood");
        assert_eq!(target.directory, PathBuf::from("/s/3/fs"));
        assert_eq!(target.whiteouts, Whiteouts::Overlay { lower: vec!["/s/2/fs".into(), "/s/1/fs".into()] });
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let overlay = |more| mount("overlay", &["upperdir=/u", "lowerdir=/l", more]);
        for (mounts, why) in [
            (vec![], "0 mounts"),
            (vec![mount("bind", &[]), mount("bind", &[])], "2 mounts"),
            (vec![mount("bind", &["ro"])], "\"ro\""),
            (vec![mount("format/overlay", &[])], "format/overlay"),
            (vec![mount("erofs", &[])], "erofs"),
            (vec![mount("overlay", &["lowerdir=/l"])], "without an upper directory"),
            (vec![overlay("userxattr")], "userxattr"),
            (vec![overlay("uidmap=0:1:2")], "uidmap"),
            (vec![Mount { target: "/sub".into(), ..mount("bind", &[]) }], "/sub"),
            (vec![Mount { source: "relative".into(), ..mount("bind", &[]) }], "relative"),
        ] {
            let error = SYSTEM.target(&mounts, false).expect_err("refused");
            assert!(error.contains(why), "{error}");
        }
        let rootless = System { user_namespace: true, ..SYSTEM };
        assert!(rootless.target(&[overlay("index=off")], false).is_err());
        let target = rootless.target(&[mount("bind", &[])], false).expect("understood");
        assert!(!target.devices);
    }

    #[test]
    fn media_types_that_are_not_known_are_refused() {
        for media_type in [
            "",
            "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
            "application/vnd.oci.image.layer.v1.tar+xz",
            "application/vnd.erofs.layer.v1",
            "application/vnd.oci.image.config.v1+json",
        ] {
            assert!(packing(media_type).is_err(), "{media_type}");
        }
    }

    #[test]
    fn the_content_store_is_beside_the_snapshots() {
        let root = "/var/lib/docker/containerd/daemon";
        let snapshot = format!("{root}/io.containerd.snapshotter.v1.overlayfs/snapshots/7/fs");
        assert_eq!(root_of(Path::new(&snapshot)), Some(Path::new(root)));
        assert_eq!(root_of(Path::new("/elsewhere/7/fs")), None);
    }
}
