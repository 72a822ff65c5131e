//! sled: quick answers that the layout could give slowly. Whatever goes wrong with it, it is set aside and rebuilt;
//! no request fails for it.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, SystemTime};

use fs_err as fs;
use hubcap_oci::{Algorithm, Descriptor, Digest, Tag, Target, Verifier};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::layout::Layout;
use crate::layout::image_index::{Entry, ImageIndex};
use crate::mutex::lock;
use crate::rebuild;

/// What a tag means, and since when that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagEntry {
    /// The manifest.
    pub descriptor: Arc<Descriptor>,
    /// When the upstream last said so; the epoch when that was lost.
    pub validated_at: SystemTime,
}

#[derive(Serialize, Deserialize)]
struct StoredTag {
    descriptor: Descriptor,
    /// Seconds since the epoch.
    validated_at: u64,
}

/// Tags, and repositories, that are remembered at most.
const MAX_REMEMBERED: usize = 4096;

/// sled, or nothing when even an empty one cannot be opened.
#[derive(Debug)]
pub(crate) struct Index {
    layout: Layout,
    trees: RwLock<Option<Trees>>,
    /// Last uses that sled has not heard of: written together, a hit must not cost a log entry.
    used: Mutex<HashMap<Digest, SystemTime>>,
    /// The tags that were asked for, read already: a hot tag costs no look into sled.
    tags: Mutex<HashMap<Vec<u8>, TagEntry>>,
    /// Whether the repositories that were asked for are private, likewise.
    private: Mutex<HashMap<Target, bool>>,
    /// Contents, each with a repository that has it; the one that was last asked for.
    linked: Mutex<HashMap<Digest, Target>>,
}

#[derive(Debug)]
struct Trees {
    db: sled::Db,
    /// target NUL tag -> [`StoredTag`]
    tags: sled::Tree,
    /// target NUL digest -> length, or nothing while that is not known
    links: sled::Tree,
    /// digest -> media type, for manifests; and last use, for all.
    contents: sled::Tree,
    /// target -> nothing, for those that are private
    private: sled::Tree,
}

impl Index {
    fn closed(layout: &Layout) -> Self {
        Self {
            layout: layout.clone(),
            trees: RwLock::new(None),
            used: Mutex::default(),
            tags: Mutex::default(),
            private: Mutex::default(),
            linked: Mutex::default(),
        }
    }

