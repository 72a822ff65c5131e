//! A pack that is to be saved: the directory, and the contents that no older pack has. It is no file: its bytes are read from
//! the store's own files when they are sent.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use hubcap_oci::{Algorithm, Digest, Link, Verifier};

use super::directory::{
    Carried, Directory, MAX_PACKS, MAX_SLOTS, Pack, Place, Written, WrittenContent, WrittenSlot,
};
use super::{LARGE, MAGIC, MAX_LENGTH, PREFIX};
use crate::catalog::Catalog;
use crate::error::Error;
use crate::layout::Layout;
use crate::layout::image_index::{Entry, ImageIndex};
use crate::mutex::lock;
use crate::store::Store;

/// What is smaller is in the head: to ask for it by itself would cost more than to read it.
const SMALL: u64 = 64 << 10;
/// Images that nobody has used for so long are left out. GitHub's service keeps no entry longer that nobody reads.
const MAX_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
/// A directory whose contents were used again is another one after so long, so that it tells that.
const NEWS: u64 = 2 * 24 * 3600;
/// What is hashed for a key begins with this.
const FORM: &str = "hubcap-pack-1\n";
/// Letters of the key: 128 bits.
const KEY_LENGTH: usize = 32;

/// What a new pack builds on.
#[derive(Debug, Default)]
pub struct Saving<'a> {
    /// What the service has already, as far as that is known.
    pub directory: Option<&'a Directory>,
    /// Large contents that the service got from this process, or has besides, each with its slot.
    pub entries: HashMap<Digest, u32>,
    /// Contents that the service should have had and did not.
    pub lost: HashSet<Digest>,
    /// Contents whose upload this process did not complete, with the first slot that is still free.
    pub slots: HashMap<Digest, u32>,
}

impl Saving<'_> {
    /// The first free slot of each content that has no entry, as far as a slot was lost.
    fn slots(&self, named: &BTreeMap<Digest, Named>) -> BTreeMap<Digest, u32> {
        let mut slots = self.directory.map(|directory| directory.slots.clone()).unwrap_or_default();
        for (digest, slot) in &self.slots {
            let known = slots.entry(*digest).or_default();
            *known = (*known).max(*slot);
        }
        slots.retain(|digest, _| !named.contains_key(digest));
        slots.into_iter().take(MAX_SLOTS).collect()
    }
}

/// A pack that is to be saved.
#[derive(Debug, Clone)]
pub struct NewPack {
    key: String,
    is_empty: bool,
    /// Everything before the contents.
    directory: Bytes,
    /// Contents by where they begin.
    contents: BTreeMap<u64, (Digest, u64)>,
    size: u64,
    layout: Layout,
}

impl NewPack {
    /// The key of what it names: lowercase hexadecimal. The same images at about the same time have the same one.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Whether it names no content at all.
    pub const fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// Its length in bytes.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Some of its bytes.
    ///
    /// # Errors
    /// When a content is no longer in the store.
    pub fn read(&self, range: Range<u64>) -> std::io::Result<Bytes> {
        let range = range.start..range.end.min(self.size);
        let mut bytes =
            BytesMut::with_capacity(usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(0));
        let before = self.directory.len() as u64;
        if range.start < before {
            // Within the directory, so the casts cannot cut.
            bytes.extend_from_slice(&self.directory[range.start as usize..range.end.min(before) as usize]);
        }
        let first = self.contents.range(..=range.start).next_back().map_or(range.start, |(at, _)| *at);
        for (at, (digest, size)) in self.contents.range(first..range.end) {
            let (from, to) = (range.start.max(*at), range.end.min(at + size));
            if from >= to {
                continue;
            }
            let begin = bytes.len();
            // What is asked for fits into memory.
            bytes.resize(begin + (to - from) as usize, 0);
            self.layout.read_at(digest, &mut bytes[begin..], from - at)?;
        }
        Ok(bytes.freeze())
    }
}

