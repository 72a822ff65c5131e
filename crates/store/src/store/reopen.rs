//! A store that goes away while it is open: actions/checkout empties the workspace, and others may put another store in
//! its place. It is taken up again where it was; until that is possible, contents go past it.

use fs_err as fs;

use crate::error::Error;
use crate::lock::Place;
use crate::mutex::lock;
use crate::store::Store;

impl Store {
    /// Makes sure that what is at our path is our store, and creates it again when it was removed.
    ///
    /// # Errors
    /// [`Error::Io`] while it is being removed, or when it cannot be made; [`Error::Place`] when another process has
    /// the new one.
    pub(crate) fn present(&self) -> Result<(), Error> {
        let layout = &self.0.layout;
        let mut held = lock(&self.0.lock);
        match held.as_ref().map(|held| held.still_at(layout)) {
            // One that is only read takes nothing, and is not made either.
            None | Some(Place::Ours) => return Ok(()),
            Some(Place::Gone) if !gone(layout.root()) => {
                let why = format!("{} is being removed", layout.root().display());
                return Err(std::io::Error::new(std::io::ErrorKind::NotFound, why).into());
            }
            Some(Place::Gone | Place::Another) => {}
        }
        let (layout, taken) = Self::take(layout.root())?;
        *held = Some(taken);
        let found = layout.read_index().unwrap_or_default();
        tracing::warn!(target: "hubcap::store", "the store {} was removed while hubcap used it, and is made anew. \
            actions/checkout empties the workspace: start hubcap after it, or choose a --store elsewhere",
            layout.root().display());
        let mut images = lock(&self.0.images);
        self.0.index.reopen(&found);
        *images = found;
        *lock(&self.0.recent) = super::manifests::Recent::default();
        self.0.verified.forget_all();
        lock(&self.0.usage).forget();
        Ok(())
    }
}

/// Whether a removal has come to its end: who removes a directory fails when something new appears in it.
fn gone(root: &std::path::Path) -> bool {
    fs::read_dir(root).map_or(true, |mut entries| entries.next().is_none())
}
