//! Event loops for the connections: a thread for each processor. A connection stays on the one that it was given to, so no
//! request costs a switch between threads (some 15 % of a manifest's answer). What outlives a request, a fill above all,
//! runs on the daemon's own runtime.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task;

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
    threads: Vec<JoinHandle<()>>,
}

/// Starts them.
///
/// # Errors
/// The system's, when it gives no thread or no event queue.
pub(crate) fn start() -> io::Result<(Lanes, Threads)> {
    let processors = thread::available_parallelism().map_or(1, Into::into);
    let mut threads = Threads::default();
    let mut lanes = Vec::new();
    for _ in 0..processors {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        lanes.push(Lane { runtime: runtime.handle().clone(), load: Arc::default() });
        let (running, ended) = oneshot::channel();
        let thread = thread::Builder::new().name("hubcap-lane".into()).spawn(move || {
            let _ = runtime.block_on(ended);
            // What is still read from a disk that hangs is not waited for.
            runtime.shutdown_background();
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

    /// Runs a connection, on the loop that has fewest.
    pub(crate) fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let Some(lane) = self.0.iter().min_by_key(|lane| Arc::strong_count(&lane.load)) else { return };
        let carried = Arc::clone(&lane.load);
        lane.runtime.spawn(async move {
            let _carried = carried;
            connection.await;
        });
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.running.clear();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
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
        let (lanes, _threads) = start().expect("event loops");
        let (tell, mut told) = mpsc::unbounded_channel();
        let connections = 3 * lanes.0.len();
        for _ in 0..connections {
            let tell = tell.clone();
            lanes.spawn(async move {
                tell.send(thread::current().id()).expect("the test listens");
                pending().await
            });
        }
        let mut on = HashMap::new();
        for _ in 0..connections {
            *on.entry(told.recv().await.expect("a connection that began")).or_insert(0) += 1;
        }
        assert_eq!(on.into_values().collect::<Vec<_>>(), vec![3; lanes.0.len()]);
    }

    #[test]
    fn a_connection_that_still_runs_is_cut_when_the_threads_end() {
        let (lanes, threads) = start().expect("event loops");
        let (held, gone) = oneshot::channel::<()>();
        let (began, begun) = oneshot::channel();
        lanes.spawn(async move {
            let _held = held;
            began.send(()).expect("the test listens");
            pending().await
        });
        begun.blocking_recv().expect("the connection begins");
        drop(threads);
        gone.blocking_recv().expect_err("the connection is gone");
    }
}
