//! One fetch per content, however many ask: the first is the Leader, the others are Followers.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex};

use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::lock::lock;

/// The fetches that run now.
pub(crate) struct Flights<K, V> {
    running: Running<K, V>,
    /// Where they run.
    tasks: Handle,
}

/// By what they fetch.
type Running<K, V> = Arc<Mutex<HashMap<K, watch::Receiver<Option<V>>>>>;

/// Who a request is in its flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The fetch was started for this request.
    Leader,
    /// The fetch ran already.
    Follower,
}

/// A place in a flight.
pub(crate) struct Seat<V> {
    pub(crate) role: Role,
    news: watch::Receiver<Option<V>>,
}

/// Where the fetch tells its followers what it has. The flight lasts until this is dropped.
pub(crate) struct Publisher<K: Eq + Hash, V> {
    landing: Landing<K, V>,
    news: watch::Sender<Option<V>>,
}

impl<K: Eq + Hash, V> Publisher<K, V> {
    /// Tells it; followers that come later get it at once.
    pub(crate) fn publish(&self, value: V) {
        self.news.send_replace(Some(value));
    }

    /// Tells it as the last word: who comes later starts a new flight. Whatever was asked after this answer was found
    /// must not be answered with it.
    pub(crate) fn finish(self, value: V) {
        let Self { landing, news } = self;
        drop(landing);
        news.send_replace(Some(value));
    }
}

impl<K, V> Flights<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// None yet; they will run there.
    pub(crate) fn new(tasks: Handle) -> Self {
        Self { running: Running::default(), tasks }
    }

    /// Joins the flight for `key`, or starts it. `fetch` runs as a task of its own: a client that goes away does
    /// not cancel it.
    pub(crate) fn join<F>(&self, key: K, fetch: impl FnOnce(Publisher<K, V>) -> F) -> Seat<V>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut flights = lock(&self.running);
        if let Some(news) = flights.get(&key) {
            return Seat { role: Role::Follower, news: news.clone() };
        }
        let (sender, news) = watch::channel(None);
        flights.insert(key.clone(), news.clone());
        drop(flights);
        let landing = Landing { flights: Arc::clone(&self.running), key };
        self.tasks.spawn(fetch(Publisher { landing, news: sender }));
        Seat { role: Role::Leader, news }
    }

    /// The flight for `key`, if one runs.
    pub(crate) fn running(&self, key: &K) -> Option<Seat<V>> {
        lock(&self.running).get(key).map(|news| Seat { role: Role::Follower, news: news.clone() })
    }
}

impl<V: Clone> Seat<V> {
    /// Waits for what the fetch publishes. `None` when it ended without a word, which is a failure.
    pub(crate) async fn value(&mut self) -> Option<V> {
        self.news.wait_for(Option::is_some).await.ok().and_then(|value| value.clone())
    }
}

/// Takes the flight off the board when its publisher goes, by whatever way.
struct Landing<K: Eq + Hash, V> {
    flights: Running<K, V>,
    key: K,
}

impl<K: Eq + Hash, V> Drop for Landing<K, V> {
    fn drop(&mut self) {
        lock(&self.flights).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn followers_share_the_leaders_fetch_and_the_next_request_starts_a_new_one() {
        let flights: Flights<u8, u32> = Flights::new(Handle::current());
        let (go, gate) = tokio::sync::oneshot::channel::<()>();
        let mut leader = flights.join(1, |publisher| async move {
            let _ = gate.await;
            publisher.finish(7);
        });
        let mut follower = flights.join(1, |_| async { panic!("a second fetch") });
        assert_eq!((leader.role, follower.role), (Role::Leader, Role::Follower));
        go.send(()).expect("the fetch waits");
        assert_eq!((leader.value().await, follower.value().await), (Some(7), Some(7)));
        assert_eq!(flights.join(1, |publisher| async move { publisher.finish(8) }).role, Role::Leader);
    }

    #[tokio::test]
    async fn a_fetch_that_dies_is_a_failure_for_all() {
        let flights: Flights<u8, u32> = Flights::new(Handle::current());
        let mut seat = flights.join(1, |publisher| async move {
            let _publisher = publisher;
            panic!("the fetch dies")
        });
        assert_eq!(seat.value().await, None);
    }
}
