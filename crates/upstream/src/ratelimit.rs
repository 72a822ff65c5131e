//! What the upstream says of its limit: Docker Hub's `ratelimit-limit: 100;w=21600` and `ratelimit-remaining`.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use serde::{Deserialize, Serialize};

/// A limit as the upstream last told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimit {
    /// Pulls in the window.
    pub limit: u64,
    /// Pulls that are left.
    pub remaining: u64,
    /// The window.
    pub window: Duration,
}

impl RateLimit {
    /// Whether less than a tenth of it is left.
    pub const fn is_near(self) -> bool {
        self.remaining < self.limit / 10
    }

    pub(crate) fn read(headers: &HeaderMap) -> Option<Self> {
        let value = |name: &str| {
            let text = headers.get(name)?.to_str().ok()?;
            let (count, window) = text.split_once(";w=").unwrap_or((text, "0"));
            Some((count.trim().parse().ok()?, window.trim().parse().ok()?))
        };
        let (limit, window) = value("ratelimit-limit")?;
        let (remaining, _) = value("ratelimit-remaining")?;
        Some(Self { limit, remaining, window: Duration::from_secs(window) })
    }
}

/// `Retry-After` (RFC 9110 section 10.2.3): seconds, or a date, as the proxies before some registries send it.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.trim();
    let date = || httpdate::parse_http_date(text).ok().map(|at| at.duration_since(SystemTime::now()));
    // One that has passed asks for nothing.
    text.parse().ok().map(Duration::from_secs).or_else(|| date().map(Result::unwrap_or_default))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_hubs_headers_are_read_and_rubbish_is_not() {
        let mut headers = HeaderMap::new();
        assert_eq!(RateLimit::read(&headers), None);
        headers.insert("ratelimit-limit", "100;w=21600".parse().expect("a value"));
        headers.insert("ratelimit-remaining", "76;w=21600".parse().expect("a value"));
        let window = Duration::from_secs(21600);
        assert_eq!(RateLimit::read(&headers), Some(RateLimit { limit: 100, remaining: 76, window }));
        headers.insert("ratelimit-remaining", "-1".parse().expect("a value"));
        assert_eq!(RateLimit::read(&headers), None);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let read = |text: &str| {
            let value = text.parse().expect("a value");
            retry_after(&HeaderMap::from_iter([(http::header::RETRY_AFTER, value)]))
        };
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        let soon = read(&httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(100)));
        let soon = soon.expect("a date").as_secs();
        assert!((90..=100).contains(&soon), "{soon}");
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        for rubbish in ["", "-1", "soon", "1.5", "99999999999999999999999", "Sun, 99 Nov 1994 08:49:37 GMT"] {
            assert_eq!(read(rubbish), None, "{rubbish}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_value_makes_the_readers_panic(text in "[ -~]{0,40}|[0-9]{0,24}(;w=)?[0-9]{0,24}") {
            let value = http::HeaderValue::from_str(&text).expect("printable");
            let headers: HeaderMap = ["ratelimit-limit", "ratelimit-remaining", "retry-after"]
                .map(|name| (http::HeaderName::from_static(name), value.clone()))
                .into_iter()
                .collect();
            let _ = (RateLimit::read(&headers), retry_after(&headers));
        }
    }
}
