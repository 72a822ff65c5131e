//! The open connections of one listener, and which of them is given up when there are too many.
//!
//! A connection is idle while no request of its is being answered, from a moment after the last answer on. When a client comes and
//! there is no room, the connection that has been idle for longest is closed: clients open another one when they need it. Where none
//! is idle, one goes whose client takes next to nothing of its answer, or whose request was passed on and gets no answer. Where there
//! is none of these either, one goes that will be idle soon; and where all are busy, the client waits in the kernel's queue.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::flow::{Flow, LEAST};
use rustix::process::{Resource, getrlimit};
use tokio::sync::Notify;

/// Open connections at most.
const MOST: usize = 1024;
/// The same as a part of the files that the process may have open: a connection may need a stored file and one to a registry.
const PART_OF_FILES: u64 = 4;
/// A connection without a request is idle after so long: its first or next one may be on the way.
const MOMENT: Duration = Duration::from_secs(2);
/// Of an answer whose body has ended, so many bytes at most have not been sent yet: two pieces of a blob, which hyper gathers.
const GATHERED: u64 = 2 * (63 << 10);
/// How often it is told that connections are given up.
const TELL: Duration = Duration::from_secs(300);
/// How often a client that waits looks whether a connection has become slow.
const LOOK: Duration = Duration::from_secs(1);

/// The open connections; a clone is another handle of the same.
#[derive(Clone)]
pub(crate) struct Connections(Arc<Inner>);

struct Inner {
    most: usize,
    open: Mutex<Open>,
    /// One has ended or become idle.
    changed: Notify,
}

#[derive(Default)]
struct Open {
    by_number: HashMap<u64, State>,
    next: u64,
    told: Option<Instant>,
}

struct State {
    /// Requests that are being answered.
    requests: u32,
    /// From when on the connection is idle, if no other request comes.
    idle_from: Instant,
    flow: Flow,
    given_up: Arc<Notify>,
}

/// Why a connection may be given up; the first of these that there is goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    Idle,
    /// Next to nothing moves.
    Slow,
    /// It is not idle yet: a request, or the end of an answer, may be on the way.
    IdleSoon,
}

impl State {
    /// Why the connection may be given up at `now`, and since when; `None` while it must stay.
    fn reason(&self, now: Instant) -> Option<(Reason, Instant)> {
        if self.requests > 0 {
            return Some((Reason::Slow, now.checked_sub(self.flow.slow_for(now)?)?));
        }
        let reason = if self.idle_from <= now { Reason::Idle } else { Reason::IdleSoon };
        Some((reason, self.idle_from))
    }
}

/// One open connection, until this is dropped.
pub(crate) struct OpenConnection {
    connections: Connections,
    number: u64,
    flow: Flow,
    given_up: Arc<Notify>,
}

/// A request of a connection, until its answer has been sent and this is dropped.
pub(crate) struct Busy {
    connections: Connections,
    number: u64,
    flow: Flow,
    /// How long the answer is, as far as it was given to hyper, in bytes.
    length: u64,
}

impl Busy {
    /// How fast the client takes its answers.
    pub(crate) fn flow(&self) -> Flow {
        self.flow.clone()
    }

    /// Notes that so many bytes of the answer were given to hyper, which need not have sent them when this is dropped.
    pub(crate) fn give(&mut self, bytes: u64) {
        self.length += bytes;
    }

    /// How long a client that is not slow takes for what hyper may have gathered.
    fn last_bytes(&self) -> Duration {
        Duration::from_millis(self.length.min(GATHERED) * 1000 / LEAST)
    }
}

impl Connections {
    /// None yet. As many as the process's limit of open files allows, and 1024 at most.
    pub(crate) fn new() -> Self {
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let most = usize::try_from(files / PART_OF_FILES).unwrap_or(MOST).clamp(1, MOST);
        Self::of(most)
    }

    fn of(most: usize) -> Self {
        Self(Arc::new(Inner { most, open: Mutex::default(), changed: Notify::new() }))
    }

    /// Counts a connection that was accepted, once there is room for it.
    pub(crate) async fn open(&self) -> OpenConnection {
        loop {
            let mut changed = std::pin::pin!(self.0.changed.notified());
            // Before the look, so that no change is missed after it.
            changed.as_mut().enable();
            if let Some(connection) = self.try_open() {
                return connection;
            }
            let _ = tokio::time::timeout(LOOK, changed).await;
        }
    }

