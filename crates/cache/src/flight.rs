//! Single flight: one fetch for each content, however many clients ask for it.
//!
//! A *flight* is such a fetch, from its start until it publishes its result or fails. The request for which it was started is
//! its *leader*; the requests that come while it runs are its *followers*. Leader and followers hold the same kind of
//! subscription and get the same result: the fetch is a task of its own, which no client can cancel by disconnecting.
//!
//! A flight that does not move is left: requests that come then get another one, and it goes on for those that it has. One for
//! whose first result nobody waits ends.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::lock::lock;

/// So many flights of one content run at most. Where none of them moves, another one would not either.
const MOST: usize = 3;
/// A flight ends when nobody has waited for its first result for so long: there is nothing yet that a client could find.
pub(crate) const UNWANTED: Duration = Duration::from_secs(5);
/// How long a request waits for the first result of another one's flight; then it gets one of its own.
pub(crate) const UNBEGUN: Duration = Duration::from_secs(8);
/// How often it is looked who waits.
pub(crate) const LOOK: Duration = Duration::from_secs(1);

/// The flights that run now.
pub(crate) struct Flights<K, V> {
    running: Running<K, V>,
    /// The runtime of their tasks.
    tasks: Handle,
}

/// By what they fetch, the newest of each.
type Running<K, V> = Arc<Mutex<HashMap<K, Flight<V>>>>;

/// A flight that can be joined.
#[derive(Clone)]
struct Flight<V> {
    /// Each receiver is a request's.
    result: watch::Sender<Option<V>>,
    since: Instant,
    /// Held by all flights of this content.
    all: Arc<()>,
}

impl<V> Flight<V> {
    fn is_of_no_use(&self, is_of_no_use: impl Fn(&V) -> bool) -> bool {
        self.result.borrow().as_ref().is_some_and(is_of_no_use)
    }

    /// Whether it has had no result for so long that another one may have it sooner.
    fn hangs(&self) -> bool {
        self.result.borrow().is_none() && self.since.elapsed() >= UNBEGUN
    }

    fn subscribe(&self, role: Role) -> Subscription<V> {
        Subscription { role, result: self.result.subscribe() }
    }

    /// How many flights of this content run.
    fn running(&self) -> usize {
        // The map holds it once more.
        Arc::strong_count(&self.all) - 1
    }
}

/// What a request is to its flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The fetch was started for this request.
    Leader,
    /// The fetch ran already.
    Follower,
}

/// A request's part in a flight.
pub(crate) struct Subscription<V> {
    pub(crate) role: Role,
    result: watch::Receiver<Option<V>>,
}

/// Where the fetch publishes its result. The flight lasts until this is dropped.
pub(crate) struct Publisher<K: Eq + Hash, V>(EndOnDrop<K, V>);

impl<K: Eq + Hash, V> Publisher<K, V> {
    /// Publishes `value` while the flight goes on; followers that come later get it at once.
    pub(crate) fn publish(&self, value: V) {
        self.0.flight.result.send_replace(Some(value));
    }

    /// Waits until no request has waited for `patience`, before the first result.
    pub(crate) async fn unwanted(&self, patience: Duration) {
        let mut wanted = Instant::now();
        loop {
            tokio::time::sleep(LOOK).await;
            if self.0.flight.result.receiver_count() > 0 {
                wanted = Instant::now();
            } else if wanted.elapsed() >= patience {
                return;
            }
        }
    }

    /// Ends the flight, then publishes `value`. In this order, because a request that comes after the value was found must
    /// not be answered with it: it starts a new flight.
    pub(crate) fn finish(self, value: V) {
        let result = self.0.flight.result.clone();
        drop(self);
        result.send_replace(Some(value));
    }
}

