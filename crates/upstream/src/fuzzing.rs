//! The parsers of an upstream's headers, for `fuzz/` alone.

use http::{HeaderMap, HeaderValue, header};

use crate::auth::challenge::challenges;
use crate::link;
use crate::ratelimit::{self, RateLimit};

/// Reads a text as every header that is read.
pub fn headers(text: &str) {
    let Ok(value) = HeaderValue::from_str(text) else { return };
    let mut headers = HeaderMap::new();
    for name in ["link", "ratelimit-limit", "ratelimit-remaining", "retry-after"] {
        headers.insert(name, value.clone());
    }
    headers.insert(header::WWW_AUTHENTICATE, value.clone());
    headers.insert(header::LOCATION, value);
    if let Ok(asked) = "https://registry.example/v2/a/tags/list?n=2".parse() {
        let _ = challenges(&headers, &asked);
        let _ = link::next(&headers, &asked, "tags", "list");
    }
    let _ = RateLimit::read(&headers);
    let _ = ratelimit::retry_after(&headers);
}
