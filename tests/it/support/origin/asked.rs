//! A request that came to the scripted origin.

use std::sync::Arc;

use http::{HeaderMap, Method, header};

use super::quirk::OpenParts;

/// Which of its hosts a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Registry,
    Token,
    Cdn,
}

/// One request that came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) host: Role,
    pub(crate) method: Method,
    /// With its query.
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    /// A form, for a token service.
    pub(crate) body: String,
    /// How many requests came on its connection before it.
    pub(crate) nth: usize,
    pub(crate) authorization: Option<String>,
    pub(crate) range: Option<String>,
    /// For quirks that count them.
    pub(super) open_parts: Arc<OpenParts>,
}

impl Asked {
    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// A parameter of its query, as it was written.
    pub(crate) fn query(&self, key: &str) -> Option<&str> {
        let (_, query) = self.target.split_once('?')?;
        query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
    }

    pub(crate) fn text(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }
}
