//! The memory budget for documents: manifests and lists are held as a whole, and many may come at once.
//!
//! A document of up to [`SMALL_DOCUMENT`] bytes, which is nearly every one, needs no room. A longer one waits for room for all of it
//! before it is read, so that none waits with half of its bytes in memory. It gives the room back when the last one who has
//! its bytes lets go of them.
//!
//! Documents of one registry that come slowly, or whose clients read slowly, must not hold all of it. Therefore a registry gets
//! more only while as much is free as it has then: alone it gets half. Room that becomes free goes to the registry that has the
//! least, and there to the document that waits longest.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::error::Error;

/// The longest document that needs no room, in bytes.
pub const SMALL_DOCUMENT: usize = 64 << 10;
/// What all others may take together, in KiB.
const ALL: usize = 64 << 10;
/// How long one waits for room: an answer must begin within a minute.
pub(crate) const PATIENCE: Duration = Duration::from_secs(45);
/// The same for the next page of a list, whose first ones have room that others wait for: several lists must not wait for each
/// other.
pub(crate) const PATIENCE_OF_PAGE: Duration = Duration::from_secs(2);

static SHARES: Shares = Shares(Mutex::new(State { taken: 0, registries: BTreeMap::new() }));

/// Room for one document.
#[derive(Debug)]
pub struct Room {
    shares: &'static Shares,
    registry: String,
    /// In KiB.
    kib: usize,
}

impl Room {
    /// Waits up to `patience` for room for a document of `bytes` bytes of a registry.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when there is none until then.
    pub(crate) async fn take(registry: &str, bytes: usize, patience: Duration) -> Result<Self, Error> {
        let room = timeout(patience, SHARES.take(registry, bytes)).await;
        room.ok().flatten().ok_or_else(|| {
            Error::unavailable(
                "the memory for manifests and lists is in use; slow clients, or many large ones, hold it",
            )
        })
    }

    /// The bytes of the document, which keep what they need of the room.
    pub fn hold(mut self, bytes: Bytes) -> Bytes {
        let spare = self.kib.saturating_sub(kib(bytes.len()));
        self.kib -= spare;
        drop(Self { shares: self.shares, registry: self.registry.clone(), kib: spare });
        Bytes::from_owner(Held { bytes, _room: self })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut state = self.shares.state();
        state.taken -= self.kib;
        if let Some(share) = state.registries.get_mut(&self.registry) {
            share.taken -= self.kib;
        }
        drop(state);
        self.shares.give();
    }
}

/// The same bytes of a page of a registry's list, with room for them, unless they have some.
///
/// # Errors
/// As [`Room::take`].
pub(crate) async fn hold(registry: &str, bytes: Bytes) -> Result<Bytes, Error> {
    // A longer one has taken its room before it was read.
    if bytes.is_empty() || bytes.len() > SMALL_DOCUMENT {
        return Ok(bytes);
    }
    Ok(Room::take(registry, bytes.len(), PATIENCE_OF_PAGE).await?.hold(bytes))
}

/// Room for a document of a registry that is kept, which is read when it is here. `None` where it needs none.
///
/// # Errors
/// [`Error::Unavailable`] when there is none within 45 s.
pub async fn room_for_kept(registry: &str, bytes: u64) -> Result<Option<Room>, Error> {
    // What is kept fits into memory.
    let bytes = bytes as usize;
    if bytes <= SMALL_DOCUMENT { Ok(None) } else { Room::take(registry, bytes, PATIENCE).await.map(Some) }
}

fn kib(bytes: usize) -> usize {
    bytes.div_ceil(1024)
}

/// What is taken of the budget, and who waits.
#[derive(Debug)]
struct Shares(Mutex<State>);

#[derive(Debug)]
struct State {
    /// In KiB, as everything here.
    taken: usize,
    registries: BTreeMap<String, Share>,
}

/// One registry's.
#[derive(Debug, Default)]
struct Share {
    taken: usize,
    /// Documents that wait, with what they need.
    waiting: VecDeque<(usize, oneshot::Sender<Room>)>,
}

