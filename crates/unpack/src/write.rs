//! The rules of a layer: what each entry makes of the target directory. They are those of containerd's `archive.Apply`.

mod metadata;
mod parent;
mod remembered;
pub(crate) mod target;
mod whiteout;

use std::io::BufRead;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use self::parent::Parents;
use self::remembered::{Directories, Made};
use self::target::{Target, Whiteouts};
use self::whiteout::Whiteout;
use crate::error::Error;
use crate::name;
use crate::tar::{Archive, Entry, Kind, Region};
use crate::tree::{self, Directory, PATH_MAX, Tree};

/// Directories that stay open.
const OPEN: usize = 256;

/// Writes entries into a target.
pub(crate) struct Writer {
    tree: Tree,
    parents: Parents,
    devices: bool,
    /// What this layer has made, for whiteouts that remove all else; none for overlayfs, which needs no such list.
    made: Option<Made>,
    /// Directories whose times are set at the end: each entry in one changes them.
    directories: Directories,
}

impl Writer {
    /// Opens the target; writes nothing.
    pub(crate) fn open(target: &Target) -> Result<Self, Error> {
        let tree = Tree::open(&target.directory, OPEN).map_err(|error| {
            Error::Unsupported(format!(
                "it goes to {}, which cannot be opened: {error}",
                target.directory.display()
            ))
        })?;
        if !tree.is_guarded() {
            return Err(Error::Unsupported(
                "this system has no openat2 (Linux 5.6), or does not allow it".into(),
            ));
        }
        let (lower, made) = match &target.whiteouts {
            Whiteouts::Remove => (Vec::new(), Some(Made::default())),
            Whiteouts::Overlay { lower } => (lower.clone(), None),
        };
        Ok(Self {
            tree,
            parents: Parents::new(lower),
            devices: target.devices,
            made,
            directories: Directories::default(),
        })
    }

    /// Writes one entry; its data comes from `archive`.
    pub(crate) fn write<R: BufRead>(&mut self, entry: &Entry, archive: &mut Archive<R>) -> Result<(), Error> {
        if !self.devices && matches!(entry.kind, Kind::CharacterDevice | Kind::BlockDevice) {
            tracing::debug!("the layer's device {} cannot be made here", entry.name.escape_ascii());
            return Ok(());
        }
        let path = name::clean(&entry.name);
        let (parent, component) = name::split(&path);
        if !name::is_component(component) {
            // The root itself, which containerd leaves as it is.
            return Ok(());
        }
        let parent = self.parents.get(&self.tree, parent)?;
        if parent.path.len() + component.len() >= PATH_MAX - 1 {
            return Err(failed("cannot make", &path)(Errno::NAMETOOLONG));
        }
        if let Some(whiteout) = Whiteout::parse(component)? {
            return self.whiteout(&parent, &whiteout, entry);
        }
        self.make(&parent, component, entry, archive)?;
        if let Some(made) = &mut self.made {
            made.insert(&name::join(&parent.path, component))?;
        }
        if entry.kind == Kind::Directory {
            self.directories.insert(path, entry.accessed, entry.modified)?;
        }
        Ok(())
    }

