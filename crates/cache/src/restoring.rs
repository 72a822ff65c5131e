//! Whether an archive of the store is being restored, and how requests wait for what it may bring.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::lock::lock;

/// How long a request waits for what may come; after that the upstream is as good. Clients wait for 30 s and more.
const PATIENCE: Duration = Duration::from_secs(20);
/// An archive from which nothing comes for so long is not waited for.
const STALLED: Duration = Duration::from_secs(3);

/// How long requests wait for one restore altogether. Without this each content of a job would cost its own wait.
const BUDGET: Duration = Duration::from_secs(40);

/// A restore's progress; a clone is another handle of the same.
#[derive(Clone, Default)]
pub(crate) struct Restoring {
    progress: watch::Sender<Progress>,
    waits: Arc<Mutex<Waits>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    running: bool,
    /// Grows with everything that comes.
    news: u64,
}

/// All waits for the restore. Those at the same time count once.
#[derive(Debug, Default)]
struct Waits {
    /// Requests that wait, and since when there are any.
    running: usize,
    since: Option<Instant>,
    /// How long others have waited before.
    before: Duration,
}

/// A request that waits, until this is dropped.
struct Wait<'a>(&'a Mutex<Waits>);

/// A restore that runs, until this is dropped.
pub(crate) struct Running(Restoring);

impl Restoring {
    /// Begins a restore: from now on, requests wait for it.
    pub(crate) fn begin(&self) -> Running {
        *lock(&self.waits) = Waits::default();
        self.progress.send_modify(|progress| progress.running = true);
        Running(self.clone())
    }

    /// Lets each request that waits look for its content again.
    pub(crate) fn announce(&self) {
        self.progress.send_modify(|progress| progress.news += 1);
    }

    pub(crate) fn is_running(&self) -> bool {
        self.progress.borrow().running
    }

    /// Waits until `is_here` says so, the restore has ended, nothing has come for 3 s, 20 s have passed, or all requests
    /// together have waited for 40 s.
    pub(crate) async fn wait(&self, is_here: impl Fn() -> bool) {
        if !self.is_running() {
            return;
        }
        let mut progress = self.progress.subscribe();
        let now = Instant::now();
        let left = lock(&self.waits).begin(now);
        let _wait = Wait(&self.waits);
        let end = now + PATIENCE.min(left);
        while progress.borrow_and_update().running && !is_here() {
            let stalled = Instant::now() + STALLED;
            if !matches!(timeout_at(end.min(stalled), progress.changed()).await, Ok(Ok(()))) {
                return;
            }
        }
    }
}

impl Waits {
    /// One more request waits; returns how long it may.
    fn begin(&mut self, now: Instant) -> Duration {
        self.running += 1;
        let since = *self.since.get_or_insert(now);
        BUDGET.saturating_sub(self.before + now.saturating_duration_since(since))
    }

    /// One request less waits.
    fn end(&mut self, now: Instant) {
        self.running = self.running.saturating_sub(1);
        if self.running == 0
            && let Some(since) = self.since.take()
        {
            self.before += now.saturating_duration_since(since);
        }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        lock(self.0).end(Instant::now());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.progress.send_modify(|progress| progress.running = false);
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

    #[test]
    fn all_waits_for_a_restore_have_one_budget() {
        let (now, mut waits) = (Instant::now(), Waits::default());
        let at = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(waits.begin(at(0)), BUDGET);
        assert_eq!(waits.begin(at(5)).as_secs(), 35, "at the same time");
        waits.end(at(10));
        waits.end(at(15));
        assert_eq!(waits.begin(at(100)).as_secs(), 25, "nobody has waited meanwhile");
        waits.end(at(130));
        assert_eq!(waits.begin(at(200)), Duration::ZERO);
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
