//! What the index holds: which tree has which keys and values.

mod referrers;

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use hubcap_oci::{Algorithm, Descriptor, Digest, Tag, Target};
use serde::{Deserialize, Serialize};
use sled::IVec;

use super::tree::Tree;
use crate::boot;
use crate::layout::image_index::Entry;
use crate::validation::{Moment, Validation};

/// How long sled's files may be locked by a sled that is closed already.
const LOCKED: Duration = Duration::from_secs(5);

/// What a tag means, or which list of referrers a manifest has, and since when that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagEntry {
    /// The manifest, or the list.
    pub descriptor: Arc<Descriptor>,
    /// When the upstream last said so.
    pub validated: Validation,
}

#[derive(Serialize, Deserialize)]
struct StoredTag {
    descriptor: Descriptor,
    /// Seconds since the epoch; 0 for never.
    validated_at: u64,
    /// The [`boot::id`] of who noted that; nothing in an older hubcap's index.
    #[serde(default)]
    boot: String,
    /// Seconds since that start; 0 in an older hubcap's index.
    #[serde(default)]
    up: u64,
}

/// How a repository has a content itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owned {
    /// That of a manifest.
    pub(crate) media_type: Option<Arc<str>>,
    pub(crate) by: By,
}

/// How a content came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// The registry gave it for this repository.
    Registry,
    /// It was imported: who may have it is not known.
    Import,
}

/// Who says that a repository has a content, or names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// Its registry, to this hubcap, or to one with the same secret.
    Registry,
    /// A store or an archive, which anybody may have written.
    Layout,
}

/// Before the media type of what was imported, in the index's files. No media type begins with it.
const IMPORTED: u8 = b' ';

impl Owned {
    fn write(&self) -> Vec<u8> {
        let mark = if self.by == By::Import { &[IMPORTED][..] } else { &[] };
        [mark, self.media_type.as_deref().unwrap_or_default().as_bytes()].concat()
    }

    fn read(value: &[u8]) -> Self {
        let (by, media_type) = match value.split_first() {
            Some((&IMPORTED, rest)) => (By::Import, rest),
            _ => (By::Registry, value),
        };
        let media_type = String::from_utf8_lossy(media_type);
        Self { media_type: (!media_type.is_empty()).then(|| media_type.into()), by }
    }
}

#[derive(Debug)]
pub(super) struct Trees {
    /// `None` for an index in memory.
    db: Option<sled::Db>,
    /// target NUL tag -> [`StoredTag`]
    tags: Tree,
    /// target NUL digest of the subject -> [`StoredTag`]
    referrers: Tree,
    /// target NUL digest -> nothing: the repository has it, or one of its manifests names it
    links: Tree,
    /// target NUL digest -> [`Owned`]
    owned: Tree,
    /// digest -> last use, in milliseconds since the epoch
    contents: Tree,
    /// target -> nothing, for those that are private
    private: Tree,
}

impl Trees {
    pub(super) fn open(path: &Path) -> sled::Result<Self> {
        wait_for_lock(&path.join("db"), LOCKED);
        let db = config().path(path).open()?;
        Self::all(Some(db.clone()), |name| db.open_tree(name).map(Tree::Sled))
    }

    /// Gone with the process.
    pub(super) fn in_memory() -> Self {
        let Ok(trees) = Self::all(None, |_| Ok::<_, Infallible>(Tree::in_memory()));
        trees
    }

    fn all<E>(db: Option<sled::Db>, open: impl Fn(&str) -> Result<Tree, E>) -> Result<Self, E> {
        Ok(Self {
            tags: open("tags")?,
            referrers: open("referrers")?,
            links: open("links")?,
            owned: open("owned")?,
            contents: open("contents")?,
            private: open("private")?,
            db,
        })
    }

    pub(super) const fn is_in_memory(&self) -> bool {
        self.db.is_none()
    }

    /// Adds all that another index has, and writes it to the disk.
    pub(super) fn copy(&self, from: &Self) -> sled::Result<()> {
        for (to, from) in self.trees().into_iter().zip(from.trees()) {
            to.copy(from)?;
        }
        self.flush()
    }

