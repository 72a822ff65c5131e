//! The open store: one object for everything that this process does with it.

mod manifests;
mod referrers;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use hubcap_oci::{Digest, Pattern, Target};

use crate::catalog::Catalog;
use crate::content::Content;
use crate::error::Error;
use crate::evict::limits::Limits;
use crate::evict::plan::Removal;
use crate::evict::{Evictor, Wanted};
use crate::index::{By, Index, Word};
use crate::ingest::Ingest;
use crate::layout::image_index::ImageIndex;
use crate::layout::{Durability, Layout};
use crate::permissions::Readers;
use crate::reopen::Hold;

pub use referrers::StoredReferrers;

/// How a store is kept.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// How much it may hold.
    pub limits: Limits,
    /// Images that are never removed to make room.
    pub pins: Vec<Pattern>,
    /// What survives a power cut.
    pub durability: Durability,
}

/// An open store; a clone is another handle of the same one.
///
/// Its methods may block for the time of a small disk access. Those that write are for a thread that may block.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    catalog: Arc<Catalog>,
    evictor: Arc<Evictor>,
    /// Nothing while nothing can be written.
    hold: OnceLock<Hold>,
    /// Why nothing could be written at the start.
    read_only: Arc<str>,
}

impl Store {
    /// Opens the store at `root`, and makes it where it is missing.
    ///
    /// What an earlier process left half-written is thrown away. A missing or corrupt index is rebuilt from the
    /// layout; a corrupt `index.json` is rebuilt from what the index knows.
    ///
    /// # Errors
    /// [`Error::InUse`] when another process has it open, [`Error::Io`] when it cannot be made or read.
    pub fn open(root: &Path, options: Options) -> Result<Self, Error> {
        let hold = Hold::take(root)?;
        let layout = Layout::at(root).with(options.durability);
        let (found, is_damaged) = match layout.read_index() {
            Ok(images) => (images, false),
            Err(Error::Damaged { path, why }) => {
                tracing::warn!(target: "hubcap::store", "{} is damaged ({why}); it is rebuilt from the index", path.display());
                (ImageIndex::default(), true)
            }
            Err(error) => return Err(error),
        };
        let (index, is_clean) = Index::open(&layout, &found);
        let mut images = found.clone();
        if is_damaged || !is_clean {
            index.name(&mut images);
            let missing = layout.missing(&images);
            images.remove(&missing.iter().collect::<Vec<_>>());
        }
        index.put_marks_right(&images);
        layout.keep_modes();
        if is_damaged || images != found {
            // Where a full disk does not take it, it is written later.
            layout.keep_index(&images);
        }
        Ok(Self::new(Catalog::new(layout, images, index), options, hold.into(), ""))
    }

    /// Opens the store at `root` without writing to it, because of `why`. What is in it is served, and nothing more
    /// is stored, until a [`flush`](Self::flush) finds that it can be written.
    pub fn open_read_only(root: &Path, options: Options, why: &Error) -> Self {
        let layout = Layout::at(root).with(options.durability);
        let images = layout.read_index().unwrap_or_default();
        let index = Index::temporary(&layout, &images);
        Self::new(Catalog::new(layout, images, index), options, OnceLock::new(), &why.to_string())
    }

    fn new(
        catalog: Catalog,
        Options { limits, pins, .. }: Options,
        hold: OnceLock<Hold>,
        read_only: &str,
    ) -> Self {
        let catalog = Arc::new(catalog);
        let evictor = Arc::new(Evictor::new(Arc::clone(&catalog), limits, pins));
        Self(Arc::new(Inner { catalog, evictor, hold, read_only: read_only.into() }))
    }

    pub(crate) fn catalog(&self) -> &Catalog {
        &self.0.catalog
    }

    /// A committed content, opened; `None` when there is none of that name.
    ///
    /// One that this process has not verified yet comes as a growing one, which is hashed while it is read. When it
    /// turns out damaged it is quarantined, and its readers fail before its last bytes.
    ///
    /// Must be called in a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Io`] when it is there and cannot be opened.
    pub fn blob(&self, digest: &Digest) -> Result<Option<Content>, Error> {
        self.0.catalog.blob(digest)
    }