    fn try_open(&self) -> Option<OpenConnection> {
        let mut open = self.lock();
        if open.by_number.len() >= self.0.most {
            open.give_up_one(self.0.most)?;
        }
        let number = open.next;
        open.next += 1;
        let (flow, given_up) = (Flow::new(), Arc::<Notify>::default());
        let idle_from = Instant::now() + MOMENT;
        let state = State { requests: 0, idle_from, flow: flow.clone(), given_up: Arc::clone(&given_up) };
        open.by_number.insert(number, state);
        Some(OpenConnection { connections: self.clone(), number, flow, given_up })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Closes the connection with the first [`Reason`], and of these the one that has had it for longest; `None` when all must stay.
    fn give_up_one(&mut self, most: usize) -> Option<()> {
        let now = Instant::now();
        let candidates =
            self.by_number.iter().filter_map(|(number, state)| Some((state.reason(now)?, *number)));
        let (_, number) = candidates.min()?;
        self.by_number.remove(&number)?.given_up.notify_one();
        if self.told.is_none_or(|told| told.elapsed() >= TELL) {
            self.told = Some(Instant::now());
            tracing::warn!(target: "hubcap::listen",
                "{most} connections are open: those that are idle for longest, or take nothing, are closed for new clients");
        }
        Some(())
    }
}

impl OpenConnection {
    /// Ends when the connection is given up.
    pub(crate) async fn given_up(&self) {
        self.given_up.notified().await;
    }

    /// Where the connection's requests are counted.
    pub(crate) fn requests(&self) -> Requests {
        Requests { connections: self.connections.clone(), number: self.number, flow: self.flow.clone() }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.connections.lock().by_number.remove(&self.number);
        self.connections.0.changed.notify_one();
    }
}

/// The requests of one connection; a clone counts the same.
#[derive(Clone)]
pub(crate) struct Requests {
    connections: Connections,
    number: u64,
    flow: Flow,
}

impl Requests {
    /// Notes that a request is being answered.
    pub(crate) fn begin(&self) -> Busy {
        if let Some(state) = self.connections.lock().by_number.get_mut(&self.number) {
            state.requests += 1;
        }
        Busy {
            connections: self.connections.clone(),
            number: self.number,
            flow: self.flow.clone(),
            length: 0,
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.flow.rest();
        let mut open = self.connections.lock();
        let Some(state) = open.by_number.get_mut(&self.number) else { return };
        state.requests -= 1;
        state.idle_from = Instant::now() + MOMENT + self.last_bytes();
        let is_full = open.by_number.len() >= self.connections.0.most;
        drop(open);
        if is_full {
            self.connections.0.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::{Context, Waker};

    use super::*;

    fn is_over(waiting: Pin<&mut impl Future<Output: Sized>>) -> bool {
        waiting.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn the_connection_that_was_idle_for_longest_is_given_up() {
        let connections = Connections::of(3);
        let open = || connections.try_open().expect("room");
        let (busy, served, idle) = (open(), open(), open());
        let _request = busy.requests().begin();
        drop(served.requests().begin());
        let _new = open();
        assert!(is_over(pin!(idle.given_up())));
        assert!(!is_over(pin!(served.given_up())) && !is_over(pin!(busy.given_up())));
        let _newer = open();
        assert!(is_over(pin!(served.given_up())));
    }

    #[test]
    fn the_slowest_connection_is_given_up_where_none_is_idle() {
        let connections = Connections::of(2);
        let open = || connections.try_open().expect("room");
        let (fast, slow) = (open(), open());
        let requests = [fast.requests().begin(), slow.requests().begin()];
        assert!(connections.try_open().is_none());
        let long_ago = Instant::now().checked_sub(Duration::from_secs(20)).expect("a time");
        let mut connection = connections.lock();
        connection.by_number.get_mut(&slow.number).expect("open").flow = Flow::slow_since(long_ago);
        drop(connection);
        let _new = open();
        assert!(is_over(pin!(slow.given_up())) && !is_over(pin!(fast.given_up())));
        drop(requests);
    }

    #[test]
    fn the_end_of_an_answer_is_not_cut_while_another_connection_can_be_given_up() {
        let connections = Connections::of(2);
        let open = || connections.try_open().expect("room");
        let answered = open();
        let mut request = answered.requests().begin();
        request.give(1 << 20);
        drop(request);
        let silent = open();
        let _new = open();
        assert!(is_over(pin!(silent.given_up())) && !is_over(pin!(answered.given_up())));
        // What has no request for longer goes before, and so does what is slow.
        let reason = |after| {
            let (now, open) = (Instant::now(), connections.lock());
            open.by_number[&answered.number].reason(now + after)
        };
        let is = |after, expected| reason(Duration::from_secs(after)).is_some_and(|(one, _)| one == expected);
        assert!(is(0, Reason::IdleSoon) && is(9, Reason::IdleSoon) && is(10, Reason::Idle));
        assert!(Reason::Idle < Reason::Slow && Reason::Slow < Reason::IdleSoon);
    }

    #[tokio::test]
    async fn a_client_waits_where_all_connections_are_busy() {
        let connections = Connections::of(1);
        let one = connections.try_open().expect("room");
        let request = one.requests().begin();
        let mut waiting = pin!(connections.open());
        assert!(!is_over(waiting.as_mut()));
        drop(request);
        assert!(is_over(waiting));
    }

    #[tokio::test]
    async fn a_client_waits_no_longer_than_until_another_leaves() {
        let connections = Connections::of(1);
        let one = connections.try_open().expect("room");
        let _request = one.requests().begin();
        let mut waiting = pin!(connections.open());
        assert!(!is_over(waiting.as_mut()));
        drop(one);
        assert!(is_over(waiting));
    }
}
