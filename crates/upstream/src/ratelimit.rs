//! What the upstream says of its limit: Docker Hub's `ratelimit-limit: 100;w=21600` and `ratelimit-remaining`.

use std::time::Duration;

use http::HeaderMap;

/// A limit as the upstream last told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Pulls in the window.
    pub limit: u64,
    /// Pulls that are left.
    pub remaining: u64,
    /// The window.
    pub window: Duration,
}

impl RateLimit {
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

/// `Retry-After` in seconds (RFC 9110 section 10.2.3); its other form, a date, is not sent by registries.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.trim();
    text.parse().ok().map(Duration::from_secs)
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
}