    /// Some bytes of a committed content. Nothing is verified, and it does not count as a use.
    ///
    /// # Errors
    /// [`std::io::Error`] when it is not here, or shorter.
    pub fn read(&self, digest: &Digest, range: Range<u64>) -> std::io::Result<Bytes> {
        // What is asked for fits into memory.
        let mut bytes = BytesMut::zeroed(range.end.saturating_sub(range.start) as usize);
        self.0.catalog.layout.read_at(digest, &mut bytes, range.start)?;
        Ok(bytes.freeze())
    }

    /// Whether there is a committed content of that name.
    pub fn has(&self, digest: &Digest) -> bool {
        self.0.catalog.has(digest)
    }

    /// Begins to write a content that is to have this digest. Where its `size` is known, room for it is made within the
    /// limits now.
    ///
    /// # Errors
    /// [`Error::NoRoom`] and [`Error::ReadOnly`]; [`Error::Io`] when no file can be made, or the disk is full.
    pub fn ingest(&self, digest: Digest, size: Option<u64>) -> Result<Ingest, Error> {
        let Inner { catalog, evictor, hold, read_only } = &*self.0;
        hold.get().ok_or_else(|| Error::ReadOnly { why: Arc::clone(read_only) })?;
        self.ensure()?;
        Ingest::begin(catalog, evictor, digest, size)
    }

    /// Whether nothing can be written, so that [`ingest`](Self::ingest) is refused.
    pub fn is_read_only(&self) -> bool {
        self.0.hold.get().is_none()
    }

    /// Remembers that the registry gave this content for the repository.
    pub fn link(&self, target: &Target, digest: &Digest) {
        self.link_by(target, digest, Word::Registry);
    }

    pub(crate) fn link_by(&self, target: &Target, digest: &Digest, word: Word) {
        self.0.catalog.index.own(target, digest, None, By::Registry, word);
        self.publish(target, digest);
    }

    /// Remembers that a content was imported for the repository. Who else may have it stays as it is, unless it is new.
    pub(crate) fn link_imported(&self, target: &Target, digest: &Digest, is_new: bool) {
        let Catalog { index, layout, .. } = &*self.0.catalog;
        index.own(target, digest, None, By::Import, Word::Layout);
        if is_new && !self.is_private(target) {
            layout.mark(digest, Readers::Local);
        }
    }

    /// As [`link`](Self::link) for a content that is being written, as soon as it is verified.
    pub fn link_ingest(&self, target: &Target, ingest: &mut Ingest) {
        ingest.link(target);
        self.mark_ingest(target, ingest, Readers::All);
    }

    fn mark_ingest(&self, target: &Target, ingest: &Ingest, readers: Readers) {
        if !self.is_private(target) {
            ingest.mark(readers);
        }
    }

    /// Remembers of a content that is stored, and that the registry gave for a public repository, that anybody may have it.
    pub fn publish(&self, target: &Target, digest: &Digest) {
        if !self.is_private(target) && !self.is_read_only() {
            self.0.catalog.layout.mark(digest, Readers::All);
        }
    }

    /// The repositories that are known to have a content, or name it.
    pub fn targets(&self, digest: &Digest) -> Vec<Target> {
        self.0.catalog.index.targets(digest)
    }

    /// Whether this hubcap knows by the registry's word that the repository has this content: it gave that, or a manifest that
    /// names it. What a store out of a cache, an archive or an import names is not enough.
    pub fn is_told(&self, target: &Target, digest: &Digest) -> bool {
        self.0.catalog.index.is_told(target, digest)
    }

    /// Whether the registry gave this content for the repository, or a manifest of the repository names it. That is no
    /// permission to give out what is stored.
    pub fn is_named(&self, target: &Target, digest: &Digest) -> bool {
        self.0.catalog.index.is_linked(target, digest)
    }

    /// Whether the repository is known to have this content: its registry gave it for this repository, or anybody may have it
    /// and a manifest of the repository names it.
    pub fn is_linked(&self, target: &Target, digest: &Digest) -> bool {
        self.0.catalog.index.has(target, digest)
    }

    /// Which of these contents the repository is not [known to have](Self::is_linked).
    pub fn missing(&self, target: &Target, contents: &[Digest]) -> Vec<Digest> {
        contents.iter().copied().filter(|digest| !self.is_linked(target, digest)).collect()
    }

    /// Whether a yes of the target's registry is enough to give out what is stored: anybody may have it, or this registry gave it,
    /// for whatever repository. Of what only a login at another registry got, this one must bring the bytes itself: its yes is no
    /// word of theirs.
    pub fn is_confirmable(&self, target: &Target, digest: &Digest) -> bool {
        let index = &self.0.catalog.index;
        let is_giver = |one: &Target| one.registry == target.registry && index.is_given(one, digest);
        index.is_everybodys(digest) || index.targets(digest).iter().any(is_giver)
    }

