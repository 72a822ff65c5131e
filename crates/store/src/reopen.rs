//! A store that goes away while it is open: actions/checkout empties the workspace, and others may put another store in
//! its place. It is opened again where it was; until that is possible, contents are not stored.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Mutex;

use fs_err as fs;

use crate::error::Error;
use crate::layout::Layout;
use crate::layout::image_index::ImageIndex;
use crate::lock::{Lock, Place};
use crate::mutex::lock;

/// The hold on a store that this process may write to.
#[derive(Debug)]
pub(crate) struct Hold {
    layout: Layout,
    lock: Mutex<Lock>,
}

impl Hold {
    /// Makes what is missing at `root`, takes the store for this process, and throws away what an earlier process left
    /// half-written.
    ///
    /// # Errors
    /// [`Error::InUse`] when another process has it, [`Error::Io`] when it cannot be made.
    pub(crate) fn take(root: &Path) -> Result<Self, Error> {
        let layout = Layout::create(root)?;
        let lock = Mutex::new(take(&layout)?);
        Ok(Self { layout, lock })
    }

    /// Makes sure that what is at our path is our store, with its directories. Where it was removed, takes what is there now, made new if need be,
    /// and calls `reset` with its `index.json`.
    ///
    /// # Errors
    /// [`Error::Io`] while it is being removed, or when it cannot be made; [`Error::InUse`] when another process has
    /// the new one.
    pub(crate) fn ensure(&self, reset: impl FnOnce(ImageIndex)) -> Result<(), Error> {
        let root = self.layout.root();
        let mut held = lock(&self.lock);
        match held.still_at(&self.layout) {
            Place::Ours => {
                if !self.layout.has_directories() {
                    tracing::warn!(target: "hubcap::store", "directories of the store {} are gone, and are made anew",
                        root.display());
                    Layout::create(root)?;
                }
                return Ok(());
            }
            Place::Gone if !is_gone(root) => {
                let why = format!("{} is being removed", root.display());
                return Err(std::io::Error::new(ErrorKind::NotFound, why).into());
            }
            Place::Gone | Place::Another => {}
        }
        *held = take(&Layout::create(root)?)?;
        tracing::warn!(target: "hubcap::store", "the store {} was removed while hubcap used it, and is made anew. \
            actions/checkout empties the workspace: start hubcap after it, or choose a --store elsewhere",
            root.display());
        reset(Layout::at(root).read_index().unwrap_or_default());
        Ok(())
    }
}

fn take(layout: &Layout) -> Result<Lock, Error> {
    let lock = Lock::take(layout)?;
    layout.discard_ingests();
    Ok(lock)
}

/// Whether a removal has come to its end: who removes a directory fails when something new appears in it.
fn is_gone(root: &Path) -> bool {
    fs::read_dir(root).map_or(true, |mut entries| entries.next().is_none())
}