impl<K, V> Flights<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// No flight yet; their tasks will run on `tasks`.
    pub(crate) fn new(tasks: Handle) -> Self {
        Self { running: Running::default(), tasks }
    }

    /// Joins the flight for `key`; where none runs, or none that has a result within some time, starts one with `fetch`, as a
    /// task. No more than three run.
    pub(crate) fn join<F>(&self, key: K, fetch: impl FnOnce(Publisher<K, V>) -> F) -> Subscription<V>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.join_or_leave(key, Flight::hangs, fetch)
    }

    /// The same, but leaves a flight whose result so far is of no use any more, and waits for any other.
    pub(crate) fn join_unless<F>(
        &self,
        key: K,
        is_of_no_use: impl Fn(&V) -> bool,
        fetch: impl FnOnce(Publisher<K, V>) -> F,
    ) -> Subscription<V>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.join_or_leave(key, |flight| flight.is_of_no_use(is_of_no_use), fetch)
    }

    fn join_or_leave<F>(
        &self,
        key: K,
        is_left: impl FnOnce(&Flight<V>) -> bool,
        fetch: impl FnOnce(Publisher<K, V>) -> F,
    ) -> Subscription<V>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut running = lock(&self.running);
        let mut all = Arc::default();
        if let Some(flight) = running.get(&key) {
            if flight.running() >= MOST || !is_left(flight) {
                return flight.subscribe(Role::Follower);
            }
            all = Arc::clone(&flight.all);
        }
        let flight = Flight { result: watch::Sender::new(None), since: Instant::now(), all };
        let leader = flight.subscribe(Role::Leader);
        running.insert(key.clone(), flight.clone());
        drop(running);
        let end = EndOnDrop { running: Arc::clone(&self.running), key, flight };
        self.tasks.spawn(fetch(Publisher(end)));
        leader
    }

    /// Whether a flight for `key` runs whose result so far is of no use any more.
    pub(crate) fn is_of_no_use(&self, key: &K, is_of_no_use: impl Fn(&V) -> bool) -> bool {
        let running = lock(&self.running);
        running.get(key).is_some_and(|flight| flight.is_of_no_use(is_of_no_use))
    }

    /// Whether a flight for `key` runs.
    pub(crate) fn is_running(&self, key: &K) -> bool {
        lock(&self.running).contains_key(key)
    }
}

impl<V: Clone> Subscription<V> {
    /// Waits for what the fetch publishes. `None` when it ended without a result, which is a failure.
    pub(crate) async fn value(&mut self) -> Option<V> {
        self.result.wait_for(Option::is_some).await.ok().and_then(|value| value.clone())
    }
}

/// Ends the flight when its publisher goes, by whatever way: a task that panics drops it too.
struct EndOnDrop<K: Eq + Hash, V> {
    running: Running<K, V>,
    key: K,
    flight: Flight<V>,
}

