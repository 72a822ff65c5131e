//! What the scripted origin answers, before it is sent.

use axum::body::Body;
use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use hubcap_oci::{ByteRange, RangeRequest, Selection};

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

    /// The same with another status.
    pub(crate) fn but(self, status: u16) -> Self {
        Self { status, ..self }
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

    /// The part that a request's Range names, or the parts.
    pub(crate) fn ranged(mut self, wanted: Option<&str>) -> Self {
        let length = self.bytes.len() as u64;
        let Ok(selection) = RangeRequest::parse(wanted).resolve(length) else { return Self::status(416) };
        let range = match selection {
            Selection::Whole => return self,
            Selection::Range(range) => range,
            Selection::Ranges(ranges) => return self.parts(&ranges),
        };
        self.start = range.start as usize;
        self.bytes = self.bytes.slice(self.start..range.end as usize);
        self.status = 206;
        self.with("content-range", &range.to_string())
    }

    /// Several parts, as nginx frames them.
    fn parts(mut self, ranges: &[ByteRange]) -> Self {
        let mut body = Vec::new();
        for range in ranges {
            let head = format!("\r\n--00000000000000000001\r\nContent-Range: {range}\r\n\r\n");
            body.extend_from_slice(head.as_bytes());
            body.extend_from_slice(&self.bytes[range.start as usize..range.end as usize]);
        }
        body.extend_from_slice(b"\r\n--00000000000000000001--\r\n");
        (self.status, self.bytes) = (206, body.into());
        self.with("content-type", "multipart/byteranges; boundary=00000000000000000001")
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
        // A length that a situation tells may be a lie, at which hyper's server would panic if it knew the true one.
        let is_length_own = self.is_length_told && !self.headers.contains_key(header::CONTENT_LENGTH);
        let body = match self.send {
            Some(send) => send(self.bytes),
            // A stream: the server must not know the length by itself.
            None if !is_length_own => {
                Body::from_stream(futures_util::stream::iter([Ok::<_, std::io::Error>(self.bytes)]))
            }
            None => Body::from(self.bytes),
        };
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(self.status).expect("a status");
        *response.headers_mut() = self.headers;
        if is_length_own {
            response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        }
        response
    }
}