    /// Writes what is only in memory: when contents were last used; with [`Durability::Synced`] also contents, to the disk.
    /// Finds out, too, whether the store is still there.
    pub fn flush(&self) {
        let catalog = &self.0.catalog;
        let held = if self.is_read_only() { self.take_hold() } else { self.ensure() };
        if let Err(error) = held {
            tracing::debug!(target: "hubcap::store", "{error}");
        }
        if self.is_read_only() {
            return;
        }
        if let Err(error) = catalog.layout.retry_index() {
            tracing::debug!(target: "hubcap::store", "index.json is not written yet: {error}");
        }
        catalog.index.flush();
        catalog.sync();
    }

    /// Makes sure that the store is still there, where it can be written.
    pub(super) fn ensure(&self) -> Result<(), Error> {
        let Inner { catalog, hold, .. } = &*self.0;
        hold.get().map_or(Ok(()), |hold| hold.ensure(|found| catalog.reset(found)))
    }

    /// Begins to write to a store that could not be written.
    fn take_hold(&self) -> Result<(), Error> {
        let Inner { catalog, hold, .. } = &*self.0;
        let taken = Hold::take(catalog.layout.root())?;
        let found = match Layout::at(catalog.layout.root()).read_index() {
            // The index has the names.
            Err(Error::Damaged { .. }) => ImageIndex::default(),
            found => found?,
        };
        catalog.reset(found);
        if hold.set(taken).is_ok() {
            tracing::info!(target: "hubcap::store", "the store can be written now");
        }
        Ok(())
    }

    /// How many bytes something may have that is here for a while.
    pub(crate) fn room(&self) -> Result<u64, Error> {
        self.0.evictor.room()
    }

    /// Whether something has to go before `bytes` more fit.
    pub(crate) fn is_full_for(&self, bytes: u64) -> Result<bool, Error> {
        self.0.evictor.is_full_for(bytes)
    }

    /// Closes the store cleanly: writes what is only in memory, so that the next start need not look at everything.
    /// What is asked of it after that finds nothing.
    pub fn close(&self) {
        let catalog = &self.0.catalog;
        catalog.sync();
        // An index that is younger than `index.json` is not trusted at the next start.
        let is_whole = !self.is_read_only() && catalog.layout.retry_index().is_ok();
        catalog.index.close(is_whole);
    }

    /// Moves a content that is not what its name says out of the way, for a look at it later.
    pub fn quarantine(&self, digest: &Digest) {
        self.0.catalog.quarantine(digest);
    }

    /// Bytes that are kept, quarantine included.
    pub fn size(&self) -> u64 {
        self.0.catalog.size()
    }

    /// What would be removed, in that order, and why. Nothing is changed.
    ///
    /// # Errors
    /// [`Error::Io`] when the store cannot be read.
    pub fn plan(&self, wanted: Wanted) -> Result<Vec<Removal>, Error> {
        self.0.evictor.plan(wanted)
    }

    /// Removes what is over the limits, the least recently used first: another hubcap, with other limits, may have filled the
    /// store.
    ///
    /// # Errors
    /// [`Error::Io`] when the store cannot be read or written.
    pub fn keep_limits(&self) -> Result<(), Error> {
        if self.is_read_only() { Ok(()) } else { self.0.evictor.keep_limits() }
    }

    /// The same where the store itself is too large, however little the disk has free.
    ///
    /// # Errors
    /// As [`keep_limits`](Self::keep_limits).
    pub fn keep_size(&self) -> Result<(), Error> {
        if self.is_read_only() { Ok(()) } else { self.0.evictor.keep_size() }
    }

    /// Removes what [`plan`](Self::plan) says, and returns what is gone.
    ///
    /// # Errors
    /// [`Error::Io`] when `index.json` cannot be written; nothing is removed then.
    pub fn evict(&self, wanted: Wanted) -> Result<Vec<Removal>, Error> {
        self.0.evictor.evict(wanted)
    }

    /// The names of the images of which something was used since then, as [`Prune::used_since`](crate::Prune) counts that.
    pub fn used_since(&self, since: SystemTime) -> HashSet<String> {
        self.0.evictor.used_since(since)
    }
}
