//! The index: quick answers that the layout could give slowly. No request fails for it.

mod db;
mod fill;
mod referrers;
mod tree;
mod trees;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use hubcap_oci::{Descriptor, Digest, Link, Tag, Target};

use crate::bounded::Bounded;
use crate::layout::Layout;
use crate::layout::image_index::{Entry, ImageIndex};
use crate::mutex::lock;
use crate::permissions::Readers;
use db::Db;
use fill::Owners;
use trees::{Owned, link_key, tag_key};

pub use trees::TagEntry;
pub(crate) use trees::{By, Word};

/// A manifest that names more contents is served, and none of these is linked to its repository: images have some dozen, and
/// each link costs a place in the index.
const MOST_LINKS: usize = 1000;

/// Tags, links and repositories that are remembered in memory at most, of each.
const MAX_REMEMBERED: usize = 4096;

#[derive(Debug)]
pub(crate) struct Index {
    db: Db,
    /// Last uses that are not written yet: they are written together, since a hit must not cost a log entry.
    used: Mutex<HashMap<Digest, SystemTime>>,
    /// Tags that were asked for, by [`tag_key`]: a hot tag costs no look into sled.
    tags: Mutex<Bounded<Vec<u8>, TagEntry>>,
    /// Whether the repositories that were asked for are private.
    private: Mutex<Bounded<Target, bool>>,
    /// What registries gave, by [`link_key`], with the media types of manifests.
    owned: Mutex<Bounded<Vec<u8>, Owned>>,
}

impl Index {
    fn new(db: Db) -> Self {
        Self {
            db,
            used: Mutex::default(),
            tags: Mutex::new(Bounded::new(MAX_REMEMBERED)),
            private: Mutex::new(Bounded::new(MAX_REMEMBERED)),
            owned: Mutex::new(Bounded::new(MAX_REMEMBERED)),
        }
    }

    /// Opens the index of a store, and fills it from the layout where it cannot be trusted. The flag is true after a clean
    /// shutdown.
    pub(crate) fn open(layout: &Layout, images: &ImageIndex) -> (Self, bool) {
        let (db, clean) = Db::open(layout, images);
        (Self::new(db), clean)
    }

    /// One for a store that cannot be written: outside of it, and gone with the process.
    pub(crate) fn temporary(layout: &Layout, images: &ImageIndex) -> Self {
        Self::new(Db::temporary(layout, images))
    }

    pub(crate) fn tag(&self, target: &Target, tag: &Tag) -> Option<TagEntry> {
        let key = tag_key(target, tag);
        // Held while sled is read: a tag that another thread moves meanwhile must not be remembered as it was.
        let mut known = lock(&self.tags);
        if let Some(entry) = known.get(&key) {
            return Some(entry.clone());
        }
        let entry = self.db.with(|trees| trees.tag(&key))??;
        known.insert(key, entry.clone());
        Some(entry)
    }

    pub(crate) fn put_tag(&self, target: &Target, tag: &Tag, entry: &TagEntry) {
        let key = tag_key(target, tag);
        let mut known = lock(&self.tags);
        self.db.with(|trees| trees.put_tag(&key, entry));
        known.insert(key, entry.clone());
    }

    /// Makes a tag one that must be asked for again.
    pub(crate) fn expire_tag(&self, target: &Target, tag: &Tag) {
        let key = tag_key(target, tag);
        // Held, so that a tag that another thread moves meanwhile is not moved back.
        let mut known = lock(&self.tags);
        self.db.with(|trees| trees.expire_tag(&key));
        known.remove(&key);
    }

    /// The tags of a repository, sorted.
    pub(crate) fn tags(&self, target: &Target) -> Vec<Tag> {
        self.db.with(|trees| trees.tags(target)).unwrap_or_default()
    }

    /// Links contents to a repository, because a manifest of it names them. Of more than 1000 none is linked.
    pub(crate) fn link(&self, target: &Target, contents: &[Digest], word: Word) {
        let contents = linkable(target, contents);
        self.db.with(|trees| trees.link(target, contents, word));
    }

    /// Notes that a repository has a content, how it came, and who says so; a manifest with its media type.
    pub(crate) fn own(&self, target: &Target, digest: &Digest, media_type: Option<&str>, by: By, word: Word) {
        self.db.with(|trees| trees.own(target, digest, media_type, by, word));
        lock(&self.owned).remove(&link_key(target, digest));
    }

