//! Eviction: what goes when room is needed, or when a command asks for it. Below ingests, which reserve their room here.

pub(crate) mod limits;
pub(crate) mod plan;
pub(crate) mod reservation;
mod survey;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use fs_err as fs;
use hubcap_oci::{Digest, Pattern, Target};

use crate::catalog::Catalog;
use crate::error::Error;
use crate::layout::image_index::{Entry, ImageIndex};
use crate::mutex::lock;
use limits::{Disk, Limits};
use plan::{Policy, Reason, Removal, Survey, UnneededPolicy, plan};

/// With so many images, and contents that no image needs, or more, this part of the store is freed beyond what is needed.
const MANY: usize = 100;
const SPARE: u64 = 50;

/// What is asked to be removed. What is in quarantine goes in any case.
#[derive(Debug, Clone, Copy)]
pub enum Wanted {
    /// Whatever is over the limits, and what no image needs.
    Limits,
    /// Everything private.
    Private,
    /// All that is not worth carrying to another machine.
    Prune(Prune),
}

/// What to keep of a store that is carried on. What no image needs goes in any case; so does, last of all, what is over
/// [`Limits::max_size`], the least recently used first. Pinned images stay.
#[derive(Debug, Clone, Copy, Default)]
pub struct Prune {
    /// Only what was used since then.
    ///
    /// A manifest that was asked for keeps all that it needs, whether that was asked for or not. An index keeps those of
    /// its manifests that were asked for; when none was (a client that had it all asks for no more than the tag), it
    /// keeps what is here.
    pub used_since: Option<SystemTime>,
    /// Also what registries give only to a login.
    pub keep_private: bool,
}

/// How many bytes an image takes beside its contents at most, as far as that is counted: what `index.json` and the index have of it.
const MAX_ENTRY: u64 = 4096;
/// How often others are tried in the place of files that cannot be removed, for one ingest.
const TRIES: u32 = 3;

/// How room is made: by what nothing was used of for longest.
const ROOM: Policy =
    Policy { unneeded: UnneededPolicy::InTurn, remove_private: false, used_since: None, bytes: 0, entry: 0 };

/// Room that was made, in bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Room {
    /// All of it.
    reserved: u64,
    /// What of it is not taken from the disk yet: the disk still calls it free.
    untaken: u64,
}

/// Keeps the store within its limits.
#[derive(Debug)]
pub(crate) struct Evictor {
    catalog: Arc<Catalog>,
    limits: Limits,
    pins: Vec<Pattern>,
    /// For which room was made, for ingests.
    room: Mutex<Room>,
    /// Bytes that ingests will have, as far as that was told.
    promised: Mutex<u64>,
    /// Held by who makes room: what one has made must not be taken by others who have found the same missing.
    making_room: Mutex<()>,
    /// How many ingests write each content now.
    in_flight: Mutex<HashMap<Digest, u32>>,
}

impl Evictor {
    /// `pins` are images that are never removed to make room.
    pub(crate) fn new(catalog: Arc<Catalog>, limits: Limits, pins: Vec<Pattern>) -> Self {
        Self {
            catalog,
            limits,
            pins,
            room: Mutex::default(),
            promised: Mutex::default(),
            making_room: Mutex::default(),
            in_flight: Mutex::default(),
        }
    }

    /// What would be removed, in that order, and why. Nothing is changed.
    pub(crate) fn plan(&self, wanted: Wanted) -> Result<Vec<Removal>, Error> {
        let survey = self.survey(&lock(&self.catalog.images));
        let policy = self.policy(wanted, &survey)?;
        Ok(plan(survey, policy))
    }

    /// Removes what [`plan`](Self::plan) says, and returns it.
    pub(crate) fn evict(&self, wanted: Wanted) -> Result<Vec<Removal>, Error> {
        // Held to the end: an image that is stored meanwhile would count on contents that go.
        let mut images = lock(&self.catalog.images);
        // Somebody may have changed modes while the store was open, and what is carried follows them.
        self.catalog.index.put_marks_right(&images);
        let survey = self.survey(&images);
        let policy = self.policy(wanted, &survey)?;
        let mut removals = plan(survey, policy);
        let private = removals.iter().filter(|removal| removal.reason == Reason::Private);
        let private: Vec<Digest> = private.flat_map(|removal| &removal.contents).copied().collect();
        self.remove(&mut images, &mut removals);
        if policy.remove_private {
            self.catalog.layout.clear_foreign();
            self.catalog.index.forget_private()?;
            let layout = &self.catalog.layout;
            layout.retry_index()?;
            // Modes do not say of all that it is private: another user's file, or another file system, may not take them.
            if layout.has_private() || private.iter().any(|digest| layout.size_of(digest).is_some()) {
                let why = "not all is removed of which it is not known that anybody may have it";
                return Err(std::io::Error::other(why).into());
            }
        }
        if matches!(wanted, Wanted::Prune(_)) {
            // A corrupt index that was kept for a look is not worth carrying either.
            let _ = fs::remove_dir_all(self.catalog.layout.corrupt_sled());
        }
        Ok(removals)
    }

