//! Whether an archive of the store is being restored, and how requests wait for what it may bring.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// How long a request waits for what may come; after that the upstream is as good. Clients wait for 30 s and more.
const PATIENCE: Duration = Duration::from_secs(20);
/// An archive from which nothing comes for so long is not waited for.
const STALLED: Duration = Duration::from_secs(3);

/// A restore's progress; a clone is another handle of the same.
#[derive(Clone, Default)]
pub(crate) struct Restoring(watch::Sender<Progress>);

#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    running: bool,
    /// Grows with everything that comes.
    news: u64,
}

/// A restore that runs, until this is dropped.
pub(crate) struct Running(Restoring);

impl Restoring {
    /// Begins a restore: from now on, requests wait for it.
    pub(crate) fn begin(&self) -> Running {
        self.0.send_modify(|progress| progress.running = true);
        Running(self.clone())
    }

    /// Lets each request that waits look for its content again.
    pub(crate) fn announce(&self) {
        self.0.send_modify(|progress| progress.news += 1);
    }

    pub(crate) fn is_running(&self) -> bool {
        self.0.borrow().running
    }

    /// Waits until `is_here` says so, the restore has ended, nothing has come for 3 s, or 20 s have passed.
    pub(crate) async fn wait(&self, is_here: impl Fn() -> bool) {
        if !self.is_running() {
            return;
        }
        let mut progress = self.0.subscribe();
        let end = Instant::now() + PATIENCE;
        while progress.borrow_and_update().running && !is_here() {
            let stalled = Instant::now() + STALLED;
            if !matches!(timeout_at(end.min(stalled), progress.changed()).await, Ok(Ok(()))) {
                return;
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.send_modify(|progress| progress.running = false);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::pin::{Pin, pin};
    use std::task::{Context, Waker};

    use super::*;

    fn is_over(waiting: Pin<&mut impl Future<Output = ()>>) -> bool {
        waiting.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[tokio::test]
    async fn nobody_waits_while_nothing_is_restored() {
        assert!(is_over(pin!(Restoring::default().wait(|| false))));
    }

    #[tokio::test]
    async fn a_request_waits_until_its_content_is_here() {
        let (restoring, is_here) = (Restoring::default(), Cell::new(false));
        let _running = restoring.begin();
        let mut waiting = pin!(restoring.wait(|| is_here.get()));
        assert!(!is_over(waiting.as_mut()));
        restoring.announce();
        assert!(!is_over(waiting.as_mut()), "another content has come");
        is_here.set(true);
        restoring.announce();
        assert!(is_over(waiting));
    }

    #[tokio::test]
    async fn a_request_waits_no_longer_than_the_restore() {
        let restoring = Restoring::default();
        let running = restoring.begin();
        let mut waiting = pin!(restoring.wait(|| false));
        assert!(!is_over(waiting.as_mut()));
        drop(running);
        assert!(is_over(waiting));
        assert!(!restoring.is_running());
    }
}
