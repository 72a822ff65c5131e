//! Event loops for the connections: a thread for each processor, so that no request costs a switch between threads (some
//! 15 % of a manifest's answer). A client's connections are kept on one loop as far as the loops stay even: a client that
//! wakes both, and is woken by both, costs more than an answer does (HEADs over HTTP: 112,000 and 147,000 a second). What
//! outlives a request, a fill above all, runs on the daemon's own runtime.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;
use tokio::task;

/// How many connections more than the emptiest loop one may have by what connections of the same processor it gets.
const TOGETHER: usize = 16;

/// The way to the loops; a clone leads to the same ones.
#[derive(Clone)]
pub(crate) struct Lanes(Arc<[Lane]>);

struct Lane {
    runtime: Handle,
    /// Each connection holds one.
    load: Arc<()>,
}

/// The loops' threads. When this is dropped they end, and what still runs on them is cut.
#[derive(Default)]
pub(crate) struct Threads {
    /// A loop ends when its sender is gone.
    running: Vec<oneshot::Sender<()>>,
    threads: Vec<JoinHandle<Runtime>>,
}

/// Starts so many.
///
/// # Errors
/// The system's, when it gives no thread or no event queue.
pub(crate) fn start(loops: usize) -> io::Result<(Lanes, Threads)> {
    let mut threads = Threads::default();
    let mut lanes = Vec::new();
    for number in 0..loops {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        lanes.push(Lane { runtime: runtime.handle().clone(), load: Arc::default() });
        let (running, ended) = oneshot::channel();
        let thread = thread::Builder::new().name("hubcap-lane".into()).spawn(move || {
            HERE.set(Some(number));
            let _ = runtime.block_on(ended);
            runtime
        })?;
        threads.running.push(running);
        threads.threads.push(thread);
    }
    Ok((Lanes(lanes.into()), threads))
}

impl Lanes {
    /// Runs a listener: on the loop that its connections are given to first, so that the first one need not be handed on.
    pub(crate) fn listen(&self, listener: impl Future<Output = ()> + Send + 'static) -> task::JoinHandle<()> {
        self.0[0].runtime.spawn(listener)
    }

    /// Runs a connection. `processor` is where a client on this machine runs, and chooses the loop; else it is the one that has
    /// fewest. A connection goes over to that one later when it says that it has [`carried_much`].
    pub(crate) fn spawn(
        &self,
        processor: Option<u32>,
        connection: impl Future<Output = ()> + Send + 'static,
    ) {
        let emptiest = self.emptiest();
        let nearest = processor.map(|processor| &self.0[processor as usize % self.0.len()]);
        let lane = nearest.filter(|lane| lane.connections() < emptiest.connections() + TOGETHER);
        self.run(lane.unwrap_or(emptiest), Box::pin(connection));
    }

    fn emptiest(&self) -> &Lane {
        self.0.iter().min_by_key(|lane| lane.connections()).unwrap_or(&self.0[0])
    }

    fn run(&self, lane: &Lane, connection: Connection) {
        let roaming =
            Roaming { connection: Some(connection), lanes: self.clone(), load: Arc::clone(&lane.load) };
        lane.runtime.spawn(roaming);
    }
}

impl Lane {
    fn connections(&self) -> usize {
        Arc::strong_count(&self.load)
    }
}

thread_local! {
    static HERE: Cell<Option<usize>> = const { Cell::new(None) };
    static CARRIED_MUCH: Cell<bool> = const { Cell::new(false) };
}

/// The number of the loop that the calling thread runs.
pub(crate) fn here() -> Option<usize> {
    HERE.get()
}

/// Says so of the connection that is being polled: its loop had better not have more of them than another. If it goes over,
/// what it has registered with its loop's events must be registered with those of [`here`] when it is polled next.
pub(crate) fn carried_much() {
    CARRIED_MUCH.set(true);
}

type Connection = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A connection on a loop, until it ends or goes over to another.
struct Roaming {
    connection: Option<Connection>,
    lanes: Lanes,
    /// Its loop's.
    load: Arc<()>,
}

impl Future for Roaming {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(mut connection) = self.connection.take() else { return Poll::Ready(()) };
        CARRIED_MUCH.set(false);
        if connection.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        if CARRIED_MUCH.get() {
            let emptiest = self.lanes.emptiest();
            if emptiest.connections() + 1 < Arc::strong_count(&self.load) {
                // What wakes it is told of the new task when it is polled there, which is at once.
                self.lanes.run(emptiest, connection);
                return Poll::Ready(());
            }
        }
        self.connection = Some(connection);
        Poll::Pending
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.running.clear();
        // All loops first: a connection that went over has timers that are still its first loop's.
        let runtimes: Vec<_> = self.threads.drain(..).filter_map(|thread| thread.join().ok()).collect();
        for runtime in runtimes {
            // What is still read from a disk that hangs is not waited for.
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::future::pending;

    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn connections_are_spread_over_the_loops_evenly() {
        assert_eq!(on_each(3, 9, None).await, [3, 3, 3]);
    }

    #[tokio::test]
    async fn connections_of_one_processor_share_a_loop_until_it_has_too_many_more() {
        assert_eq!(on_each(2, TOGETHER, Some(3)).await, [TOGETHER]);
        assert_eq!(on_each(2, TOGETHER + 2, Some(3)).await, [TOGETHER + 1, 1]);
    }

    /// How many of so many connections come to each loop, most first.
    async fn on_each(loops: usize, connections: usize, processor: Option<u32>) -> Vec<usize> {
        let (lanes, _threads) = start(loops).expect("event loops");
        let (tell, mut told) = mpsc::unbounded_channel();
        for _ in 0..connections {
            let tell = tell.clone();
            lanes.spawn(processor, async move {
                tell.send(thread::current().id()).expect("the test listens");
                tell.closed().await;
            });
        }
        let mut on = HashMap::new();
        for _ in 0..connections {
            *on.entry(told.recv().await.expect("a connection that began")).or_insert(0) += 1;
        }
        let mut on: Vec<_> = on.into_values().collect();
        on.sort_unstable_by(|a, b| b.cmp(a));
        on
    }

    #[test]
    fn a_connection_that_still_runs_is_cut_when_the_threads_end() {
        let (lanes, threads) = start(1).expect("event loops");
        let (held, gone) = oneshot::channel::<()>();
        let (began, begun) = oneshot::channel();
        lanes.spawn(None, async move {
            let _held = held;
            began.send(()).expect("the test listens");
            pending().await
        });
        begun.blocking_recv().expect("the connection begins");
        drop(threads);
        gone.blocking_recv().expect_err("the connection is gone");
    }
}
