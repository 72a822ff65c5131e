//! Whiteouts: entries that say what is gone (OCI image specification, layer.md).

use std::rc::Rc;

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, XattrFlags};
use rustix::io::Errno;

use super::remembered::Made;
use super::{failed, metadata};
use crate::error::Error;
use crate::name;
use crate::tar::Entry;
use crate::tree::{self, Directory};

const PREFIX: &[u8] = b".wh.";

/// What an entry's name says is gone.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Whiteout<'a> {
    /// Whatever lower layers have in this directory.
    Opaque,
    /// What has this name.
    Name(&'a [u8]),
}

impl<'a> Whiteout<'a> {
    /// Of the last component of an entry's path; none for an entry that is no whiteout.
    pub(super) fn parse(component: &'a [u8]) -> Result<Option<Self>, Error> {
        if component == b".wh..wh..opq" {
            return Ok(Some(Self::Opaque));
        }
        match component.strip_prefix(PREFIX) {
            None => Ok(None),
            Some(name) if name::is_component(name) => Ok(Some(Self::Name(name))),
            Some(_) => Err(Error::invalid(format!("{} is no valid whiteout", component.escape_ascii()))),
        }
    }
}

/// Tells overlayfs what is gone.
pub(super) fn tell_overlay(parent: &Directory, whiteout: &Whiteout<'_>, entry: &Entry) -> Result<(), Error> {
    match whiteout {
        Whiteout::Opaque => {
            let set = fs::fsetxattr(parent, "trusted.overlay.opaque", b"y", XattrFlags::empty());
            set.map_err(failed("cannot mark as opaque the directory", &parent.path))
        }
        Whiteout::Name(component) => {
            let path = name::join(&parent.path, component);
            let made = fs::mknodat(parent, *component, FileType::CharacterDevice, Mode::empty(), 0);
            made.map_err(failed("cannot make the whiteout of", &path))?;
            let (uid, gid) = (metadata::uid(entry), metadata::gid(entry));
            let owner = fs::chownat(parent, *component, uid, gid, AtFlags::SYMLINK_NOFOLLOW);
            owner.map_err(failed("cannot change the owner of", &path))
        }
    }
}

/// Removes what is gone from a directory without lower ones. `made` is what the layer itself has made.
pub(super) fn remove(parent: &Rc<Directory>, whiteout: &Whiteout<'_>, made: &Made) -> Result<(), Error> {
    match whiteout {
        Whiteout::Opaque => clear(parent, made).map_err(failed("cannot empty the directory", &parent.path)),
        Whiteout::Name(component) => {
            let path = name::join(&parent.path, component);
            tree::remove(parent, component).map_err(failed("cannot remove", &path))
        }
    }
}

fn clear(directory: &Rc<Directory>, made: &Made) -> Result<(), Errno> {
    // Not by calling itself: the stack ends before a deep tree does.
    let mut levels = vec![(directory.clone(), Dir::read_from(directory)?)];
    while let Some((directory, entries)) = levels.last_mut() {
        let Some(entry) = entries.next().transpose()? else {
            levels.pop();
            continue;
        };
        let component = entry.file_name().to_bytes();
        if !name::is_component(component) {
            continue;
        }
        if !made.contains(&name::join(&directory.path, component)) {
            tree::remove(directory, component)?;
            continue;
        }
        match directory.child(component) {
            Ok(child) => {
                let entries = Dir::read_from(&child)?;
                levels.push((Rc::new(child), entries));
            }
            // A file, a symlink, something else.
            Err(Errno::NOTDIR | Errno::LOOP) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whiteout_names_something_in_its_directory() {
        for (component, parsed) in [
            (".wh.a", Some(Whiteout::Name(b"a"))),
            (".wh..wh..opq", Some(Whiteout::Opaque)),
            (".wh..wh.plnk", Some(Whiteout::Name(b".wh.plnk"))),
            ("a.wh.b", None),
            (".wha", None),
        ] {
            assert_eq!(Whiteout::parse(component.as_bytes()).expect("valid"), parsed, "{component}");
        }
        for component in [".wh.", ".wh..", ".wh..."] {
            assert!(Whiteout::parse(component.as_bytes()).is_err(), "{component}");
        }
    }
}