    /// Adds what another index has of repositories that are not private.
    pub(super) fn copy_public(&self, from: &Self) -> sled::Result<()> {
        let private: HashSet<IVec> = from.private.scan(b"")?.into_iter().map(|(target, _)| target).collect();
        let target = |key: &IVec| IVec::from(key.split(|byte| *byte == 0).next().unwrap_or_default());
        for (to, from) in [
            (&self.tags, &from.tags),
            (&self.referrers, &from.referrers),
            (&self.links, &from.links),
            (&self.owned, &from.owned),
        ] {
            for (key, value) in from.scan(b"")?.into_iter().filter(|(key, _)| !private.contains(&target(key)))
            {
                to.insert(key, value)?;
            }
        }
        self.contents.copy(&from.contents)
    }

    /// The repositories that are private.
    pub(super) fn private(&self) -> sled::Result<Vec<Target>> {
        let read = |(key, _): &(IVec, IVec)| read_target(std::str::from_utf8(key).ok()?);
        Ok(self.private.scan(b"")?.iter().filter_map(read).collect())
    }

    /// Whether a repository is known to be private.
    pub(super) fn has_private(&self) -> sled::Result<bool> {
        Ok(!self.private.scan(b"")?.is_empty())
    }

    /// Bytes of all that the index holds.
    pub(super) fn bytes(&self) -> sled::Result<u64> {
        self.trees().into_iter().map(Tree::bytes).sum()
    }

    const fn trees(&self) -> [&Tree; 6] {
        [&self.tags, &self.referrers, &self.links, &self.owned, &self.contents, &self.private]
    }

    /// Writes everything to the disk.
    pub(super) fn flush(&self) -> sled::Result<()> {
        self.db.as_ref().map_or(Ok(()), |db| db.flush().map(drop))
    }

    /// What the tag of a [`tag_key`] means.
    pub(super) fn tag(&self, key: &[u8]) -> sled::Result<Option<TagEntry>> {
        Ok(self.tags.get(key)?.and_then(|value| read_tag(&value)))
    }

    pub(super) fn put_tag(&self, key: &[u8], entry: &TagEntry) -> sled::Result<()> {
        self.tags.insert(key, write_tag(entry))
    }

    /// Makes a tag one that must be asked for again.
    pub(super) fn expire_tag(&self, key: &[u8]) -> sled::Result<()> {
        match self.tag(key)? {
            Some(entry) => self.put_tag(key, &TagEntry { validated: Validation::Unknown, ..entry }),
            None => Ok(()),
        }
    }

    /// The tags of a repository, sorted.
    pub(super) fn tags(&self, target: &Target) -> sled::Result<Vec<Tag>> {
        let prefix = key(target, b"");
        let tag = |key: &[u8]| std::str::from_utf8(&key[prefix.len()..]).ok()?.parse().ok();
        Ok(self.tags.scan(&prefix)?.iter().filter_map(|(key, _)| tag(key)).collect())
    }

    /// All tags of all repositories.
    pub(super) fn all_tags(&self) -> sled::Result<Vec<(Target, Tag, TagEntry)>> {
        let read = |(key, value): &(sled::IVec, sled::IVec)| {
            let (target, tag) = std::str::from_utf8(key).ok()?.split_once('\0')?;
            Some((read_target(target)?, tag.parse().ok()?, read_tag(value)?))
        };
        Ok(self.tags.scan(b"")?.iter().filter_map(read).collect())
    }

    /// Whether it is known of any content that a registry gave it.
    pub(super) fn has_owned(&self) -> sled::Result<bool> {
        Ok(!self.owned.scan(b"")?.is_empty())
    }

    /// All contents that repositories have themselves, each with the repository.
    pub(super) fn all_owned(&self) -> sled::Result<Vec<(Target, Digest, Owned)>> {
        let read = |(key, value): &(sled::IVec, sled::IVec)| {
            let (target, digest) = read_link_key(key)?;
            Some((target, digest, Owned::read(value)))
        };
        Ok(self.owned.scan(b"")?.iter().filter_map(read).collect())
    }

    pub(super) fn forget_tag(&self, key: &[u8]) -> sled::Result<()> {
        self.tags.remove(key)
    }

    /// Links contents to a repository.
    pub(super) fn link(&self, target: &Target, contents: &[Digest], word: Word) -> sled::Result<()> {
        for digest in contents {
            let key = link_key(target, digest);
            let known = self.links.get(&key)?;
            // What is there already must not cost a log entry again.
            match word {
                Word::Registry => {
                    let mark = boot::mark(&key);
                    if known.as_deref() != Some(mark.as_slice()) {
                        self.links.insert(key, mark)?;
                    }
                }
                Word::Layout if known.is_none() => self.links.insert(key, &[])?,
                Word::Layout => {}
            }
        }
        Ok(())
    }