    /// Sets the directories' times.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        for (path, accessed, modified) in self.directories.take() {
            let times = metadata::times(accessed, modified);
            let set = self.tree.resolve(&path).and_then(|resolved| {
                let (parent, component) = name::split(&resolved);
                if component.is_empty() {
                    return fs::futimens(self.tree.root(), &times);
                }
                fs::utimensat(self.tree.directory(parent)?, component, &times, AtFlags::SYMLINK_NOFOLLOW)
            });
            set.map_err(failed("cannot set the times of", &path))?;
        }
        Ok(())
    }

    /// Synchronizes the file system of the target.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        fs::syncfs(self.tree.root()).map_err(failed("cannot synchronize the file system of", b"/"))
    }

    fn whiteout(&self, parent: &Rc<Directory>, whiteout: &Whiteout<'_>, entry: &Entry) -> Result<(), Error> {
        let Some(made) = &self.made else { return whiteout::tell_overlay(parent, whiteout, entry) };
        self.tree.forget();
        whiteout::remove(parent, whiteout, made)
    }

    fn make<R: BufRead>(
        &self,
        parent: &Rc<Directory>,
        component: &[u8],
        entry: &Entry,
        archive: &mut Archive<R>,
    ) -> Result<(), Error> {
        let path = name::join(&parent.path, component);
        match entry.kind {
            Kind::File => {
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                // Nobody but its owner opens it before it has its own owner and mode.
                let mode = Mode::RUSR | Mode::WUSR;
                let file: OwnedFd = self
                    .place(parent, component, || fs::openat(parent, component, flags, mode))
                    .map_err(failed("cannot make the file", &path))?;
                fill(file.as_fd(), entry, archive, &path)?;
                metadata::set(file.as_fd(), entry, &path)
            }
            Kind::Directory => {
                let directory =
                    self.directory(parent, component).map_err(failed("cannot make the directory", &path))?;
                metadata::set(directory.as_fd(), entry, &path)?;
                self.tree.remember(&path, &Rc::new(directory));
                Ok(())
            }
            Kind::Symlink => {
                let make = || fs::symlinkat(entry.link.as_slice(), parent, component);
                self.place(parent, component, make).map_err(failed("cannot make the symlink", &path))?;
                metadata::set_unopened(parent, component, entry, &path)
            }
            Kind::HardLink => {
                let make = self.hard_link(parent, component, &entry.link);
                make.map_err(failed("cannot make the hard link", &path))?;
                metadata::set_unopened(parent, component, entry, &path)
            }
            Kind::CharacterDevice => self.node(parent, component, entry, FileType::CharacterDevice),
            Kind::BlockDevice => self.node(parent, component, entry, FileType::BlockDevice),
            Kind::Fifo => self.node(parent, component, entry, FileType::Fifo),
            // containerd removes what has its name, and makes nothing of it.
            Kind::Global => self.remove(parent, component).map_err(failed("cannot remove", &path)),
            Kind::Other(flag) => {
                let (flag, path) = (flag.escape_ascii(), path.escape_ascii());
                Err(Error::invalid(format!("{path} has the type {flag}, which layers cannot have")))
            }
        }
    }

    /// Makes a directory, or takes the one that is there.
    fn directory(&self, parent: &Directory, component: &[u8]) -> Result<Directory, Errno> {
        let make = || fs::mkdirat(parent, component, Mode::RWXU);
        match make() {
            Err(Errno::EXIST) => match parent.child(component) {
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    self.remove(parent, component)?;
                    make()?;
                }
                there => return there,
            },
            made => made?,
        }
        parent.child(component)
    }

    /// The target of a hard link is found in this layer only, also by containerd. A symlink at its end is linked itself,
    /// unless "/" or "/." follows.
    fn hard_link(&self, parent: &Directory, component: &[u8], link: &[u8]) -> Result<(), Errno> {
        // First of all, because the way to the target may lead through what has the name.
        if fs::statat(parent, component, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            self.remove(parent, component)?;
        }
        let (above, last) = name::split(link);
        let above = self.tree.resolve(above)?;
        let (target, last) =
            if matches!(last, b"" | b".") { name::split(&above) } else { (&above[..], last) };
        if !name::is_component(last) {
            return Err(Errno::PERM);
        }
        fs::linkat(self.tree.directory(target)?, last, parent, component, AtFlags::empty())
    }

    fn node(&self, parent: &Directory, component: &[u8], entry: &Entry, kind: FileType) -> Result<(), Error> {
        let path = name::join(&parent.path, component);
        // Larger numbers lose their upper bits, as they do in containerd.
        let device = fs::makedev(entry.device.0 as u32, entry.device.1 as u32);
        let mode = Mode::from_raw_mode(entry.mode);
        let make = || fs::mknodat(parent, component, kind, mode, device);
        self.place(parent, component, make).map_err(failed("cannot make the special file", &path))?;
        metadata::set_unopened(parent, component, entry, &path)
    }

    /// Makes something new. What has the name already goes.
    fn place<T>(
        &self,
        parent: &Directory,
        component: &[u8],
        make: impl Fn() -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        match make() {
            Err(Errno::EXIST) => {
                self.remove(parent, component)?;
                make()
            }
            made => made,
        }
    }

    fn remove(&self, parent: &Directory, component: &[u8]) -> Result<(), Errno> {
        self.tree.forget();
        tree::remove(parent, component)
    }
}

/// Writes an entry's data into its file, and leaves holes where a sparse file has them.
fn fill<R: BufRead>(
    file: BorrowedFd<'_>,
    entry: &Entry,
    archive: &mut Archive<R>,
    path: &[u8],
) -> Result<(), Error> {
    let Some(sparse) = &entry.sparse else {
        return copy(file, Region { offset: 0, length: u64::MAX }, archive, path).map(drop);
    };
    for &region in &sparse.regions {
        if copy(file, region, archive, path)? < region.length {
            return Err(Error::invalid(format!("{} has less data than its map says", path.escape_ascii())));
        }
    }
    if !archive.data()?.is_empty() {
        return Err(Error::invalid(format!("{} has more data than its map says", path.escape_ascii())));
    }
    fs::ftruncate(file, sparse.size).map_err(failed("cannot set the size of", path))
}

/// Writes data to one region of a file. Returns how much there was of it.
fn copy<R: BufRead>(
    file: BorrowedFd<'_>,
    region: Region,
    archive: &mut Archive<R>,
    path: &[u8],
) -> Result<u64, Error> {
    let mut done = 0;
    while done < region.length {
        let data = archive.data()?;
        let length = data.len().min(usize::try_from(region.length - done).unwrap_or(usize::MAX));
        if length == 0 {
            break;
        }
        let written = match rustix::io::pwrite(file, &data[..length], region.offset + done) {
            Err(Errno::INTR) => 0,
            written => written.map_err(failed("cannot write to", path))?,
        };
        archive.consume(written);
        done += written as u64;
    }
    Ok(done)
}

/// An error of the system at a path of the layer.
fn failed(doing: &'static str, path: &[u8]) -> impl FnOnce(Errno) -> Error {
    move |source| Error::Io { doing, path: name::shown(path), source: source.into() }
}
