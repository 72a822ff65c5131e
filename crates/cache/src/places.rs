//! Places for what runs at registries: how much runs at a time, altogether and of each registry. Fills have their own, and so
//! have questions.
//!
//! A registry that brings nothing must not hold all places. Therefore a registry gets one more only while more places are
//! free than it has: alone it gets half of them, the next one half of the rest, and so on. Within a registry the same goes for
//! its repositories: one gets one more only while the registry could have more than it has. A place that becomes free goes
//! to the registry that has the fewest, there to the repository that has the fewest, and there to who waits longest.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hubcap_oci::{Registry, Repository, Target};
use rustix::process::{Resource, getrlimit};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};

use crate::lock::lock;

/// Questions at a time: so many that all connections of clients (1024) cannot take a registry's half of them. A client that asks for
/// repositories which never answer must not keep others from the rest.
const MOST_QUESTIONS: usize = 4096;
/// The same as a part of the files that the process may have open: each may need a connection.
const PART_OF_FILES: u64 = 8;
/// So many in any case.
const LEAST_QUESTIONS: usize = 8;
/// What may run beside the places, having given its own up: a registry has so many more only while more are left than it has. Each
/// fill has a thread of the 512 that the runtime has for all that writes to the disk.
const BESIDE: usize = 256;
/// What waits gives up when no place has become free for so long: then its clients are better off with the registry itself.
const STANDSTILL: Duration = Duration::from_secs(10);
/// The longest wait: an answer must begin within a minute.
const LONGEST: Duration = Duration::from_secs(45);

/// The places; a clone is another handle of the same.
#[derive(Clone)]
pub(crate) struct Places(Arc<Inner>);

struct Inner {
    /// Altogether.
    all: usize,
    state: Mutex<State>,
    /// How many places have become free since the start.
    freed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    registries: HashMap<Registry, Queue>,
    taken: usize,
    /// What has given its place up and goes on.
    beside: usize,
    is_closed: bool,
}

/// What runs and waits at one registry.
#[derive(Default)]
struct Queue {
    taken: usize,
    beside: usize,
    /// The same of each of its repositories.
    repositories: HashMap<Repository, usize>,
    waiting: VecDeque<(Repository, oneshot::Sender<Place>)>,
}

/// A place, until this is dropped, or gives it up.
pub(crate) struct Place {
    places: Places,
    target: Target,
    is_taken: bool,
}

impl Places {
    /// So many places, of which none is taken.
    pub(crate) fn new(all: usize) -> Self {
        Self(Arc::new(Inner { all, state: Mutex::default(), freed: watch::Sender::default() }))
    }

    /// Those of all questions for manifests and lists of referrers.
    pub(crate) fn of_questions() -> Self {
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let wanted = usize::try_from(files / PART_OF_FILES).unwrap_or(MOST_QUESTIONS);
        Self::new(wanted.clamp(LEAST_QUESTIONS, MOST_QUESTIONS))
    }

    /// Takes a place for something from a repository; `None` when there is none for too long, or none will be given any more.
    pub(crate) async fn take(&self, target: &Target) -> Option<Place> {
        self.take_within(target, STANDSTILL, LONGEST).await
    }