    /// Whether a repository has a content: its registry gave it for this repository, or anybody may have it and a manifest of
    /// the repository names it. That a manifest names what came by somebody's login is no permission.
    pub(crate) fn has(&self, target: &Target, digest: &Digest) -> bool {
        self.is_owned(target, digest) || (self.is_linked(target, digest) && self.is_everybodys(digest))
    }

    /// Whether anybody may have a content, in whatever repository that names it. Somebody else may have changed its mode, so what a
    /// private repository has is everybody's only if a registry gave it for a public one, too.
    pub(crate) fn is_everybodys(&self, digest: &Digest) -> bool {
        if self.db.layout().readers(digest) != Readers::All {
            return false;
        }
        let private = self.private();
        !private.iter().any(|one| self.is_owned(one, digest))
            || self.targets(digest).iter().any(|one| !private.contains(one) && self.is_given(one, digest))
    }

    /// Whether the registry gave a content for a repository, which an import does not.
    pub(crate) fn is_given(&self, target: &Target, digest: &Digest) -> bool {
        self.owned(target, digest).is_some_and(|owned| owned.by == By::Registry)
    }

    /// Whether the registry has told this hubcap, or one with the same secret, that a repository has a content.
    pub(crate) fn is_told(&self, target: &Target, digest: &Digest) -> bool {
        let key = link_key(target, digest);
        self.db.with(|trees| trees.word(&key)).flatten() == Some(Word::Registry)
    }

    /// Whether the registry gave a content for a repository, or a manifest of the repository names it.
    pub(crate) fn is_linked(&self, target: &Target, digest: &Digest) -> bool {
        let key = link_key(target, digest);
        self.db.with(|trees| trees.is_linked(&key)).unwrap_or(false)
    }

    /// Under which media type the registry gave a manifest of a repository.
    pub(crate) fn media_type(&self, target: &Target, digest: &Digest) -> Option<Arc<str>> {
        self.owned(target, digest)?.media_type
    }

    /// Whether a repository has a content itself: its registry gave it, or it was imported.
    pub(crate) fn is_owned(&self, target: &Target, digest: &Digest) -> bool {
        self.owned(target, digest).is_some()
    }

    fn owned(&self, target: &Target, digest: &Digest) -> Option<Owned> {
        let key = link_key(target, digest);
        let mut known = lock(&self.owned);
        if let Some(owned) = known.get(&key) {
            return Some(owned.clone());
        }
        let owned = self.db.with(|trees| trees.owned(&key))??;
        known.insert(key, owned.clone());
        Some(owned)
    }

    /// All contents that repositories have themselves, each with the repository.
    fn all_owned(&self) -> Vec<(Target, Digest, Owned)> {
        self.db.with(|trees| trees.all_owned()).unwrap_or_default()
    }

    /// What a repository is known to have.
    pub(crate) fn linked(&self, target: &Target) -> Vec<Digest> {
        self.db.with(|trees| trees.linked(target)).unwrap_or_default()
    }

    /// All repositories that are known to have a content.
    pub(crate) fn targets(&self, digest: &Digest) -> Vec<Target> {
        self.db.with(|trees| trees.targets(digest)).unwrap_or_default()
    }

    pub(crate) fn mark_private(&self, target: &Target) {
        self.mark(target, true);
    }

    pub(crate) fn mark_public(&self, target: &Target) {
        self.mark(target, false);
    }

    fn mark(&self, target: &Target, private: bool) {
        let mut known = lock(&self.private);
        self.db.with(|trees| {
            trees.mark(target, private)?;
            // A registry may list other referrers for everybody than for a login.
            trees.forget_referrers(target)?;
            // A kill must not make it public.
            trees.flush()
        });
        known.insert(target.clone(), private);
    }

    /// True, too, for one of which that cannot be read.
    pub(crate) fn is_private(&self, target: &Target) -> bool {
        // Held while sled is read: one that another thread marks meanwhile must not be remembered as public.
        let mut known = lock(&self.private);
        if let Some(private) = known.get(target) {
            return *private;
        }
        let Some(private) = self.db.with(|trees| trees.is_private(target)) else { return true };
        known.insert(target.clone(), private);
        private
    }

