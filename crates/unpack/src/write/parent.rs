//! The directory that an entry goes into. It is made if no entry has made it.

use std::path::PathBuf;
use std::rc::Rc;

use rustix::fs::{self, Mode};
use rustix::io::Errno;

use super::{failed, metadata};
use crate::error::Error;
use crate::name;
use crate::tree::{Directory, Tree};

/// Directories of each lower directory that stay open.
const OPEN: usize = 8;

/// Finds and makes parents.
pub(super) struct Parents {
    /// The lower directories, the nearest first.
    lower: Vec<PathBuf>,
    /// The same, opened when the first parent is made.
    opened: Option<Vec<Tree>>,
}

impl Parents {
    pub(super) const fn new(lower: Vec<PathBuf>) -> Self {
        Self { lower, opened: None }
    }

    /// The directory at `path`, which may lead through symlinks of this layer. A missing one is made.
    pub(super) fn get(&mut self, tree: &Tree, path: &[u8]) -> Result<Rc<Directory>, Error> {
        if let Some(directory) = tree.cached(path) {
            return Ok(directory);
        }
        let resolved = tree.resolve(path).map_err(failed("cannot find the directory", path))?;
        let directory = self.at(tree, &resolved)?;
        tree.remember(path, &directory);
        Ok(directory)
    }

    /// The same for a path without symlinks.
    fn at(&mut self, tree: &Tree, resolved: &[u8]) -> Result<Rc<Directory>, Error> {
        // Up to what is there, then down. Not by calling itself: the stack ends before a deep path does.
        let mut there = resolved;
        let mut directory = loop {
            match tree.directory(there) {
                Err(Errno::NOENT) => there = name::split(there).0,
                found => break found.map_err(failed("cannot open the directory", there))?,
            }
        };
        let missing =
            resolved[there.len()..].split(|&byte| byte == b'/').filter(|component| !component.is_empty());
        for component in missing {
            directory = Rc::new(self.make(&directory, component)?);
            tree.remember(&directory.path, &directory);
        }
        Ok(directory)
    }

    fn make(&mut self, parent: &Directory, component: &[u8]) -> Result<Directory, Error> {
        let path = name::join(&parent.path, component);
        let failed = || failed("cannot make the directory", &path);
        fs::mkdirat(parent, component, Mode::from_raw_mode(0o755)).map_err(failed())?;
        let made = parent.child(component).map_err(failed())?;
        fs::fchmod(&made, Mode::from_raw_mode(0o755)).map_err(failed())?;
        self.inherit(&made)?;
        Ok(made)
    }

    /// Looks for the nearest lower directory that has this path. Where it is something else, the directory is a new one.
    fn inherit(&mut self, made: &Directory) -> Result<(), Error> {
        let path = &made.path;
        for lower in self.opened()? {
            // containerd refuses a path through a file as well.
            let resolved = lower.resolve(path).map_err(failed("cannot find in the lower directory", path))?;
            match lower.directory(&resolved) {
                Ok(directory) => return metadata::inherit(made, &directory),
                Err(Errno::NOENT) => {}
                Err(Errno::NOTDIR) => break,
                Err(error) => return Err(failed("cannot read the lower directory", path)(error)),
            }
        }
        Ok(())
    }

    fn opened(&mut self) -> Result<&[Tree], Error> {
        if self.opened.is_none() {
            let mut opened = Vec::new();
            for lower in &self.lower {
                match Tree::open(lower, OPEN) {
                    Ok(tree) => opened.push(tree),
                    Err(Errno::NOENT) => {}
                    Err(source) => {
                        let doing = "cannot open the lower directory";
                        return Err(Error::Io { doing, path: lower.clone(), source: source.into() });
                    }
                }
            }
            self.opened = Some(opened);
        }
        Ok(self.opened.as_deref().unwrap_or_default())
    }
}