    async fn take_within(&self, target: &Target, standstill: Duration, longest: Duration) -> Option<Place> {
        let mut freed = self.0.freed.subscribe();
        let (sender, mut turn) = oneshot::channel();
        {
            let mut state = lock(&self.0.state);
            if state.is_closed {
                return None;
            }
            let queue = state.registries.entry(target.registry.clone()).or_default();
            queue.waiting.push_back((target.repository.clone(), sender));
        }
        self.give();
        let end = Instant::now() + longest;
        loop {
            let patience = end.min(Instant::now() + standstill);
            tokio::select! {
                biased;
                place = &mut turn => return place.ok(),
                moved = timeout_at(patience, freed.changed()) => {
                    if !matches!(moved, Ok(Ok(()))) || Instant::now() >= end {
                        return None;
                    }
                }
            }
        }
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> usize {
        lock(&self.0.state).taken
    }

    /// Waits until nothing runs, for at most `patience`; false when something still does. No place is given after that.
    pub(crate) async fn close(&self, patience: Duration) -> bool {
        let mut freed = self.0.freed.subscribe();
        let is_running = || {
            let state = lock(&self.0.state);
            state.taken + state.beside > 0
        };
        let all_ended = async { while is_running() && freed.changed().await.is_ok() {} };
        let have_ended = timeout(patience, all_ended).await.is_ok();
        let mut state = lock(&self.0.state);
        state.is_closed = true;
        // Who waits learns of it.
        state.registries.clear();
        have_ended
    }

    /// Tells who waits that something has ended.
    fn tell(&self) {
        self.0.freed.send_modify(|freed| *freed += 1);
        self.give();
    }

    /// Gives places that are free to who waits.
    fn give(&self) {
        loop {
            let next = lock(&self.0.state).next(self.0.all);
            let Some((target, waiting)) = next else { return };
            // One that does not wait any more gives it back.
            let _ = waiting.send(Place { places: self.clone(), target, is_taken: true });
        }
    }
}

impl State {
    /// Takes a place for who has its turn; `None` when none may have one.
    fn next(&mut self, all: usize) -> Option<(Target, oneshot::Sender<Place>)> {
        let free = all - self.taken;
        for queue in self.registries.values_mut() {
            queue.waiting.retain(|(_, waiting)| !waiting.is_closed());
        }
        self.registries.retain(|_, queue| queue.taken + queue.beside > 0 || !queue.waiting.is_empty());
        let may = self.registries.iter_mut().filter_map(|(registry, queue)| {
            let left = free.checked_sub(queue.taken)?;
            Some((registry, queue.next(left)?, queue))
        });
        let (registry, at, queue) = may.min_by_key(|(_, _, queue)| queue.taken)?;
        let (repository, waiting) = queue.waiting.remove(at)?;
        queue.taken += 1;
        *queue.repositories.entry(repository.clone()).or_default() += 1;
        self.taken += 1;
        Some((Target::new(registry.clone(), repository), waiting))
    }
}

impl Queue {
    fn taken_by(&self, repository: &Repository) -> usize {
        self.repositories.get(repository).copied().unwrap_or(0)
    }

    /// Which of those that wait has its turn, where the registry may have so many places more.
    fn next(&self, left: usize) -> Option<usize> {
        let taken = self.waiting.iter().map(|(repository, _)| self.taken_by(repository)).enumerate();
        taken.filter(|(_, taken)| *taken < left).min_by_key(|(at, taken)| (*taken, *at)).map(|(at, _)| at)
    }