    /// Opens it; fills it up from the layout when it is missing, corrupt, or was not closed in order. Says, too, whether it
    /// was.
    pub(crate) fn open(layout: &Layout, images: &ImageIndex) -> Result<(Self, bool), Error> {
        let index = Self::closed(layout);
        // What sled finds corrupt it may also silently drop, so only what an orderly end has clean is trusted.
        let clean =
            checksum(&layout.sled()).is_some_and(|now| fs::read(layout.clean_checksum()).ok() == Some(now));
        let _ = fs::remove_file(layout.clean_checksum());
        let opened = contained(|| Trees::open(&layout.sled())).or_else(|_| {
            // Corrupt snapshots are what a kill leaves; without them sled reads its log, which has it all.
            for entry in fs::read_dir(layout.sled()).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().starts_with("snap.") {
                    let _ = fs::remove_file(entry.path());
                }
            }
            contained(|| Trees::open(&layout.sled()))
        });
        match opened {
            Ok(trees) => *index.write() = Some(trees),
            Err(why) => {
                index.start_over(&why, Some(images));
                return Ok((index, false));
            }
        }
        if !clean {
            rebuild::index(&index, layout, images);
        }
        Ok((index, clean))
    }

    /// One for a store that cannot be written: outside of it, and gone with the process.
    pub(crate) fn temporary(layout: &Layout, images: &ImageIndex) -> Self {
        let index = Self::closed(layout);
        match contained(Trees::temporary) {
            Ok(trees) => *index.write() = Some(trees),
            Err(why) => {
                tracing::warn!(target: "hubcap::store", "no index can be made, so nothing stored is served: {why}");
            }
        }
        rebuild::index(&index, layout, images);
        index
    }

    pub(crate) fn tag(&self, target: &Target, tag: &Tag) -> Option<TagEntry> {
        let key = key(target, tag.as_str().as_bytes());
        if let Some(entry) = lock(&self.tags).get(&key) {
            return Some(entry.clone());
        }
        let entry = read_tag(&self.with(|trees| trees.tags.get(&key))??)?;
        remember(&mut lock(&self.tags), key, entry.clone());
        Some(entry)
    }

    pub(crate) fn put_tag(&self, target: &Target, tag: &Tag, entry: &TagEntry) {
        let since = entry.validated_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let stored =
            StoredTag { descriptor: Descriptor::clone(&entry.descriptor), validated_at: since.as_secs() };
        let value = serde_json::to_vec(&stored).unwrap_or_default();
        let key = key(target, tag.as_str().as_bytes());
        self.with(|trees| trees.tags.insert(&key, value.as_slice()));
        remember(&mut lock(&self.tags), key, entry.clone());
    }

    /// The tags of a repository, sorted.
    pub(crate) fn tags(&self, target: &Target) -> Vec<Tag> {
        let prefix = key(target, b"");
        let keys =
            self.with(|trees| trees.tags.scan_prefix(&prefix).keys().collect::<sled::Result<Vec<_>>>());
        let tag = |key: &sled::IVec| std::str::from_utf8(&key[prefix.len()..]).ok()?.parse().ok();
        keys.unwrap_or_default().iter().filter_map(tag).collect()
    }

    /// All tags of all repositories.
    pub(crate) fn all_tags(&self) -> Vec<(Target, Tag, TagEntry)> {
        let all = self.with(|trees| trees.tags.iter().collect::<sled::Result<Vec<_>>>()).unwrap_or_default();
        let read = |(key, value): &(sled::IVec, sled::IVec)| {
            let (target, tag) = std::str::from_utf8(key).ok()?.split_once('\0')?;
            Some((read_target(target)?, tag.parse().ok()?, read_tag(value)?))
        };
        all.iter().filter_map(read).collect()
    }

    /// Links contents, with their lengths in bytes.
    pub(crate) fn link(&self, target: &Target, contents: &[(Digest, u64)]) {
        let mut batch = sled::Batch::default();
        for (digest, size) in contents {
            batch.insert(key(target, &digest_key(digest)), &size.to_be_bytes());
        }
        self.with(|trees| trees.links.apply_batch(batch.clone()));
    }

    /// Links a content whose length nobody told; one that is known stays.
    pub(crate) fn link_unsized(&self, target: &Target, digest: &Digest) {
        let key = key(target, &digest_key(digest));
        self.with(|trees| trees.links.compare_and_swap(&key, None::<&[u8]>, Some(&[])).map(drop));
    }

    pub(crate) fn is_linked(&self, target: &Target, digest: &Digest) -> bool {
        if lock(&self.linked).get(digest) == Some(target) {
            return true;
        }
        let key = key(target, &digest_key(digest));
        let linked = self.with(|trees| trees.links.contains_key(&key)).unwrap_or(false);
        if linked {
            remember(&mut lock(&self.linked), *digest, target.clone());
        }
        linked
    }

    /// The length that a manifest of the repository says.
    pub(crate) fn linked_size(&self, target: &Target, digest: &Digest) -> Option<u64> {
        let key = key(target, &digest_key(digest));
        let value = self.with(|trees| trees.links.get(&key))??;
        Some(u64::from_be_bytes(value.as_ref().try_into().ok()?))
    }

    /// All repositories that are known to have a content.
    pub(crate) fn targets(&self, digest: &Digest) -> Vec<Target> {
        let suffix = digest_key(digest);
        let keys = self.with(|trees| trees.links.iter().keys().collect::<sled::Result<Vec<_>>>());
        let target = |key: &sled::IVec| {
            let target = key.strip_suffix(suffix.as_slice())?.strip_suffix(b"\0")?;
            read_target(std::str::from_utf8(target).ok()?)
        };
        keys.unwrap_or_default().iter().filter_map(target).collect()
    }

    pub(crate) fn mark_private(&self, target: &Target) {
        let key = target.to_string();
        self.with(|trees| trees.private.insert(key.as_bytes(), &[]).map(drop));
        lock(&self.private).insert(target.clone(), true);
    }

    pub(crate) fn is_private(&self, target: &Target) -> bool {
        if let Some(private) = lock(&self.private).get(target) {
            return *private;
        }
        let key = target.to_string();
        // One that cannot be read may say so.
        let Some(private) = self.with(|trees| trees.private.contains_key(key.as_bytes())) else {
            return true;
        };
        // Another thread may have marked it meanwhile, which must not be forgotten: what finds no place is not remembered.
        let mut known = lock(&self.private);
        match known.get(target) {
            Some(marked) => *marked,
            None => {
                if known.len() < MAX_REMEMBERED {
                    known.insert(target.clone(), private);
                }
                private
            }
        }
    }

    /// Forgets an image's tag, and contents that are gone.
    pub(crate) fn forget(&self, entry: Option<&Entry>, gone: &[Digest]) {
        let (mut tags, mut links, mut contents) =
            (sled::Batch::default(), sled::Batch::default(), sled::Batch::default());
        if let Some(entry) = entry {
            if let Some(tag) = &entry.tag {
                let key = key(&entry.target, tag.as_str().as_bytes());
                lock(&self.tags).remove(&key);
                tags.remove(key);
            }
            for digest in gone {
                links.remove(key(&entry.target, &digest_key(digest)));
            }
        }
        let mut used = lock(&self.used);
        for digest in gone {
            used.remove(digest);
            contents.remove(digest_key(digest));
            contents.remove(key_of_type(&digest_key(digest)));
        }
        drop(used);
        self.with(|trees| {
            trees.tags.apply_batch(tags.clone())?;
            trees.links.apply_batch(links.clone())?;
            trees.contents.apply_batch(contents.clone())
        });
        let mut linked = lock(&self.linked);
        for digest in gone {
            linked.remove(digest);
        }
    }

    /// What a repository is known to have.
    pub(crate) fn linked(&self, target: &Target) -> Vec<Digest> {
        let prefix = key(target, b"");
        let keys =
            self.with(|trees| trees.links.scan_prefix(&prefix).keys().collect::<sled::Result<Vec<_>>>());
        keys.unwrap_or_default().iter().filter_map(|key| read_digest(&key[prefix.len()..])).collect()
    }

    /// What `index.json` can say from the index alone: all tags, and the manifests that no tag names.
    pub(crate) fn image_index(&self) -> ImageIndex {
        let mut images = ImageIndex::default();
        let tags = self.all_tags();
        let targets: HashSet<&Target> = tags.iter().map(|(target, _, _)| target).collect();
        for target in targets {
            for digest in self.linked(target) {
                if let Some(media_type) = self.media_type(&digest) {
                    let (descriptor, private) =
                        (Descriptor::new(media_type, digest, 0), self.is_private(target));
                    images.put((target, None), &descriptor, private);
                }
            }
        }
        for (target, tag, entry) in &tags {
            images.put((target, Some(tag)), &entry.descriptor, self.is_private(target));
        }
        images
    }

    /// Remembers the media type under which a registry gave a manifest.
    pub(crate) fn put_media_type(&self, digest: &Digest, media_type: &str) {
        let key = digest_key(digest);
        self.with(|trees| trees.contents.insert(key_of_type(&key), media_type.as_bytes()));
    }

    pub(crate) fn media_type(&self, digest: &Digest) -> Option<String> {
        let key = digest_key(digest);
        let value = self.with(|trees| trees.contents.get(key_of_type(&key)))??;
        String::from_utf8(value.to_vec()).ok()
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
        let value = self.with(|trees| trees.contents.get(digest_key(digest)))??;
        let since = Duration::from_millis(u64::from_be_bytes(value.as_ref().try_into().ok()?));
        SystemTime::UNIX_EPOCH.checked_add(since)
    }

    /// Writes what is only in memory; free when nothing is.
    pub(crate) fn flush(&self) {
        let used = std::mem::take(&mut *lock(&self.used));
        if used.is_empty() {
            return;
        }
        let mut batch = sled::Batch::default();
        for (digest, at) in used {
            let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            // 2^64 milliseconds are longer than any clock's time.
            batch.insert(digest_key(&digest), &(since.as_millis() as u64).to_be_bytes());
        }
        self.with(|trees| {
            trees.contents.apply_batch(batch.clone())?;
            trees.db.flush()
        });
    }

    /// Closes sled and, where the index is kept, writes the checksum of its files, so that the next start can trust them.
    pub(crate) fn close(&self, kept: bool) {
        self.flush();
        let Some(trees) = self.write().take() else { return };
        drop(trees);
        if !kept {
            return;
        }
        let clean =
            checksum(&self.layout.sled()).ok_or_else(|| std::io::Error::other("the index cannot be read"));
        if let Err(error) = clean.and_then(|checksum| fs::write(self.layout.clean_checksum(), checksum)) {
            tracing::warn!(target: "hubcap::store", "the index is not clean, so it is rebuilt next time: {error}");
        }
    }

    /// Runs `work`; when sled fails or panics, starts over from the layout and runs it once more.
    fn with<T>(&self, work: impl Fn(&Trees) -> sled::Result<T>) -> Option<T> {
        for again in [true, false] {
            // Under the lock, so that a close waits for it: sled writes a snapshot when its last handle goes, and a
            // process that ends in the midst of that leaves it corrupt.
            let done = {
                let trees = self.trees.read().unwrap_or_else(std::sync::PoisonError::into_inner);
                let trees = trees.as_ref()?;
                contained(|| work(trees))
            };
            match done {
                Ok(value) => return Some(value),
                Err(why) if again => self.start_over(&why, None),
                Err(why) => tracing::warn!(target: "hubcap::store", "the index fails: {why}"),
            }
        }
        None
    }

    /// Sets a broken index aside and fills a new one.
    fn start_over(&self, why: &str, images: Option<&ImageIndex>) {
        tracing::warn!(target: "hubcap::store", "the index is corrupt ({why}); it is rebuilt from the layout");
        let path = self.layout.sled();
        *self.write() = None;
        lock(&self.private).clear();
        lock(&self.linked).clear();
        let aside = self.layout.corrupt_sled();
        let _ = fs::remove_dir_all(&aside);
        let opened = fs::rename(&path, &aside)
            .map_err(|error| error.to_string())
            .and_then(|()| contained(|| Trees::open(&path)));
        match opened {
            Ok(trees) => *self.write() = Some(trees),
            Err(why) => {
                tracing::warn!(target: "hubcap::store", "no index can be opened, so nothing stored is served: {why}");
                return;
            }
        }
        match images.map_or_else(|| self.layout.read_index(), |images| Ok(images.clone())) {
            Ok(images) => rebuild::index(self, &self.layout, &images),
            Err(error) => tracing::warn!(target: "hubcap::store", "{error}"),
        }
    }

    /// Forgets a store that was removed, and begins with what is at its place now.
    pub(crate) fn reopen(&self, images: &ImageIndex) {
        lock(&self.used).clear();
        lock(&self.tags).clear();
        lock(&self.private).clear();
        lock(&self.linked).clear();
        {
            let mut trees = self.write();
            let _ = contained(|| {
                drop(trees.take());
                Ok(())
            });
            match contained(|| Trees::open(&self.layout.sled())) {
                Ok(opened) => *trees = Some(opened),
                Err(why) => tracing::warn!(target: "hubcap::store", "no index can be made: {why}"),
            }
        }
        rebuild::index(self, &self.layout, images);
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Option<Trees>> {
        self.trees.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Trees {
    fn open(path: &Path) -> sled::Result<Self> {
        Self::all(&config().path(path).open()?)
    }

    fn temporary() -> sled::Result<Self> {
        Self::all(&config().temporary(true).open()?)
    }

    fn all(db: &sled::Db) -> sled::Result<Self> {
        Ok(Self {
            tags: db.open_tree("tags")?,
            links: db.open_tree("links")?,
            contents: db.open_tree("contents")?,
            private: db.open_tree("private")?,
            db: db.clone(),
        })
    }
}

fn config() -> sled::Config {
    sled::Config::new().cache_capacity(16 << 20).flush_every_ms(Some(1000)).mode(sled::Mode::LowSpace)
}

/// A digest over all of sled's files; `None` when one cannot be read.
fn checksum(path: &Path) -> Option<Vec<u8>> {
    let mut paths = vec![path.to_owned()];
    let mut verifier = Verifier::new(Algorithm::Sha256);
    while let Some(path) = paths.pop() {
        // By name only: a copy of the store elsewhere is the same store.
        verifier.update(path.file_name().unwrap_or_default().as_encoded_bytes());
        if path.is_dir() {
            let mut entries = fs::read_dir(&path).ok()?.map(|entry| entry.map(|entry| entry.path()));
            let mut entries = entries.by_ref().collect::<Result<Vec<_>, _>>().ok()?;
            entries.sort();
            paths.extend(entries);
        } else {
            verifier.update(&fs::read(&path).ok()?);
        }
    }
    Some(verifier.finish().to_string().into_bytes())
}

/// sled panics on some corrupt files where an error would do.
fn contained<T>(work: impl FnOnce() -> sled::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("sled panicked".into()),
    }
}

fn read_tag(value: &[u8]) -> Option<TagEntry> {
    let stored: StoredTag = serde_json::from_slice(value).ok()?;
    let validated_at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(stored.validated_at))?;
    Some(TagEntry { descriptor: Arc::new(stored.descriptor), validated_at })
}