    /// The names of the images of which something was used since then, as [`Prune::used_since`] counts that.
    pub(crate) fn used_since(&self, since: SystemTime) -> HashSet<String> {
        let images = self.survey(&lock(&self.catalog.images)).images;
        images.iter().filter(|image| image.used >= since).map(|image| image.entry.name()).collect()
    }

    fn policy(&self, wanted: Wanted, survey: &Survey) -> Result<Policy, Error> {
        let nothing = Policy { unneeded: UnneededPolicy::Keep, entry: self.entry(survey), ..ROOM };
        let excess = self.excess(*lock(&self.room), 0)?;
        Ok(match wanted {
            Wanted::Limits => Policy { unneeded: UnneededPolicy::First, bytes: excess, ..nothing },
            Wanted::Private => Policy { remove_private: true, ..nothing },
            Wanted::Prune(Prune { used_since, keep_private }) => Policy {
                unneeded: UnneededPolicy::First,
                remove_private: !keep_private,
                used_since,
                bytes: excess,
                ..nothing
            },
        })
    }

    fn survey(&self, images: &ImageIndex) -> Survey {
        let in_flight = lock(&self.in_flight).keys().copied().collect();
        Survey::of(&self.catalog, images, &self.pins, in_flight)
    }

    /// Promises that `bytes` more will fit, if what may go does.
    fn promise(&self, bytes: u64) -> Result<(), Error> {
        let mut promised = lock(&self.promised);
        let all = promised.saturating_add(bytes);
        if self.limits != Limits::default() && bytes > 0 && !self.would_fit(all)? {
            self.tidy();
            if !self.would_fit(all)? {
                return Err(Error::NoRoom { wanted: bytes });
            }
        }
        *promised = all;
        Ok(())
    }

    /// Whether so many bytes would fit, if what may go does.
    fn would_fit(&self, bytes: u64) -> Result<bool, Error> {
        let Disk { size, free } = self.disk()?;
        let Room { reserved, untaken } = *lock(&self.room);
        // What is taken of it already is not free.
        let disk = Disk { size, free: free.saturating_add(reserved.saturating_sub(untaken)) };
        let missing = self.limits.excess(disk, self.stored(), bytes);
        Ok(missing == 0 || self.evictable(missing)? >= missing)
    }

    /// How many bytes would go for so many, if they can be freed; else fewer.
    fn evictable(&self, bytes: u64) -> Result<u64, Error> {
        let survey = self.survey(&lock(&self.catalog.images));
        let entry = self.entry(&survey);
        // Not even without all of it.
        if survey.size(entry) < bytes {
            return Ok(0);
        }
        Ok(plan(survey, Policy { bytes, entry, ..ROOM }).iter().map(|removal| removal.weight(entry)).sum())
    }

    /// How many bytes an image takes beside its contents.
    fn entry(&self, survey: &Survey) -> u64 {
        let indexes = self.catalog.layout.size_of_indexes();
        indexes.checked_div(survey.images.len() as u64).unwrap_or(0).min(MAX_ENTRY)
    }

    /// Finds out what is here, and frees what nobody misses.
    fn tidy(&self) {
        // Somebody else may have changed or removed contents: nothing goes for bytes that are not here.
        self.catalog.count_anew();
        // An index that was found corrupt is for a look, as long as there is room for it.
        let _ = fs::remove_dir_all(self.catalog.layout.corrupt_sled());
        self.catalog.index.compact();
    }

    /// Reserves `bytes` more, for which room is made where that is needed and possible.
    fn reserve(&self, bytes: u64) -> Result<(), Error> {
        if self.reserve_free(bytes)? == 0 {
            return Ok(());
        }
        let _one_at_a_time = lock(&self.making_room);
        let mut tries = TRIES;
        loop {
            self.tidy();
            // Others may have made room meanwhile, or taken what was made.
            let missing = self.reserve_free(bytes)?;
            if missing == 0 {
                return Ok(());
            }
            match self.make_room(missing) {
                Some(0) if tries > 0 => tries -= 1,
                None | Some(0) => return Err(Error::NoRoom { wanted: bytes }),
                Some(_) => {}
            }
        }
    }

    /// Reserves `bytes` more where there is room for them; else returns how many bytes are missing.
    fn reserve_free(&self, bytes: u64) -> Result<u64, Error> {
        let mut room = lock(&self.room);
        let missing = if self.limits == Limits::default() { 0 } else { self.excess(*room, bytes)? };
        if missing == 0 {
            room.reserved = room.reserved.saturating_add(bytes);
            room.untaken = room.untaken.saturating_add(bytes);
        }
        Ok(missing)
    }

    /// Makes the store as small as its limits say, as far as that is possible.
    pub(crate) fn keep_limits(&self) -> Result<(), Error> {
        match self.reserve(0) {
            Err(Error::NoRoom { .. }) => Ok(()),
            kept => kept,
        }
    }

    /// The same where the store itself has become too large: names, and what the index has of them, come without a reservation.
    pub(crate) fn keep_size(&self) -> Result<(), Error> {
        let own = Limits { min_free: None, ..self.limits };
        if own.excess(self.disk()?, self.stored(), 0) > 0 { self.keep_limits() } else { Ok(()) }
    }

