//! `index.json` as this process has written it, or wants to: what a full disk has not taken is written again as soon as it takes
//! it, and what is in memory need not be read from a disk that fails.

use std::sync::{Arc, Mutex};

use crate::mutex::lock;

/// The text, as the process wants it; nothing, before it has written one. Layouts that are clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct IndexFile(Arc<Mutex<Option<Wanted>>>);

#[derive(Debug)]
struct Wanted {
    text: Arc<[u8]>,
    is_written: bool,
    /// Whether it was renamed since that was last asked.
    is_renamed: bool,
}

impl IndexFile {
    /// What was written last, or should have been.
    pub(super) fn text(&self) -> Option<Arc<[u8]>> {
        lock(&self.0).as_ref().map(|wanted| Arc::clone(&wanted.text))
    }

    /// Wants another text, and writes it.
    pub(super) fn put<E>(&self, text: Vec<u8>, write: impl FnOnce(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let mut wanted = lock(&self.0);
        let wanted = wanted.insert(Wanted { text: text.into(), is_written: false, is_renamed: false });
        write(&wanted.text)?;
        (wanted.is_written, wanted.is_renamed) = (true, true);
        Ok(())
    }

    /// Writes what the disk has not taken so far.
    pub(super) fn retry<E>(&self, write: impl FnOnce(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let mut wanted = lock(&self.0);
        if let Some(wanted) = wanted.as_mut().filter(|wanted| !wanted.is_written) {
            write(&wanted.text)?;
            (wanted.is_written, wanted.is_renamed) = (true, true);
        }
        Ok(())
    }

    /// Whether the file has got its name anew since this was last asked.
    pub(super) fn is_renamed(&self) -> bool {
        lock(&self.0).as_mut().is_some_and(|wanted| std::mem::take(&mut wanted.is_renamed))
    }

    /// What is on the disk counts: it is another store.
    pub(super) fn forget(&self) {
        *lock(&self.0) = None;
    }
}