/// What is remembered is bounded simply: it starts over.
fn remember<K: Eq + Hash, V>(known: &mut HashMap<K, V>, key: K, value: V) {
    if known.len() >= MAX_REMEMBERED {
        known.clear();
    }
    known.insert(key, value);
}

fn read_target(text: &str) -> Option<Target> {
    let (registry, repository) = text.split_once('/')?;
    Some(Target { registry: registry.parse().ok()?, repository: repository.parse().ok()? })
}

/// NUL is in no name, so no target is another's prefix.
fn key(target: &Target, rest: &[u8]) -> Vec<u8> {
    // As `Target` is written, without the detour of a formatter.
    let Target { registry, repository } = target;
    [registry.as_str().as_bytes(), b"/", repository.as_str().as_bytes(), b"\0", rest].concat()
}

fn digest_key(digest: &Digest) -> Vec<u8> {
    let mut key = vec![match digest.algorithm() {
        Algorithm::Sha256 => 1,
        Algorithm::Sha512 => 2,
    }];
    key.extend_from_slice(digest.hash());
    key
}

fn key_of_type(digest: &[u8]) -> Vec<u8> {
    [b"type".as_slice(), digest].concat()
}

fn read_digest(key: &[u8]) -> Option<Digest> {
    let (algorithm, hash) = key.split_first()?;
    let algorithm = match algorithm {
        1 => Algorithm::Sha256,
        2 => Algorithm::Sha512,
        _ => return None,
    };
    Digest::from_hash(algorithm, hash)
}