    fn give_back(&mut self, repository: &Repository) {
        self.taken -= 1;
        if let Some(taken) = self.repositories.get_mut(repository) {
            *taken -= 1;
        }
        self.repositories.retain(|_, taken| *taken > 0);
    }
}

impl Place {
    /// Gives the place up, for another: what has it goes on without one, unless too much does so already.
    pub(crate) fn give_up(&mut self) {
        {
            let mut state = lock(&self.places.0.state);
            let left = BESIDE - state.beside;
            let queue = state.registries.get_mut(&self.target.registry);
            let Some(queue) = queue.filter(|queue| self.is_taken && queue.beside < left) else { return };
            queue.beside += 1;
            queue.give_back(&self.target.repository);
            state.beside += 1;
            state.taken -= 1;
        }
        self.is_taken = false;
        self.places.tell();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        {
            let mut state = lock(&self.places.0.state);
            // None at the end.
            if let Some(queue) = state.registries.get_mut(&self.target.registry) {
                match self.is_taken {
                    true => queue.give_back(&self.target.repository),
                    false => queue.beside -= 1,
                }
            }
            match self.is_taken {
                true => state.taken -= 1,
                false => state.beside -= 1,
            }
        }
        self.places.tell();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use super::*;

    const ALL: usize = 64;

    /// Longer than any test.
    const LONG: Duration = Duration::from_secs(600);

    fn target(registry: usize, repository: usize) -> Target {
        let registry = format!("r{registry}.example").parse().expect("a registry");
        Target::new(registry, format!("x{repository}").parse().expect("a repository"))
    }

    fn poll<F: Future + Unpin>(mut waiting: F) -> Poll<F::Output> {
        Pin::new(&mut waiting).poll(&mut Context::from_waker(Waker::noop()))
    }

    fn take(places: &Places, target: &Target) -> Option<Place> {
        // Many are taken in one turn of the runtime.
        match poll(pin!(tokio::task::unconstrained(places.take(target)))) {
            Poll::Ready(place) => place,
            Poll::Pending => None,
        }
    }

    /// As many places as a registry gets at once, each for another repository.
    fn take_all(places: &Places, registry: usize) -> Vec<Place> {
        (0..ALL).map_while(|repository| take(places, &target(registry, repository))).collect()
    }

    #[tokio::test]
    async fn no_registry_takes_more_places_than_it_leaves() {
        let places = Places::new(ALL);
        let taken: Vec<_> = (0..8).map(|number| take_all(&places, number)).collect();
        let counts: Vec<usize> = taken.iter().map(Vec::len).collect();
        assert_eq!(counts, [32, 16, 8, 4, 2, 1, 1, 0]);
    }

    #[tokio::test]
    async fn no_repository_takes_more_places_than_it_leaves_to_others_of_its_registry() {
        let places = Places::new(ALL);
        let all_of =
            |repository| std::iter::from_fn(|| take(&places, &target(0, repository))).collect::<Vec<Place>>();
        let mut taken: Vec<_> = (0..5).map(all_of).collect();
        assert_eq!(taken.iter().map(Vec::len).collect::<Vec<_>>(), [22, 7, 2, 1, 0]);
        let (many, few) = (target(0, 1), target(0, 4));
        let (mut first, mut second) = (pin!(places.take(&many)), pin!(places.take(&few)));
        assert!(poll(first.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
        taken[0].pop();
        assert!(poll(first).is_pending());
        assert!(matches!(poll(second), Poll::Ready(Some(_))));
    }

    #[tokio::test]
    async fn what_has_given_its_place_up_is_waited_for_at_the_end() {
        let places = Places::new(1);
        let mut crawling = take(&places, &target(0, 0)).expect("a place");
        assert!(take(&places, &target(0, 1)).is_none());
        crawling.give_up();
        crawling.give_up();
        drop(take(&places, &target(0, 1)).expect("the other's place"));
        assert!(!places.close(Duration::from_millis(10)).await, "it runs");
        drop(crawling);
        assert!(places.close(LONG).await);
    }

    #[tokio::test]
    async fn no_registry_has_more_run_without_a_place_than_it_leaves() {
        let places = Places::new(ALL);
        let give_up_all = |registry| {
            let has_given_up = |number| {
                let mut place = take(&places, &target(registry, number))?;
                place.give_up();
                (!place.is_taken).then_some(place)
            };
            (0..).map_while(has_given_up).collect::<Vec<_>>()
        };
        let mut all: Vec<_> = (0..4).map(give_up_all).collect();
        assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), [128, 64, 32, 16]);
        assert_eq!(places.taken(), 0);
        all.clear();
        assert_eq!(give_up_all(9).len(), 128);
        assert!(places.close(LONG).await);
    }

    #[tokio::test]
    async fn a_place_that_becomes_free_goes_to_the_registry_with_the_fewest() {
        let places = Places::new(ALL);
        let mut taken: Vec<_> = (0..8).map(|number| take_all(&places, number)).collect();
        let (many, none) = (target(1, 0), target(9, 0));
        let (mut first, mut second) = (pin!(places.take(&many)), pin!(places.take(&none)));
        assert!(poll(first.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
        taken[0].pop();
        assert!(poll(first).is_pending());
        assert!(matches!(poll(second), Poll::Ready(Some(_))));
    }

    #[tokio::test]
    async fn a_fill_that_does_not_wait_any_more_holds_no_place() {
        let places = Places::new(ALL);
        let held = take_all(&places, 0);
        let name = target(0, 0);
        {
            let gone = pin!(places.take(&name));
            assert!(poll(gone).is_pending());
        }
        drop(held);
        assert_eq!(places.taken(), 0);
    }

    #[tokio::test]
    async fn a_fill_waits_as_long_as_places_become_free() {
        let places = Places::new(ALL);
        let (_held, mut others) = (take_all(&places, 0), take_all(&places, 1));
        let (name, standstill) = (target(0, 99), Duration::from_secs(3));
        let (moved, has_moved) = watch::channel(false);
        let moving = async {
            for _ in 0..4 {
                tokio::time::sleep(standstill / 3).await;
                // Half of all places are taken by this registry, so the freed one is not for it.
                others.pop();
            }
            moved.send_replace(true);
        };
        let waiting = async { (places.take_within(&name, standstill, LONG).await, *has_moved.borrow()) };
        let ((place, is_later), ()) = tokio::join!(waiting, moving);
        assert!(place.is_none() && is_later);
    }

    #[tokio::test]
    async fn no_fill_waits_for_ever() {
        let places = Places::new(ALL);
        let _held = take_all(&places, 0);
        let place = places.take_within(&target(0, 0), LONG, Duration::from_millis(50)).await;
        assert!(place.is_none());
    }

    #[tokio::test]
    async fn no_place_is_given_after_the_end() {
        let places = Places::new(ALL);
        let held = take_all(&places, 0);
        assert!(!places.close(Duration::from_millis(50)).await);
        drop(held);
        assert!(places.take(&target(0, 0)).await.is_none());
        assert!(places.close(Duration::ZERO).await);
    }
}