/// A content that a pack names.
#[derive(Debug, Clone, Copy)]
struct Named {
    size: u64,
    used: u64,
    /// `None` for what is to be in this pack.
    place: Option<Place>,
    is_in_head: bool,
}

impl Store {
    /// A pack of everything public that is here or that the service has already, without what nobody has used for a week.
    /// Large contents of which no entry is known are left out.
    ///
    /// # Errors
    /// [`Error::Io`] when the store cannot be read.
    pub fn pack(&self, saving: &Saving<'_>) -> Result<NewPack, Error> {
        let images = lock(&self.catalog().images).clone();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let packer = Packer { store: self, saving, now };
        let public = images.entries().filter(|entry| !entry.private && !self.is_private(&entry.target));
        let mut packed: Vec<Packed> = public.filter_map(|entry| packer.image(entry)).collect();
        packed.retain(|image| image.used + MAX_AGE.as_secs() >= now);
        packed.sort_by_key(|image| std::cmp::Reverse(image.used));
        let (mut kept, mut named, mut head) = (Vec::new(), BTreeMap::new(), 0);
        for Packed { entry, contents, .. } in packed {
            let new = contents.iter().filter(|(digest, one)| one.is_in_head && !named.contains_key(*digest));
            head += new.map(|(_, one)| one.size).sum::<u64>();
            if head > MAX_LENGTH {
                break;
            }
            kept.push(entry);
            named.extend(contents);
        }
        let mut images = ImageIndex::default();
        images.extend(&kept);
        self.write_pack(saving, images, &named)
    }

    fn write_pack(
        &self,
        saving: &Saving<'_>,
        images: ImageIndex,
        named: &BTreeMap<Digest, Named>,
    ) -> Result<NewPack, Error> {
        let slots = saving.slots(named);
        let key = key(&images, named, &slots);
        let (mut at, mut head) = (0, 0);
        let mut places = HashMap::new();
        for is_in_head in [true, false] {
            for (digest, one) in
                named.iter().filter(|(_, one)| one.place.is_none() && one.is_in_head == is_in_head)
            {
                places.insert(*digest, at);
                at += one.size;
            }
            if is_in_head {
                head = at;
            }
        }
        let written = |(digest, one): (&Digest, &Named)| {
            let Named { size, used, place, .. } = *one;
            let (slot, at, pack) = match place {
                None => (None, places.get(digest).copied(), None),
                Some(Place::Entry { slot }) => (Some(slot), None, None),
                Some(Place::Pack { pack, at }) => (None, Some(at), Some(pack)),
            };
            WrittenContent { digest: *digest, size, used, slot, at, pack }
        };
        let packs = saving.directory.map_or_else(Vec::new, |directory| directory.packs.clone());
        let packs: Vec<Pack> = packs.into_iter().take(MAX_PACKS - 1).collect();
        let contents = named.iter().map(written).collect();
        let slots = slots.into_iter().map(|(digest, slot)| WrittenSlot { digest, slot }).collect();
        let json =
            serde_json::to_vec(&Written { packs, images, contents, slots }).map_err(std::io::Error::from)?;
        let mut directory = Vec::from(*MAGIC);
        directory.extend_from_slice(&(json.len() as u64).to_be_bytes());
        directory.extend_from_slice(&head.to_be_bytes());
        directory.extend_from_slice(&json);
        let begin = PREFIX + json.len() as u64;
        let contents = places.iter().map(|(digest, at)| (begin + at, (*digest, named[digest].size)));
        let contents = contents.filter(|(_, (_, size))| *size > 0).collect();
        let (directory, size) = (directory.into(), begin + at);
        Ok(NewPack {
            key,
            is_empty: named.is_empty(),
            directory,
            contents,
            size,
            layout: self.catalog().layout.clone(),
        })
    }
}

/// An image, with what it consists of as far as the service has it or will have it.
struct Packed {
    entry: Entry,
    contents: HashMap<Digest, Named>,
    used: u64,
}

struct Packer<'a> {
    store: &'a Store,
    saving: &'a Saving<'a>,
    /// Seconds since the epoch.
    now: u64,
}

