//! Owners, extended attributes, modes and times, in this order: changing the owner clears setuid and capabilities.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::failed;
use crate::error::Error;
use crate::tar::{Entry, Time};
use crate::tree::Directory;

/// Attributes that only an administrator may set; layers may not.
const ADMIN: &[u8] = b"trusted.";
/// Attributes that only files and directories have.
const USER: &[u8] = b"user.";
/// Bytes of one attribute, or of all names, at most (Linux).
const ATTRIBUTES: usize = 64 << 10;

/// Gives an open file or directory the metadata of its entry. `path` is for messages.
pub(super) fn set(fd: BorrowedFd<'_>, entry: &Entry, path: &[u8]) -> Result<(), Error> {
    fs::fchown(fd, uid(entry), gid(entry)).map_err(failed("cannot change the owner of", path))?;
    for (name, value) in &entry.attributes {
        let set = || fs::fsetxattr(fd, name.as_slice(), value, XattrFlags::empty());
        tolerate(name, path, true, set)?;
    }
    fs::fchmod(fd, mode(entry)).map_err(failed("cannot change the mode of", path))?;
    fs::futimens(fd, &times(entry.accessed, entry.modified)).map_err(failed("cannot set the times of", path))
}

/// Gives what has a name in a directory the metadata of its entry: what cannot be opened for writing.
pub(super) fn set_unopened(
    parent: &Directory,
    component: &[u8],
    entry: &Entry,
    path: &[u8],
) -> Result<(), Error> {
    let nofollow = AtFlags::SYMLINK_NOFOLLOW;
    let owner = fs::chownat(parent, component, uid(entry), gid(entry), nofollow);
    owner.map_err(failed("cannot change the owner of", path))?;
    // A name for exactly this inode, which is not looked up again.
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let node: OwnedFd =
        fs::openat(parent, component, flags, Mode::empty()).map_err(failed("cannot open", path))?;
    let kind = FileType::from_raw_mode(fs::fstat(&node).map_err(failed("cannot read", path))?.st_mode);
    let by_fd = format!("/proc/self/fd/{}", node.as_raw_fd());
    for (name, value) in &entry.attributes {
        let set = || fs::setxattr(&by_fd, name.as_slice(), value, XattrFlags::empty());
        tolerate(name, path, matches!(kind, FileType::RegularFile | FileType::Directory), set)?;
    }
    if kind != FileType::Symlink {
        fs::chmod(&by_fd, mode(entry)).map_err(failed("cannot change the mode of", path))?;
    }
    let times = fs::utimensat(parent, component, &times(entry.accessed, entry.modified), nofollow);
    times.map_err(failed("cannot set the times of", path))
}

/// Gives a new directory the metadata that it has in a lower one. No layer may set times there later.
pub(super) fn inherit(made: &Directory, lower: &Directory) -> Result<(), Error> {
    let path = &made.path;
    let stat = fs::fstat(lower).map_err(failed("cannot read the lower directory", path))?;
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    fs::fchown(made, Some(uid), Some(gid)).map_err(failed("cannot change the owner of", path))?;
    let mode = Mode::from_raw_mode(stat.st_mode);
    fs::fchmod(made, mode).map_err(failed("cannot change the mode of", path))?;
    fs::futimens(made, &times_of(&stat)).map_err(failed("cannot set the times of", path))?;
    inherit_attributes(made.as_fd(), lower.as_fd()).map_err(failed("cannot copy the attributes of", path))
}

/// The times of an entry as containerd sets them: never accessed before the last change.
pub(super) fn times(accessed: Option<Time>, modified: Time) -> Timestamps {
    let time = |time: Time| {
        let Time { seconds, nanoseconds } = time.bounded();
        Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() }
    };
    let accessed = accessed.map_or(modified, |accessed| accessed.latest(modified));
    Timestamps { last_access: time(accessed), last_modification: time(modified) }
}

/// The owner of an entry. Larger numbers lose their upper bits, as they do in containerd; -1 changes nothing.
pub(super) fn uid(entry: &Entry) -> Option<Uid> {
    id(entry.uid).map(Uid::from_raw)
}

/// The group of an entry.
pub(super) fn gid(entry: &Entry) -> Option<Gid> {
    id(entry.gid).map(Gid::from_raw)
}

fn id(number: i64) -> Option<u32> {
    Some(number.cast_unsigned() as u32).filter(|&id| id != u32::MAX)
}

fn mode(entry: &Entry) -> Mode {
    Mode::from_raw_mode(entry.mode)
}

/// Sets an attribute, and goes on without where containerd does.
fn tolerate(
    name: &[u8],
    path: &[u8],
    may_have_user: bool,
    set: impl FnOnce() -> Result<(), Errno>,
) -> Result<(), Error> {
    let done = if name.starts_with(ADMIN) { Err(Errno::NOTSUP) } else { set() };
    match done {
        Err(Errno::PERM) if name.starts_with(USER) && !may_have_user => {}
        Err(Errno::NOTSUP) => {}
        done => return done.map_err(failed("cannot set an extended attribute of", path)),
    }
    let (name, path) = (name.escape_ascii(), path.escape_ascii());
    tracing::debug!("the layer's extended attribute {name} of {path} cannot be set here");
    Ok(())
}

fn inherit_attributes(made: BorrowedFd<'_>, lower: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut names = vec![0; ATTRIBUTES];
    let length = match fs::flistxattr(lower, &mut names[..]) {
        Err(Errno::NOTSUP) => 0,
        length => length?,
    };
    let mut value = vec![0; if length == 0 { 0 } else { ATTRIBUTES }];
    for name in names[..length].split(|&byte| byte == 0) {
        if name.is_empty() || name.starts_with(ADMIN) {
            continue;
        }
        let copied = fs::fgetxattr(lower, name, &mut value[..])
            .and_then(|length| fs::fsetxattr(made, name, &value[..length], XattrFlags::CREATE));
        match copied {
            Err(Errno::NOTSUP | Errno::NODATA | Errno::EXIST) => {}
            copied => copied?,
        }
    }
    Ok(())
}

fn times_of(stat: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: stat.st_atime_nsec as i64 },
        last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as i64 },
    }
}