    /// The repositories that are private.
    pub(crate) fn private(&self) -> Vec<Target> {
        self.db.with(|trees| trees.private()).unwrap_or_default()
    }

    /// Forgets the repositories that are private, also that they are: not even their names are left.
    /// Fails where a file that may name one cannot be removed.
    pub(crate) fn forget_private(&self) -> std::io::Result<()> {
        self.flush();
        let forgotten = self.db.forget_private();
        lock(&self.tags).clear();
        lock(&self.private).clear();
        lock(&self.owned).clear();
        forgotten
    }

    /// Remembers a use, in memory until [`flush`](Self::flush).
    pub(crate) fn used(&self, digest: &Digest) {
        lock(&self.used).insert(*digest, SystemTime::now());
    }

    /// When a content was last used, as far as is known.
    pub(crate) fn last_use(&self, digest: &Digest) -> Option<SystemTime> {
        if let Some(at) = lock(&self.used).get(digest) {
            return Some(*at);
        }
        self.db.with(|trees| trees.last_use(digest))?
    }

    /// Writes what is only in memory; free when nothing is. After an error of the disk, opens the index there again.
    pub(crate) fn flush(&self) {
        self.db.heal();
        self.db.compact_if_grown();
        let used = std::mem::take(&mut *lock(&self.used));
        if !used.is_empty() {
            self.db.with(|trees| trees.put_last_uses(&used));
        }
    }

    /// Forgets an image, and its links to these contents, which are not here: what else names them is asked for them.
    pub(crate) fn forget_image(&self, entry: &Entry, named: &[Digest]) {
        self.db.with(|trees| trees.forget_image(entry, named));
        if let Some(tag) = &entry.tag {
            lock(&self.tags).remove(&tag_key(&entry.target, tag));
        }
    }

    /// Forgets a tag, which is asked for again.
    pub(crate) fn forget_tag(&self, target: &Target, tag: &Tag) {
        let key = tag_key(target, tag);
        let mut known = lock(&self.tags);
        self.db.with(|trees| trees.forget_tag(&key));
        known.remove(&key);
    }

    /// Forgets contents that are gone. All links are looked at for that.
    pub(crate) fn forget_contents(&self, gone: &HashSet<Digest>) {
        lock(&self.used).retain(|digest, _| !gone.contains(digest));
        self.db.with(|trees| trees.forget_contents(gone));
        lock(&self.owned).clear();
    }

    /// Makes the index's files smaller, where they are much larger than what they hold.
    pub(crate) fn compact(&self) {
        self.db.compact();
    }

    /// Adds everything that is reachable from `images`.
    pub(crate) fn add(&self, images: &ImageIndex) {
        self.db.add(images, Owners::Layout);
        lock(&self.tags).clear();
        lock(&self.private).clear();
    }

    /// What `index.json` can say from the index alone: all tags, the manifests that were given and that no other one of their
    /// repository names, and all lists of referrers.
    pub(crate) fn image_index(&self) -> ImageIndex {
        let (mut images, layout) = (ImageIndex::default(), self.db.layout());
        let tags = self.db.with(|trees| trees.all_tags()).unwrap_or_default();
        let given = self.all_owned().into_iter().filter_map(|(target, digest, owned)| {
            let descriptor = Descriptor::new(&*owned.media_type?, digest, layout.size_of(&digest)?);
            Some((target, descriptor))
        });
        let given: Vec<(Target, Descriptor)> = given.collect();
        let named: HashSet<(&Target, Digest)> = given
            .iter()
            .filter_map(|(target, descriptor)| Some((target, layout.manifest(&Link::from(descriptor))?)))
            .flat_map(|(target, manifest)| {
                manifest.links.manifests.into_iter().map(move |child| (target, child.digest))
            })
            .collect();
        for (target, descriptor) in
            given.iter().filter(|(target, one)| !named.contains(&(target, one.digest)))
        {
            images.put(target, None, descriptor, self.is_private(target));
        }
        for (target, tag, entry) in &tags {
            images.put(target, Some(tag), &entry.descriptor, self.is_private(target));
        }
        for (target, subject, list) in self.db.with(|trees| trees.all_referrers()).unwrap_or_default() {
            images.put_referrers(&target, &subject, &list.descriptor, self.is_private(&target));
        }
        images
    }