impl Shares {
    async fn take(&'static self, registry: &str, bytes: usize) -> Option<Room> {
        let (sender, turn) = oneshot::channel();
        {
            let mut state = self.state();
            let share = state.registries.entry(registry.to_owned()).or_default();
            share.waiting.push_back((kib(bytes).min(ALL), sender));
        }
        self.give();
        turn.await.ok()
    }

    /// Gives room that is free to documents that wait.
    fn give(&'static self) {
        loop {
            let Some((registry, kib, document)) = self.state().next() else { return };
            // One that does not wait any more gives it back.
            let _ = document.send(Room { shares: self, registry, kib });
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes room for the document whose turn it is; `None` when none may have it.
    fn next(&mut self) -> Option<(String, usize, oneshot::Sender<Room>)> {
        let free = ALL - self.taken;
        for share in self.registries.values_mut() {
            share.waiting.retain(|(_, document)| !document.is_closed());
        }
        self.registries.retain(|_, share| share.taken > 0 || !share.waiting.is_empty());
        let may = self
            .registries
            .iter_mut()
            .filter(|(_, share)| share.waiting.front().is_some_and(|(kib, _)| share.taken + kib <= free));
        let (registry, share) = may.min_by_key(|(_, share)| share.taken)?;
        let (kib, document) = share.waiting.pop_front()?;
        share.taken += kib;
        self.taken += kib;
        Some((registry.clone(), kib, document))
    }
}

/// A document in its room.
struct Held {
    bytes: Bytes,
    _room: Room,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const MIB: usize = 1 << 20;

    /// A budget of its own, as large as that of the process.
    fn shares() -> &'static Shares {
        Box::leak(Box::new(Shares(Mutex::new(State { taken: 0, registries: BTreeMap::new() }))))
    }

    /// As many documents of so many MiB as a registry gets at once.
    fn take_all(shares: &'static Shares, registry: &str, mib: usize) -> Vec<Room> {
        std::iter::from_fn(|| shares.take(registry, mib * MIB).now_or_never().flatten()).collect()
    }

    #[tokio::test]
    async fn a_document_keeps_its_room_until_its_last_bytes_are_dropped() {
        let shares = shares();
        let taken = || shares.state().taken;
        let room = shares.take("r.example", MIB).await.expect("room");
        assert_eq!(taken(), 1024);
        let bytes = room.hold(vec![1; 5000].into());
        let part = bytes.slice(10..20);
        drop(bytes);
        assert_eq!(taken(), 5);
        assert_eq!(part, vec![1; 10]);
        drop(part);
        assert_eq!(taken(), 0);
    }

    #[tokio::test]
    async fn no_registry_takes_more_room_than_it_leaves() {
        let shares = shares();
        let names = ["a", "b", "c", "d", "e"];
        let taken: Vec<Vec<Room>> = names.iter().map(|name| take_all(shares, name, 4)).collect();
        assert_eq!(taken.iter().map(Vec::len).collect::<Vec<_>>(), [8, 4, 2, 1, 1]);
    }

    #[tokio::test]
    async fn room_that_becomes_free_goes_to_the_registry_with_the_least() {
        let shares = shares();
        let mut held: Vec<Vec<Room>> =
            ["a", "b", "c"].iter().map(|name| take_all(shares, name, 16)).collect();
        assert_eq!(held.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 1]);
        let (mut more, mut first) = (Box::pin(shares.take("a", MIB)), Box::pin(shares.take("d", 16 * MIB)));
        assert!((&mut more).now_or_never().is_none() && (&mut first).now_or_never().is_none());
        held[0].pop();
        assert!((&mut more).now_or_never().is_none());
        assert!(matches!((&mut first).now_or_never(), Some(Some(_))));
    }

    #[tokio::test]
    async fn a_document_that_does_not_wait_any_more_holds_no_room() {
        let shares = shares();
        let held = take_all(shares, "a", 16);
        drop(shares.take("a", MIB).now_or_never());
        drop(held);
        assert_eq!(shares.state().taken, 0);
        assert!(shares.take("a", 64 * MIB).now_or_never().flatten().is_some(), "as large as all of it");
    }
}
