//! Worker threads for the connections: one for each processor, each with its own current-thread runtime. Nothing moves
//! between them, so answering a request costs no switch between threads.
//!
//! A connection goes to the worker with the fewest connections. A client on this machine goes to the worker of its own
//! processor instead, while that has fewer than [`TOGETHER`] connections more: a client whose connections are spread wakes, and
//! is woken by, several threads for each request. Work that outlives a request, above all a fetch, runs on the daemon's
//! own runtime.

use std::future::Future;
use std::io;
use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// How many more connections than the least loaded worker make the worker of a client's processor too busy for another.
const TOGETHER: usize = 16;

/// The workers. Dropping them ends their threads, and cuts the connections that still run.
pub(crate) struct Workers(Vec<Worker>);

struct Worker {
    /// Its tasks are its connections, and nothing else.
    runtime: Handle,
    /// The thread ends when this is dropped.
    running: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Workers {
    /// Starts `count` worker threads, at least one.
    ///
    /// # Errors
    /// The system's, when it gives no thread or no event queue.
    pub(crate) fn start(count: usize) -> io::Result<Self> {
        (0..count.max(1)).map(|_| Worker::start()).collect::<io::Result<_>>().map(Self)
    }

    /// Runs a connection until its end. `processor` is where its client runs, if that is on this machine.
    pub(crate) fn spawn(
        &self,
        processor: Option<u32>,
        connection: impl Future<Output = ()> + Send + 'static,
    ) {
        let loads: Vec<usize> =
            self.0.iter().map(|worker| worker.runtime.metrics().num_alive_tasks()).collect();
        self.0[choose(&loads, processor)].runtime.spawn(connection);
    }
}

/// The index of the worker for a connection; `loads` has each worker's number of connections, at least one worker's.
fn choose(loads: &[usize], processor: Option<u32>) -> usize {
    let least = (0..loads.len()).min_by_key(|&worker| loads[worker]).unwrap_or(0);
    let near = processor.map(|processor| processor as usize % loads.len());
    near.filter(|&near| loads[near] < loads[least] + TOGETHER).unwrap_or(least)
}

impl Worker {
    fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (running, ended) = oneshot::channel::<()>();
        let thread = thread::Builder::new().name("hubcap-worker".into()).spawn(move || {
            let _ = runtime.block_on(ended);
            // A read from a disk that hangs is not waited for.
            runtime.shutdown_background();
        })?;
        Ok(Self { runtime: handle, running: Some(running), thread: Some(thread) })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.running.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[test]
    fn a_connection_goes_to_the_worker_with_the_fewest() {
        assert_eq!(choose(&[0, 0, 0], None), 0);
        assert_eq!(choose(&[2, 1, 1], None), 1);
        assert_eq!(choose(&[3, 2, 1], None), 2);
    }

    #[test]
    fn a_clients_processor_chooses_the_worker_until_it_has_too_many_more() {
        assert_eq!(choose(&[0, 0], Some(3)), 1);
        assert_eq!(choose(&[4, 3 + TOGETHER], Some(1)), 1);
        assert_eq!(choose(&[4, 4 + TOGETHER], Some(1)), 0);
        assert_eq!(choose(&[0], Some(7)), 0);
    }

    #[test]
    fn a_connection_counts_from_its_start() {
        let workers = Workers::start(2).expect("workers");
        for _ in 0..4 {
            workers.spawn(None, pending());
        }
        for worker in &workers.0 {
            assert_eq!(worker.runtime.metrics().num_alive_tasks(), 2);
        }
    }

    #[test]
    fn a_running_connection_is_cut_when_the_workers_end() {
        let workers = Workers::start(1).expect("workers");
        let (held, gone) = oneshot::channel::<()>();
        let (began, begun) = oneshot::channel();
        workers.spawn(None, async move {
            let _held = held;
            began.send(()).expect("the test listens");
            pending().await
        });
        begun.blocking_recv().expect("the connection begins");
        drop(workers);
        gone.blocking_recv().expect_err("the connection is gone");
    }
}