    /// What registries gave for private repositories other than this one, or was imported for them.
    pub(crate) fn owned_by_other_private(&self, target: &Target) -> HashSet<Digest> {
        let private: HashSet<Target> = self.private().into_iter().filter(|one| one != target).collect();
        let given = self.all_owned().into_iter().filter(|(one, ..)| private.contains(one));
        given.map(|(_, digest, _)| digest).collect()
    }

    /// Puts the modes of contents right where somebody has changed them, or has copied the store without them.
    ///
    /// What private repositories name or have is not for everybody, but for what a registry gave for a public one: that a public
    /// image names a content is no permission. What was only imported is for this machine.
    pub(crate) fn put_marks_right(&self, images: &ImageIndex) {
        let layout = self.db.layout();
        let private: Vec<Entry> = images.entries().filter(|entry| entry.private).collect();
        let mut targets: HashSet<Target> = private.iter().map(|entry| entry.target.clone()).collect();
        targets.extend(self.private());
        let lists =
            images.entries().filter(|entry| entry.subject.is_some() && !targets.contains(&entry.target));
        let public_lists: HashSet<Digest> = lists.map(|entry| entry.descriptor.digest).collect();
        let named = private.iter().flat_map(|entry| {
            // A public repository may have the same list, as the empty one: hubcap has written it, and it gives nothing away.
            let list =
                entry.subject.map(|_| entry.descriptor.digest).filter(|one| public_lists.contains(one));
            let graph = layout.graph(&Link::from(&entry.descriptor));
            let named = graph.contents().map(|one| one.digest).filter(|one| Some(*one) != list);
            named.collect::<Vec<_>>()
        });
        let mut right: HashMap<Digest, Readers> = named.map(|digest| (digest, Readers::Granted)).collect();
        for (target, digest, Owned { by, .. }) in self.all_owned() {
            let readers = match by {
                _ if targets.contains(&target) => Readers::Granted,
                By::Registry => Readers::All,
                By::Import => Readers::Local,
            };
            let known = right.entry(digest).or_insert(readers);
            *known = match (*known, readers) {
                (Readers::All, _) | (_, Readers::All) => Readers::All,
                (Readers::Granted, _) | (_, Readers::Granted) => Readers::Granted,
                (Readers::Local, Readers::Local) => Readers::Local,
            };
        }
        for (digest, readers) in right {
            // A mode that hubcap has set may say that fewer have it: that stays.
            let is_right = match readers {
                Readers::All => layout.is_marked(&digest),
                Readers::Local => layout.is_marked(&digest) && layout.readers(&digest) != Readers::All,
                Readers::Granted => false,
            };
            if !is_right {
                layout.mark(&digest, readers);
            }
        }
    }

    /// Adds to `images` what only the index names, of what is here: `index.json` was lost, or is an older one.
    pub(crate) fn name(&self, images: &mut ImageIndex) {
        let layout = self.db.layout();
        let mut lacking = images.lacking(&self.image_index());
        lacking.retain(|entry| layout.size_of(&entry.descriptor.digest).is_some());
        if !lacking.is_empty() {
            images.extend(&lacking);
            self.db.add(images, Owners::Index);
        }
    }

    /// Forgets a store that was removed, and begins with what is at its place now.
    pub(crate) fn reopen(&self, images: &ImageIndex) {
        self.db.reopen(images);
        lock(&self.used).clear();
        lock(&self.tags).clear();
        lock(&self.private).clear();
        lock(&self.owned).clear();
    }

    /// Closes the index, so that where it is `kept` the next start can trust it.
    pub(crate) fn close(&self, kept: bool) {
        self.flush();
        self.db.close(kept);
    }
}

/// What a manifest links to its repository, of the contents that it names.
fn linkable<'a>(target: &Target, named: &'a [Digest]) -> &'a [Digest] {
    if named.len() <= MOST_LINKS {
        return named;
    }
    tracing::debug!(target: "hubcap::store", %target, "a manifest names {} contents: none is linked", named.len());
    &[]
}

#[cfg(test)]
mod tests;