    /// Who says that the content of a [`link_key`] is linked to the repository; `None` where nobody does.
    pub(super) fn word(&self, key: &[u8]) -> sled::Result<Option<Word>> {
        let is_marked = |value: IVec| *value == *boot::mark(key);
        let word = |value| if is_marked(value) { Word::Registry } else { Word::Layout };
        Ok(self.links.get(key)?.map(word))
    }

    /// Whether the content of a [`link_key`] is linked to the repository.
    pub(super) fn is_linked(&self, key: &[u8]) -> sled::Result<bool> {
        self.links.contains(key)
    }

    /// Notes that a repository has a content, and how it came; a manifest with its media type.
    pub(super) fn own(
        &self,
        target: &Target,
        digest: &Digest,
        media_type: Option<&str>,
        by: By,
        word: Word,
    ) -> sled::Result<()> {
        let key = link_key(target, digest);
        let known = self.owned(&key)?;
        let mut new = Owned { media_type: media_type.map(Into::into), by };
        if let Some(known) = &known {
            new.media_type = new.media_type.or_else(|| known.media_type.clone());
            if known.by == By::Registry {
                new.by = By::Registry;
            }
        }
        // What is there already must not cost a log entry again.
        if known.as_ref() != Some(&new) {
            self.owned.insert(key, new.write())?;
        }
        self.link(target, std::slice::from_ref(digest), word)
    }

    /// How the repository has the content of a [`link_key`]; `None` where that is only named, or not even that.
    pub(super) fn owned(&self, key: &[u8]) -> sled::Result<Option<Owned>> {
        Ok(self.owned.get(key)?.map(|value| Owned::read(&value)))
    }

    /// What is linked to a repository.
    pub(super) fn linked(&self, target: &Target) -> sled::Result<Vec<Digest>> {
        let prefix = key(target, b"");
        let links = self.links.scan(&prefix)?;
        Ok(links.iter().filter_map(|(key, _)| read_digest(&key[prefix.len()..])).collect())
    }

    /// All repositories that a content is linked to.
    pub(super) fn targets(&self, digest: &Digest) -> sled::Result<Vec<Target>> {
        let suffix = digest_key(digest);
        let target = |key: &[u8]| {
            let target = key.strip_suffix(suffix.as_slice())?.strip_suffix(b"\0")?;
            read_target(std::str::from_utf8(target).ok()?)
        };
        Ok(self.links.scan(b"")?.iter().filter_map(|(key, _)| target(key)).collect())
    }

    pub(super) fn mark(&self, target: &Target, private: bool) -> sled::Result<()> {
        let name = target.to_string();
        if private { self.private.insert(name.as_bytes(), &[]) } else { self.private.remove(name.as_bytes()) }
    }

    pub(super) fn is_private(&self, target: &Target) -> sled::Result<bool> {
        self.private.contains(target.to_string().as_bytes())
    }

    pub(super) fn last_use(&self, digest: &Digest) -> sled::Result<Option<SystemTime>> {
        let since = self.contents.get(&digest_key(digest))?.and_then(|value| read_number(&value));
        Ok(since.and_then(|since| SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(since))))
    }

    /// Writes last uses, and everything else, to the disk.
    pub(super) fn put_last_uses(&self, used: &HashMap<Digest, SystemTime>) -> sled::Result<()> {
        for (digest, at) in used {
            let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            // 2^64 milliseconds are longer than any clock's time.
            self.contents.insert(digest_key(digest), &(since.as_millis() as u64).to_be_bytes())?;
        }
        self.flush()
    }

    /// Forgets an image, and what it alone has named: these contents, which are not here.
    pub(super) fn forget_image(&self, entry: &Entry, named: &[Digest]) -> sled::Result<()> {
        if let Some(tag) = &entry.tag {
            self.tags.remove(tag_key(&entry.target, tag))?;
        }
        if let Some(subject) = &entry.subject {
            self.referrers.remove(link_key(&entry.target, subject))?;
        }
        for digest in named {
            self.links.remove(link_key(&entry.target, digest))?;
        }
        Ok(())
    }

    /// Forgets contents that are gone, in all repositories.
    pub(super) fn forget_contents(&self, gone: &HashSet<Digest>) -> sled::Result<()> {
        for digest in gone {
            self.contents.remove(digest_key(digest))?;
        }
        for tree in [&self.links, &self.owned] {
            forget(tree, |digest| gone.contains(digest))?;
        }
        Ok(())
    }

    /// Forgets that registries gave what is not `here`: whoever wrote that, it must not go for what comes later.
    pub(super) fn keep_owned(&self, here: &HashSet<Digest>) -> sled::Result<()> {
        forget(&self.owned, |digest| !here.contains(digest))
    }

    /// Forgets the names of contents that registries did not give: a kill leaves some of images that are gone, for good.
    pub(super) fn keep_links_of_owned(&self) -> sled::Result<()> {
        let mut links = Vec::new();
        self.links.each(|key, _| {
            if !self.owned.contains(&key)? {
                links.push(key);
            }
            Ok(())
        })?;
        links.into_iter().try_for_each(|link| self.links.remove(link))
    }
}

