//! One log line a request, written when its body has been sent or was cut.

use std::borrow::Cow;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::Body;
use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response, Uri};
use http_body::{Frame, SizeHint};
use hubcap_cache::{Outcome, RequestGuard, Sent};

use crate::api::Reply;
use crate::connections::Busy;
use crate::cut::CutAfterFlush;
use crate::flow::Taking;

/// What is told of a path at most, in bytes.
const LONGEST: usize = 512;

/// What the line will say.
pub(crate) struct Entry {
    method: Method,
    /// Told without the query, which may hold anything.
    uri: Uri,
    outcome: Outcome,
    status: u16,
    started: Instant,
    sent: Sent,
    /// When the connection was given bytes that it has not come back from yet.
    given: Option<Instant>,
    expected: Option<u64>,
    broken: Option<String>,
    /// Where it counts; not for what is no repository's.
    guard: Option<RequestGuard>,
    taking: Taking,
    /// Keeps the connection.
    busy: Busy,
}

impl Entry {
    pub(crate) fn new(parts: &Parts, reply: &mut Reply, started: Instant, busy: Busy) -> Self {
        let head = parts.method == Method::HEAD;
        Self {
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            outcome: reply.outcome,
            status: reply.status.as_u16(),
            started,
            sent: Sent::default(),
            given: None,
            expected: if head { Some(0) } else { reply.length },
            broken: None,
            guard: reply.guard.take(),
            taking: Taking::new(busy.flow()),
            busy,
        }
    }
}

/// Puts the log line at the end of the response's body.
pub(crate) fn logged(response: Response<Body>, entry: Entry) -> Response<Body> {
    response.map(|inner| Body::new(CutAfterFlush::new(Logged { inner, entry })))
}

struct Logged {
    inner: Body,
    entry: Entry,
}

impl http_body::Body for Logged {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        // The connection asks for more only when it has room for that.
        if let Some(given) = self.entry.given.take() {
            let now = Instant::now();
            let waited = now.saturating_duration_since(given);
            self.entry.sent.blocked += waited;
            self.entry.taking.asked(waited, now);
        }
        let frame = Pin::new(&mut self.inner).poll_frame(context);
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                let now = Instant::now();
                self.entry.given = Some(now);
                self.entry.sent.began.get_or_insert(now);
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                self.entry.sent.bytes += bytes;
                self.entry.taking.given(bytes, now);
                self.entry.busy.give(bytes);
            }
            Poll::Ready(Some(Err(error))) => self.entry.broken = Some(error.to_string()),
            Poll::Ready(None) | Poll::Pending => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        let Entry { method, uri, outcome, status, started, sent, expected, broken, guard, .. } = &self.entry;
        let (bytes, status) = (sent.bytes, *status);
        if let Some(guard) = guard {
            // The text of an error is no content.
            guard.answered(*outcome, if status < 300 { *sent } else { Sent::default() });
        }
        let outcome = outcome.label();
        let path = match uri.path() {
            path if path.len() <= LONGEST => Cow::Borrowed(path),
            path => Cow::Owned(path.chars().take(LONGEST).collect::<String>()),
        };
        let path = path.as_ref();
        // Looked at only where the line is written.
        let took = || (started.elapsed().as_secs_f64() * 1e6).round() / 1e3;
        if let Some(why) = broken {
            tracing::warn!(target: "hubcap::access", %method, path, outcome, http.status = status, bytes, duration_ms = took(),
                "cut: {why}");
        } else if expected.is_some_and(|expected| bytes < expected) {
            tracing::info!(target: "hubcap::access", %method, path, outcome, http.status = status, bytes, duration_ms = took(),
                "the client left");
        } else {
            tracing::info!(target: "hubcap::access", %method, path, outcome, http.status = status, bytes, duration_ms = took());
        }
    }
}
