//! A body that fails in the middle: the connection is cut there, after everything before it has gone out.

use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};

/// Passes on a body, and tells its error one turn later than it comes.
///
/// hyper closes the connection as soon as a body fails, and drops the headers and bytes that it has gathered and not
/// written yet: a client of a fetch that fails early would not even see a status. While a body is pending hyper writes
/// what it has, so an error first makes the body pending once.
pub(crate) struct CutAfterFlush<B: Body> {
    inner: B,
    failed: Option<B::Error>,
}

impl<B: Body> CutAfterFlush<B> {
    pub(crate) const fn new(inner: B) -> Self {
        Self { inner, failed: None }
    }
}

impl<B: Body<Error: Unpin> + Unpin> Body for CutAfterFlush<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Some(Err(error)));
        }
        match Pin::new(&mut self.inner).poll_frame(context) {
            Poll::Ready(Some(Err(error))) => {
                self.failed = Some(error);
                context.waker().wake_by_ref();
                Poll::Pending
            }
            other => other,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.failed.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body as AnyBody;
    use bytes::Bytes;
    use futures_util::stream;

    use super::*;

    #[test]
    fn an_error_is_told_after_the_body_was_pending_once() {
        let pieces = [Ok(Bytes::from_static(b"abc")), Err(std::io::Error::other("broken"))];
        let mut body = CutAfterFlush::new(AnyBody::from_stream(stream::iter(pieces)));
        let mut context = Context::from_waker(std::task::Waker::noop());
        let mut poll = || Pin::new(&mut body).poll_frame(&mut context);
        assert!(matches!(poll(), Poll::Ready(Some(Ok(_)))));
        assert!(poll().is_pending());
        assert!(matches!(poll(), Poll::Ready(Some(Err(_)))));
    }
}