/// Takes the [`link_key`]s of some digests out of a tree.
fn forget(tree: &Tree, is_gone: impl Fn(&Digest) -> bool) -> sled::Result<()> {
    let mut links = Vec::new();
    tree.each(|key, _| {
        if split_link_key(&key).is_some_and(|(_, digest)| is_gone(&digest)) {
            links.push(key);
        }
        Ok(())
    })?;
    links.into_iter().try_for_each(|link| tree.remove(link))
}

/// Waits until sled may lock its file, which it does not wait for: its own threads may have the file for a moment longer than
/// the last handle that it gave out.
fn wait_for_lock(file: &Path, at_most: Duration) {
    let begun = Instant::now();
    // One that is not there is not locked.
    while File::open(file).is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
        && begun.elapsed() < at_most
    {
        thread::sleep(Duration::from_millis(1));
    }
}

fn config() -> sled::Config {
    sled::Config::new().cache_capacity(16 << 20).flush_every_ms(Some(1000)).mode(sled::Mode::LowSpace)
}

pub(super) fn tag_key(target: &Target, tag: &Tag) -> Vec<u8> {
    key(target, tag.as_str().as_bytes())
}

pub(super) fn link_key(target: &Target, digest: &Digest) -> Vec<u8> {
    key(target, &digest_key(digest))
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
        Algorithm::Sha384 => 3,
    }];
    key.extend_from_slice(digest.hash());
    key
}

fn write_tag(entry: &TagEntry) -> Vec<u8> {
    let seconds = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let (boot, up) = match entry.validated {
        Validation::Here(moment) => (boot::id(), moment.up.as_secs()),
        Validation::Elsewhere(_) | Validation::Unknown => ("", 0),
    };
    let stored = StoredTag {
        descriptor: Descriptor::clone(&entry.descriptor),
        validated_at: entry.validated.time().map_or(0, seconds),
        boot: boot.to_owned(),
        up,
    };
    serde_json::to_vec(&stored).unwrap_or_default()
}

fn read_tag(value: &[u8]) -> Option<TagEntry> {
    let stored: StoredTag = serde_json::from_slice(value).ok()?;
    let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(stored.validated_at));
    let validated = match at {
        None | Some(SystemTime::UNIX_EPOCH) => Validation::Unknown,
        Some(at) if stored.boot == boot::id() => {
            Validation::Here(Moment { at, up: Duration::from_secs(stored.up) })
        }
        Some(at) => Validation::Elsewhere(at),
    };
    Some(TagEntry { descriptor: Arc::new(stored.descriptor), validated })
}

fn read_number(value: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(value.try_into().ok()?))
}

fn read_target(text: &str) -> Option<Target> {
    let (registry, repository) = text.split_once('/')?;
    Some(Target { registry: registry.parse().ok()?, repository: repository.parse().ok()? })
}

/// What a [`link_key`] is of.
fn read_link_key(key: &[u8]) -> Option<(Target, Digest)> {
    let (target, digest) = split_link_key(key)?;
    Some((read_target(std::str::from_utf8(target).ok()?)?, digest))
}

/// The target's text, and the digest. NUL is in no name, but it may be in a digest.
fn split_link_key(key: &[u8]) -> Option<(&[u8], Digest)> {
    let end = key.iter().position(|byte| *byte == 0)?;
    Some((&key[..end], read_digest(&key[end + 1..])?))
}

fn read_digest(key: &[u8]) -> Option<Digest> {
    let (algorithm, hash) = key.split_first()?;
    let algorithm = match algorithm {
        1 => Algorithm::Sha256,
        2 => Algorithm::Sha512,
        3 => Algorithm::Sha384,
        _ => return None,
    };
    Digest::from_hash(algorithm, hash)
}