    /// Frees at least `bytes`, as far as the disk lets it, and returns how many; `None` where there are not so many, and nothing goes
    /// in vain. Each time everything in the store is looked at, so of many some more go at once.
    fn make_room(&self, bytes: u64) -> Option<u64> {
        let mut images = lock(&self.catalog.images);
        let survey = self.survey(&images);
        let are_many = survey.images.len() + survey.unneeded.len() >= MANY;
        let entry = self.entry(&survey);
        let spare = if are_many { survey.size(entry) / SPARE } else { 0 };
        let policy = Policy { bytes: bytes + spare, entry, ..ROOM };
        let mut removals = plan(survey, policy);
        let weight = |removals: &[Removal]| removals.iter().map(|removal| removal.weight(entry)).sum::<u64>();
        if weight(&removals) < bytes {
            return None;
        }
        self.remove(&mut images, &mut removals);
        drop(images);
        for Removal { name, bytes, reason, .. } in &removals {
            tracing::info!(target: "hubcap::gc", bytes, "removed {name}: {reason}");
        }
        Some(weight(&removals))
    }

    /// How many bytes something may have that is here for a while: as many as the store, and what others need not have free.
    pub(crate) fn room(&self) -> Result<u64, Error> {
        Ok(self.limits.most(self.disk()?, self.catalog.size()))
    }

    /// Whether something has to go before `bytes` more fit.
    pub(crate) fn is_full_for(&self, bytes: u64) -> Result<bool, Error> {
        Ok(self.excess(*lock(&self.room), bytes)? > 0)
    }

    fn disk(&self) -> Result<Disk, Error> {
        let disk = rustix::fs::statvfs(self.catalog.layout.root()).map_err(std::io::Error::from)?;
        Ok(Disk { size: disk.f_blocks * disk.f_frsize, free: disk.f_bavail * disk.f_frsize })
    }

    /// How many bytes have to go before `more` fit, where there is to be `room` already.
    fn excess(&self, room: Room, more: u64) -> Result<u64, Error> {
        let Disk { size, free } = self.disk()?;
        let disk = Disk { size, free: free.saturating_sub(room.untaken) };
        Ok(self.limits.excess(disk, self.stored().saturating_add(room.reserved), more))
    }

    /// What counts in the largest size, where there is one: counting that reads the whole store the first time.
    fn stored(&self) -> u64 {
        self.limits.max_size.map_or(0, |_| self.catalog.size() + self.catalog.layout.size_of_indexes())
    }

    /// Removes, and puts right how many bytes that frees: a file may stay where the disk fails. Those of which nothing goes are none.
    ///
    /// Entries first: a kill in between leaves contents that nothing needs, not an image without its contents.
    fn remove(&self, images: &mut ImageIndex, removals: &mut Vec<Removal>) {
        let Catalog { layout, index, .. } = &*self.catalog;
        let entries: Vec<&Entry> = removals.iter().filter_map(|removal| removal.entry.as_ref()).collect();
        if !entries.is_empty() {
            let mut left = images.clone();
            left.remove(&entries);
            // Where a full disk does not take it, what goes makes room for it.
            layout.keep_index(&left);
            *images = left;
        }
        // Read before they go.
        let named: Vec<HashSet<Digest>> = entries.iter().map(|entry| layout.named_by(entry)).collect();
        let mut freed = Vec::new();
        let mut gone: HashSet<Digest> = HashSet::new();
        for removal in removals.iter() {
            let of_contents = removal.contents.iter().map(|digest| self.catalog.remove(digest)).sum::<u64>();
            let is_damaged = removal.reason == Reason::Damaged;
            let quarantined = is_damaged.then(|| layout.quarantine().join(&removal.name));
            freed.push(of_contents + quarantined.map_or(0, |path| self.catalog.remove_file(&path)));
            gone.extend(removal.contents.iter().filter(|digest| !self.catalog.has(digest)));
        }
        if !gone.is_empty() {
            index.forget_contents(&gone);
        }
        self.forget_images(images, entries.into_iter().zip(named));
        for (removal, freed) in removals.iter_mut().zip(freed) {
            removal.bytes = freed;
        }
        removals.retain(|removal| removal.bytes > 0 || removal.entry.is_some());
    }

    /// Forgets images, and what no image of their repositories names any more: it was perhaps never here.
    fn forget_images<'a>(&self, left: &ImageIndex, gone: impl Iterator<Item = (&'a Entry, HashSet<Digest>)>) {
        let Catalog { layout, index, .. } = &*self.catalog;
        let mut kept: HashMap<&Target, HashSet<Digest>> = HashMap::new();
        for (entry, named) in gone {
            let kept = kept.entry(&entry.target).or_insert_with(|| {
                let others = left.entries().filter(|other| other.target == entry.target);
                others.flat_map(|other| layout.named_by(&other)).collect()
            });
            let alone =
                named.into_iter().filter(|digest| !kept.contains(digest) && !self.catalog.has(digest));
            index.forget_image(entry, &alone.collect::<Vec<_>>());
        }
    }
}
