//! Event loops for the connections: a thread for each processor. A connection stays on the one that it was given to, so no
//! request costs a switch between threads (some 15 % of a manifest's answer). What outlives a request, a fill above all,
//! runs on the daemon's own runtime.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

pub(crate) struct Lanes(Vec<Lane>);

struct Lane {
    runtime: Handle,
    /// Each connection holds one.
    load: Arc<()>,
    /// Ends the loop when it is dropped.
    running: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Lanes {
    /// Starts them.
    ///
    /// # Errors
    /// The system's, when it gives no thread or no event queue.
    pub(crate) fn start() -> io::Result<Self> {
        let processors = thread::available_parallelism().map_or(1, Into::into);
        (0..processors).map(|_| Lane::start()).collect::<io::Result<_>>().map(Self)
    }

    /// Runs a connection on the loop that has fewest.
    pub(crate) fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let Some(lane) = self.0.iter().min_by_key(|lane| Arc::strong_count(&lane.load)) else { return };
        let carried = Arc::clone(&lane.load);
        lane.runtime.spawn(async move {
            let _carried = carried;
            connection.await;
        });
    }
}

impl Lane {
    fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (running, ended) = oneshot::channel();
        let thread = thread::Builder::new().name("hubcap-lane".into()).spawn(move || {
            let _ = runtime.block_on(ended);
            // Connections are cut; what they still read from a disk that hangs is not waited for.
            runtime.shutdown_background();
        })?;
        Ok(Self { runtime: handle, load: Arc::default(), running: Some(running), thread: Some(thread) })
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        drop(self.running.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
