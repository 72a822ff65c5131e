//! Connections that are used again. The server, or a load balancer or NAT before it, may have forgotten such a connection:
//! a request over it is cut off, or is never answered. Only a connection that was just opened tells anything of the server.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::error::Error;

/// How long a connection is kept for the next request: shorter than load balancers keep it, of which some close it after
/// 15 s, so that it is rarely a dead one.
pub(crate) const IDLE: Duration = Duration::from_secs(10);

/// Headers of one answer, at most; content networks send many.
pub(crate) const MAX_HEADERS: usize = 400;

/// Over which connection a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connection {
    /// One that was used before, where there is one.
    Pooled,
    /// One of its own.
    Fresh,
}

tokio::task_local! {
    /// Whether the request that runs has opened a connection.
    static OPENED: Arc<AtomicBool>;
}

/// A connection that is being opened, or cannot be.
pub(crate) type Opening<C, E> = Pin<Box<dyn Future<Output = Result<C, E>> + Send>>;

/// Notes, when `connecting` has ended, that the request that runs has opened a connection. The connectors' futures go
/// through it. That one was begun says nothing: when an old one becomes free before, the request goes over that, and the
/// new one is opened by a task of the pool's, for the next request.
pub(crate) fn opening<C, E>(
    connecting: impl Future<Output = Result<C, E>> + Send + 'static,
) -> Opening<C, E> {
    Box::pin(async {
        let connected = connecting.await;
        let _ = OPENED.try_with(|opened| opened.store(true, Ordering::Relaxed));
        connected
    })
}

/// Notes that what the request has opened is of no use to it, and that it begins anew.
pub(crate) fn begin_anew() {
    let _ = OPENED.try_with(|opened| opened.store(false, Ordering::Relaxed));
}

/// The answer to a request that may be sent twice. `pooled` sends it over a connection of the pool. Where that is an old
/// one, and its answer shows by `is_dead` that it was closed, `fresh` sends the request once more; where nothing comes
/// for `patience`, `fresh` sends it as well, and the first answer counts, because the server may only be slow.
///
/// # Errors
/// What the last of them failed with.
pub(crate) async fn first_answer<T, P, F>(
    pooled: P,
    fresh: impl FnOnce() -> F,
    patience: Duration,
    is_dead: impl Fn(&Result<T, Error>) -> bool,
) -> Result<T, Error>
where
    P: Future<Output = Result<T, Error>>,
    F: Future<Output = Result<T, Error>>,
{
    let opened = Arc::<AtomicBool>::default();
    let mut pooled = pin!(OPENED.scope(Arc::clone(&opened), pooled));
    let is_old = || !opened.load(Ordering::Relaxed);
    match tokio::time::timeout(patience, &mut pooled).await {
        Ok(answered) if is_old() && is_dead(&answered) => fresh().await,
        Ok(answered) => answered,
        Err(_) if !is_old() => pooled.await,
        Err(_) => {
            let mut fresh = pin!(fresh());
            tokio::select! {
                answered = &mut pooled => if is_dead(&answered) { fresh.await } else { answered },
                answered = &mut fresh => if answered.is_err() { pooled.await } else { answered },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(20);

    fn closed() -> Result<&'static str, Error> {
        Err(Error::unavailable("closed"))
    }

    async fn play<P, F>(pooled: P, fresh: F) -> Result<&'static str, Error>
    where
        P: Future<Output = Result<&'static str, Error>>,
        F: Future<Output = Result<&'static str, Error>>,
    {
        let playing = first_answer(pooled, || fresh, PATIENCE, Result::is_err);
        tokio::time::timeout(Duration::from_secs(60), playing).await.expect("an end")
    }

    async fn late(answer: Result<&'static str, Error>) -> Result<&'static str, Error> {
        tokio::time::sleep(PATIENCE * 2).await;
        answer
    }

    #[tokio::test]
    async fn an_old_connection_that_is_closed_or_silent_is_replaced() {
        assert_eq!(play(ready(closed()), ready(Ok("fresh"))).await, Ok("fresh"));
        assert_eq!(play(pending(), ready(Ok("fresh"))).await, Ok("fresh"));
        assert_eq!(play(late(closed()), late(Ok("fresh"))).await, Ok("fresh"));
        assert_eq!(play(ready(closed()), ready(closed())).await, closed());
    }

    #[tokio::test]
    async fn a_slow_server_may_still_answer_over_the_old_one() {
        assert_eq!(play(ready(Ok("old")), pending()).await, Ok("old"));
        assert_eq!(play(late(Ok("old")), pending()).await, Ok("old"));
        assert_eq!(play(late(Ok("old")), ready(closed())).await, Ok("old"));
    }

    #[tokio::test]
    async fn what_a_fresh_connection_says_counts() {
        let opened = |answer: Result<&'static str, Error>| async {
            opening(ready(Ok::<_, Error>(()))).await?;
            late(answer).await
        };
        assert_eq!(play(opened(closed()), ready(Ok("another"))).await, closed());
        assert_eq!(play(opened(Ok("it")), ready(Ok("another"))).await, Ok("it"));
    }
}