impl Packer<'_> {
    /// An image whose manifest is here.
    fn image(&self, entry: Entry) -> Option<Packed> {
        let graph = self.store.catalog().layout.graph(&Link::from(&entry.descriptor));
        let manifests: HashSet<Digest> =
            graph.manifests().map(|one| one.digest).chain(entry.wrapper).collect();
        let blobs = graph.contents().map(|one| one.digest).filter(|one| !manifests.contains(one));
        let blobs = blobs.filter_map(|digest| Some((digest, self.blob(&digest)?)));
        let manifests = manifests.iter().filter_map(|digest| Some((*digest, self.manifest(digest)?)));
        let contents: HashMap<Digest, Named> = blobs.chain(manifests).collect();
        let used = contents.values().map(|one| one.used).max()?;
        contents.contains_key(&entry.descriptor.digest).then_some(Packed { entry, contents, used })
    }

    /// A manifest is in the head of each pack, since no job can answer without it.
    fn manifest(&self, digest: &Digest) -> Option<Named> {
        let size = self.here(digest)?;
        Some(Named { size, used: self.used(digest), place: None, is_in_head: true })
    }

    fn blob(&self, digest: &Digest) -> Option<Named> {
        let used = self.used(digest);
        let carried = self.carried(digest);
        let here = self.here(digest);
        let (size, place) = match (carried, here) {
            // Restored with each head, so it is in the next one too.
            (_, Some(size)) if size <= SMALL => (size, None),
            (Some(Carried { size, place, .. }), _) => (size, Some(place)),
            (None, Some(size)) if size >= LARGE => {
                let slot = *self.saving.entries.get(digest)?;
                (size, Some(Place::Entry { slot }))
            }
            (None, Some(size)) => (size, None),
            (None, None) => return None,
        };
        Some(Named { size, used, place, is_in_head: place.is_none() && size <= SMALL })
    }

    /// The length of a content that is here and that anybody may have.
    fn here(&self, digest: &Digest) -> Option<u64> {
        let Catalog { layout, index, .. } = self.store.catalog();
        layout.size_of(digest).filter(|_| index.is_everybodys(digest))
    }

    /// Where the service has it, unless that is in a pack that is too old to be named, or in this place no longer.
    fn carried(&self, digest: &Digest) -> Option<Carried> {
        let carried = *self.saving.directory?.contents.get(digest)?;
        let is_named = !matches!(carried.place, Place::Pack { pack, .. } if pack >= MAX_PACKS - 1);
        (is_named && !self.saving.lost.contains(digest)).then_some(carried)
    }

    /// When a content was last used, here or before, in seconds since the epoch.
    fn used(&self, digest: &Digest) -> u64 {
        let here = self.store.catalog().index.last_use(digest);
        let here =
            here.and_then(|used| used.duration_since(SystemTime::UNIX_EPOCH).ok()).map(|used| used.as_secs());
        let before =
            self.saving.directory.and_then(|directory| directory.contents.get(digest)).map(|one| one.used);
        // A time of the future is none: a forged one would keep its image for ever.
        here.max(before).filter(|used| *used <= self.now).unwrap_or(0)
    }
}

fn key(images: &ImageIndex, named: &BTreeMap<Digest, Named>, slots: &BTreeMap<Digest, u32>) -> String {
    let mut names: Vec<String> =
        images.entries().map(|entry| format!("{} {}\n", entry.name(), entry.descriptor.digest)).collect();
    names.sort_unstable();
    let mut hash = Verifier::new(Algorithm::Sha256);
    hash.update(FORM.as_bytes());
    for name in names {
        hash.update(name.as_bytes());
    }
    for (digest, one) in named {
        hash.update(format!("{digest} {}\n", one.used / NEWS).as_bytes());
    }
    for (digest, slot) in slots {
        hash.update(format!("{digest} slot {slot}\n").as_bytes());
    }
    let mut key = hash.finish().hex();
    key.truncate(KEY_LENGTH);
    key
}
