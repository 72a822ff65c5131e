//! What the scripted origin answers, before it is sent.

use axum::body::Body;
use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use hubcap_oci::{RangeRequest, Selection};

/// An answer.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Bytes,
    /// The first byte of the content that is in it.
    pub(crate) start: usize,
    is_length_told: bool,
    send: Option<Box<dyn FnOnce(Bytes) -> Body + Send>>,
}

impl Reply {
    /// 200, with these bytes.
    pub(crate) fn new(bytes: impl Into<Bytes>) -> Self {
        let (headers, bytes) = (HeaderMap::new(), bytes.into());
        Self { status: 200, headers, bytes, start: 0, is_length_told: true, send: None }
    }

    pub(crate) fn status(status: u16) -> Self {
        let body = r#"{"errors":[{"code":"UNKNOWN","message":"the origin says no"}]}"#;
        Self { status, ..Self::new(body) }
    }

    /// The same with other bytes.
    pub(crate) fn has(self, bytes: impl Into<Bytes>) -> Self {
        Self { bytes: bytes.into(), ..self }
    }

    /// Sets a header, in place of what it was.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().expect("a name");
        self.headers.insert(name, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
        self
    }

    /// Adds one more header of that name.
    pub(crate) fn and(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().expect("a name");
        self.headers.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.remove(name);
        self
    }

    /// The part that a request's Range names.
    pub(crate) fn ranged(mut self, wanted: Option<&str>) -> Self {
        let length = self.bytes.len() as u64;
        let Selection::Range(range) = RangeRequest::parse(wanted).resolve(length).expect("a range") else {
            return self;
        };
        self.start = range.start as usize;
        self.bytes = self.bytes.slice(self.start..range.end as usize);
        self.status = 206;
        self.with("content-range", &range.to_string())
    }

    /// No Content-Length.
    pub(crate) fn untold(self) -> Self {
        Self { is_length_told: false, ..self }
    }

    /// How its bytes go out.
    pub(crate) fn sent_by<S>(mut self, send: impl FnOnce(Bytes) -> S + Send + 'static) -> Self
    where
        S: Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    {
        self.send = Some(Box::new(|bytes| Body::from_stream(send(bytes))));
        self
    }

    /// Whether it gives what was asked for, or a part of it.
    pub(crate) fn is_content(&self) -> bool {
        matches!(self.status, 200 | 206)
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let length = self.bytes.len();
        let body = match self.send {
            Some(send) => send(self.bytes),
            // A stream: the server must not tell the length by itself.
            None if !self.is_length_told => {
                Body::from_stream(futures_util::stream::iter([Ok::<_, std::io::Error>(self.bytes)]))
            }
            None => Body::from(self.bytes),
        };
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(self.status).expect("a status");
        *response.headers_mut() = self.headers;
        if self.is_length_told && !response.headers().contains_key(header::CONTENT_LENGTH) {
            response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        }
        response
    }
}
