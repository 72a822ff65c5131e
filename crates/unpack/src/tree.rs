//! The target directory. No step leaves it, whatever names and symlinks a layer has.
//!
//! Three rules hold that. A path is resolved here, component by component, as if the target were the file system's root
//! ([`Tree::resolve`]); the result has no symlinks. It is opened by `openat2` with `RESOLVE_IN_ROOT` and `RESOLVE_NO_SYMLINKS`,
//! so that the kernel refuses what the first rule should have missed. And whatever is made, changed or removed is one
//! component below an open directory, without following a symlink.

mod remove;

use std::cell::RefCell;
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{self, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::name;

pub(crate) use self::remove::remove;

/// Symlinks on one path, at most, as in containerd.
const LINKS: usize = 255;
/// Bytes of a path, with a NUL at its end (Linux). No tree gets deeper than that, so that removing one ends.
pub(crate) const PATH_MAX: usize = 4096;
/// How a directory is opened for reading, with whatever flags tell what may be followed.
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A directory and what is below it.
pub(crate) struct Tree {
    root: Rc<Directory>,
    /// Open directories by paths that lead to them, without symlinks or with.
    open: RefCell<HashMap<Vec<u8>, Rc<Directory>>>,
    /// How many are kept open.
    limit: usize,
}

/// An open directory.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    /// Its path without symlinks; the root is "".
    pub(crate) path: Vec<u8>,
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Directory {
    /// Opens a directory in this one.
    pub(crate) fn child(&self, component: &[u8]) -> Result<Self, Errno> {
        let fd = fs::openat(&self.fd, component, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
        Ok(Self { fd, path: name::join(&self.path, component) })
    }
}

impl Tree {
    /// Opens the target, and keeps at most `limit` directories below it open.
    pub(crate) fn open(path: &Path, limit: usize) -> Result<Self, Errno> {
        let fd = fs::open(path, DIRECTORY, Mode::empty())?;
        let root = Rc::new(Directory { fd, path: Vec::new() });
        Ok(Self { root, open: RefCell::default(), limit })
    }

    pub(crate) fn root(&self) -> &Rc<Directory> {
        &self.root
    }

    /// Whether this kernel can hold a path within the target (Linux 5.6, and nothing filters the call).
    pub(crate) fn is_guarded(&self) -> bool {
        self.open_below(b".").is_ok()
    }

    /// The directory at this path, if it was opened by it before.
    pub(crate) fn cached(&self, path: &[u8]) -> Option<Rc<Directory>> {
        if path.is_empty() { Some(self.root.clone()) } else { self.open.borrow().get(path).cloned() }
    }

    /// The same for a path that has no symlinks.
    fn known(&self, resolved: &[u8]) -> Option<Rc<Directory>> {
        self.cached(resolved).filter(|directory| directory.path == resolved)
    }

    /// Remembers that `path` leads to this directory.
    pub(crate) fn remember(&self, path: &[u8], directory: &Rc<Directory>) {
        let mut open = self.open.borrow_mut();
        if open.len() >= self.limit {
            open.clear();
        }
        open.insert(path.to_vec(), directory.clone());
    }

    /// Forgets what leads where: something that was not a plain file is gone.
    pub(crate) fn forget(&self) {
        self.open.borrow_mut().clear();
    }

    /// The directory at a path that has no symlinks.
    pub(crate) fn directory(&self, resolved: &[u8]) -> Result<Rc<Directory>, Errno> {
        if let Some(directory) = self.known(resolved) {
            return Ok(directory);
        }
        let directory = Rc::new(Directory { fd: self.open_below(resolved)?, path: resolved.to_vec() });
        self.remember(resolved, &directory);
        Ok(directory)
    }

    /// Where a path leads when this directory is the root, its last component too: the same path without symlinks, "." and "..".
    /// What does not exist is taken literally.
    ///
    /// It is the algorithm of continuity's `fs.RootPath`, step by step, because containerd finds every path by that: in passes,
    /// until one has met no symlink. In one pass, ".." behind a symlink's target removes a component by its name.
    pub(crate) fn resolve(&self, path: &[u8]) -> Result<Vec<u8>, Errno> {
        let direct = below_root(path);
        let is_plain = path.split(|&byte| byte == b'/').all(|component| component != b"..");
        if is_plain && self.directory(&direct).is_ok() {
            // No symlink is on it, as the kernel has seen in one step.
            return Ok(direct);
        }
        let (mut path, mut links) = (path.to_vec(), 0);
        loop {
            let before = links;
            path = self.pass(&path, &mut links)?;
            if links == before {
                return Ok(below_root(&path));
            }
        }
    }

    fn pass(&self, path: &[u8], links: &mut usize) -> Result<Vec<u8>, Errno> {
        let mut reached = path.starts_with(b"/").then(|| b"/".to_vec());
        for component in path.split(|&byte| byte == b'/').filter(|component| !component.is_empty()) {
            if *links > LINKS {
                return Err(Errno::LOOP);
            }
            let next = reached.as_deref().map_or_else(|| component.to_vec(), |at| joined(at, component));
            let next = below_root(&next);
            reached = Some(match (self.link(&next)?, reached) {
                (None, _) => [b"/", &next[..]].concat(),
                (Some(target), Some(at)) if !target.starts_with(b"/") => {
                    *links += 1;
                    joined(&at, &target)
                }
                (Some(target), _) => {
                    *links += 1;
                    target
                }
            });
        }
        Ok(reached.unwrap_or_default())
    }

    /// The target of a symlink; none for anything else. A pass has not resolved the symlinks of a target before it goes on below
    /// that: here the kernel does, but where they lead outside nothing is a symlink, and the next pass sees to it.
    fn link(&self, path: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
        let (parent, component) = name::split(path);
        if component.is_empty() || self.known(path).is_some() {
            return Ok(None);
        }
        if path.len() >= PATH_MAX {
            return Err(Errno::NAMETOOLONG);
        }
        let read = |parent: BorrowedFd<'_>| fs::readlinkat(parent, component, Vec::new());
        let target = match self.directory(parent) {
            Ok(parent) => read(parent.as_fd()),
            Err(Errno::LOOP) => self
                .open_by(parent, ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS)
                .and_then(|parent| read(parent.as_fd())),
            Err(error) => Err(error),
        };
        match target {
            Ok(target) => Ok(Some(target.into_bytes())),
            Err(Errno::INVAL | Errno::NOENT | Errno::XDEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn open_below(&self, resolved: &[u8]) -> Result<OwnedFd, Errno> {
        self.open_by(
            resolved,
            ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
        )
    }

    fn open_by(&self, path: &[u8], guard: ResolveFlags) -> Result<OwnedFd, Errno> {
        loop {
            match fs::openat2(&self.root.fd, path, DIRECTORY, Mode::empty(), guard) {
                // Something else was renamed or mounted meanwhile, somewhere in the system.
                Err(Errno::AGAIN | Errno::INTR) => {}
                done => return done,
            }
        }
    }
}

/// A path from the root without "/" at its start, cleaned.
fn below_root(path: &[u8]) -> Vec<u8> {
    name::clean(&[b"/", path].concat()).split_off(1)
}

/// As Go's `path/filepath.Join`.
fn joined(at: &[u8], path: &[u8]) -> Vec<u8> {
    name::clean(&[at, b"/", path].concat())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_path_is_resolved_below_the_root() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |path: &str| dir.path().join(path);
        std::fs::create_dir_all(at("usr/lib/deep")).expect("made");
        std::fs::write(at("file"), "").expect("written");
        for (link, target) in [
            ("lib", "usr/lib"),
            ("absolute", "/usr/lib"),
            ("outside", "../../../../etc"),
            ("host", "/etc/../../tmp"),
            ("usr/lib/up", "../../usr/./lib//deep"),
            ("usr/by-name", "../lib/.."),
            ("by-itself", "lib/../x"),
            ("dangling", "no/where"),
            ("chain", "lib/up"),
            ("loop", "loop"),
        ] {
            symlink(target, at(link)).expect("linked");
        }
        let tree = Tree::open(dir.path(), 4).expect("opened");
        for (path, resolved) in [
            ("", Ok("")),
            ("/", Ok("")),
            ("../..", Ok("")),
            ("lib", Ok("usr/lib")),
            ("/lib/deep/x/y", Ok("usr/lib/deep/x/y")),
            ("absolute/deep", Ok("usr/lib/deep")),
            ("outside/passwd", Ok("etc/passwd")),
            ("host", Ok("tmp")),
            ("chain/x", Ok("usr/lib/deep/x")),
            ("lib/../x", Ok("usr/x")),
            // By name: the target's own symlink does not count.
            ("usr/by-name/x", Ok("x")),
            // The first component of a path is resolved in the next pass, by what it is.
            ("by-itself/x", Ok("x/x")),
            ("by-itself", Ok("usr/x")),
            ("dangling/x", Ok("no/where/x")),
            ("a/b/../../lib", Ok("usr/lib")),
            ("a/../file", Ok("file")),
            ("loop/x", Err(Errno::LOOP)),
            ("file/x", Err(Errno::NOTDIR)),
        ] {
            let expected = resolved.map(|path| path.as_bytes().to_vec());
            assert_eq!(tree.resolve(path.as_bytes()), expected, "{path:?}");
        }
    }

    #[test]
    fn the_kernel_follows_no_symlink_for_us() {
        let dir = tempfile::tempdir().expect("a directory");
        symlink("/", dir.path().join("link")).expect("linked");
        let tree = Tree::open(dir.path(), 4).expect("opened");
        assert_eq!(tree.directory(b"link").expect_err("refused"), Errno::LOOP);
        assert_eq!(tree.directory(b"link/etc").expect_err("refused"), Errno::LOOP);
    }
}