impl<K: Eq + Hash, V> Drop for EndOnDrop<K, V> {
    fn drop(&mut self) {
        let mut running = lock(&self.running);
        // Not one that was started in its place.
        if running.get(&self.key).is_some_and(|flight| flight.result.same_channel(&self.flight.result)) {
            running.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    fn flights() -> Flights<u8, u32> {
        Flights::new(Handle::current())
    }

    #[tokio::test]
    async fn followers_share_the_leaders_fetch() {
        let flights = flights();
        let (go, gate) = oneshot::channel::<()>();
        let mut leader = flights.join(1, |publisher| async move {
            let _ = gate.await;
            publisher.finish(7);
        });
        let mut follower = flights.join(1, |_| async { panic!("a second fetch") });
        assert_eq!((leader.role, follower.role), (Role::Leader, Role::Follower));
        assert!(flights.is_running(&1));
        go.send(()).expect("the fetch waits");
        assert_eq!((leader.value().await, follower.value().await), (Some(7), Some(7)));
    }

    #[tokio::test]
    async fn a_request_after_the_result_starts_a_new_flight() {
        let flights = flights();
        flights.join(1, |publisher| async move { publisher.finish(7) }).value().await;
        assert!(!flights.is_running(&1));
        let mut next = flights.join(1, |publisher| async move { publisher.finish(8) });
        assert_eq!((next.role, next.value().await), (Role::Leader, Some(8)));
    }

    #[tokio::test]
    async fn a_follower_gets_what_was_published_before_it_came() {
        let flights = flights();
        let (go, gate) = oneshot::channel::<()>();
        let mut leader = flights.join(1, |publisher| async move {
            publisher.publish(7);
            let _ = gate.await;
            drop(publisher);
        });
        assert_eq!(leader.value().await, Some(7));
        let mut follower = flights.join(1, |_| async { panic!("a second fetch") });
        assert_eq!((follower.role, follower.value().await), (Role::Follower, Some(7)));
        go.send(()).expect("the fetch waits");
    }

    #[tokio::test]
    async fn a_flight_that_does_not_move_is_left_and_goes_on_for_those_that_it_has() {
        let flights = flights();
        let (go, gate) = oneshot::channel::<()>();
        let mut first = flights.join(1, |publisher| async move {
            publisher.publish(7);
            let _ = gate.await;
            publisher.finish(8);
        });
        assert_eq!(first.value().await, Some(7));
        let mut second = flights.join_unless(
            1,
            |value| *value == 7,
            |publisher| async move {
                publisher.publish(9);
                std::future::pending::<()>().await;
            },
        );
        assert_eq!((second.role, second.value().await), (Role::Leader, Some(9)));
        go.send(()).expect("the fetch waits");
        first.result.wait_for(|value| *value == Some(8)).await.expect("a value");
        let mut third = flights.join(1, |_| async { panic!("a third fetch") });
        assert_eq!((third.role, third.value().await), (Role::Follower, Some(9)), "the newest is joined");
    }

    #[tokio::test]
    async fn a_flight_without_a_result_is_left_after_a_while_and_goes_on_for_those_that_it_has() {
        let flights = flights();
        let (go, gate) = oneshot::channel::<()>();
        let mut first = flights.join(1, |publisher| async move {
            let _ = gate.await;
            publisher.finish(7);
        });
        let early = flights.join(1, |_| async { panic!("a second fetch") });
        lock(&flights.running).get_mut(&1).expect("a flight").since -= UNBEGUN;
        let mut late = flights.join(1, |publisher| async move { publisher.finish(8) });
        assert_eq!((early.role, late.role, late.value().await), (Role::Follower, Role::Leader, Some(8)));
        go.send(()).expect("the fetch waits");
        assert_eq!(first.value().await, Some(7));
    }

    #[tokio::test]
    async fn a_flight_is_wanted_as_long_as_somebody_waits_though_others_have_left_it() {
        let flights = flights();
        let join = || {
            flights.join_or_leave(
                1,
                |_| true,
                |publisher| async move {
                    publisher.unwanted(Duration::ZERO).await;
                    publisher.finish(7);
                },
            )
        };
        let (mut first, second) = (join(), join());
        assert_eq!(second.role, Role::Leader);
        drop(second);
        let waited = tokio::time::timeout(3 * LOOK, first.value()).await;
        assert!(waited.is_err(), "it ended");
        assert!(!flights.is_running(&1), "nobody waits for the second");
    }

    #[tokio::test]
    async fn no_more_than_three_flights_of_one_content_run() {
        let flights = flights();
        let join = async || {
            let mut joined = flights.join_unless(
                1,
                |_| true,
                |publisher| async move {
                    publisher.publish(7);
                    std::future::pending::<()>().await;
                },
            );
            joined.value().await;
            joined.role
        };
        for role in [Role::Leader, Role::Leader, Role::Leader, Role::Follower, Role::Follower] {
            assert_eq!(join().await, role);
        }
    }

    #[tokio::test]
    async fn a_fetch_that_panics_is_a_failure_for_all() {
        let flights = flights();
        let mut leader = flights.join(1, |publisher| async move {
            let _publisher = publisher;
            panic!("the fetch dies")
        });
        assert_eq!(leader.value().await, None);
    }

    #[tokio::test]
    async fn a_leader_that_disconnects_does_not_cancel_the_fetch() {
        let flights = flights();
        let (go, gate) = oneshot::channel::<()>();
        drop(flights.join(1, |publisher| async move {
            let _ = gate.await;
            publisher.finish(7);
        }));
        let mut follower = flights.join(1, |_| async { panic!("a second fetch") });
        go.send(()).expect("the fetch waits");
        assert_eq!(follower.value().await, Some(7));
    }
}
