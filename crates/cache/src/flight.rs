//! Single flight: one fetch for each content, however many clients ask for it.
//!
//! A *flight* is such a fetch, from its start until it publishes its result or fails. The request for which it was started is
//! its *leader*; the requests that come while it runs are its *followers*. Leader and followers hold the same kind of
//! subscription and get the same result: the fetch is a task of its own, which no client can cancel by disconnecting.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex};

use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::lock::lock;

/// The flights that run now.
pub(crate) struct Flights<K, V> {
    running: Running<K, V>,
    /// The runtime of their tasks.
    tasks: Handle,
}

/// By what they fetch.
type Running<K, V> = Arc<Mutex<HashMap<K, watch::Receiver<Option<V>>>>>;

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
pub(crate) struct Publisher<K: Eq + Hash, V> {
    end: EndOnDrop<K, V>,
    result: watch::Sender<Option<V>>,
}

impl<K: Eq + Hash, V> Publisher<K, V> {
    /// Publishes `value` while the flight goes on; followers that come later get it at once.
    pub(crate) fn publish(&self, value: V) {
        self.result.send_replace(Some(value));
    }

    /// Ends the flight, then publishes `value`. In this order, because a request that comes after the value was found must
    /// not be answered with it: it starts a new flight.
    pub(crate) fn finish(self, value: V) {
        let Self { end, result } = self;
        drop(end);
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

    /// Joins the flight for `key`; where none runs, starts one with `fetch`, as a task.
    pub(crate) fn join<F>(&self, key: K, fetch: impl FnOnce(Publisher<K, V>) -> F) -> Subscription<V>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut running = lock(&self.running);
        if let Some(result) = running.get(&key) {
            return Subscription { role: Role::Follower, result: result.clone() };
        }
        let (sender, result) = watch::channel(None);
        running.insert(key.clone(), result.clone());
        drop(running);
        let end = EndOnDrop { running: Arc::clone(&self.running), key };
        self.tasks.spawn(fetch(Publisher { end, result: sender }));
        Subscription { role: Role::Leader, result }
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
}

impl<K: Eq + Hash, V> Drop for EndOnDrop<K, V> {
    fn drop(&mut self) {
        lock(&self.running).remove(&self.key);
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
