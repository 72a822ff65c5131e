//! A client's TOML file, with everything that its user has written kept.

use std::path::Path;

use toml_edit::{DocumentMut, TomlError};

use crate::error::Error;

/// Parses it; no file is an empty one.
pub(crate) fn parse(path: &Path, text: Option<&str>) -> Result<DocumentMut, Error> {
    let text = text.unwrap_or_default();
    text.parse().map_err(|error| not_understood(path, text, &error))
}

/// Names the line and does not quote it: there may be a secret in it.
pub(super) fn not_understood(path: &Path, text: &str, error: &TomlError) -> Error {
    let message = error.message().trim().replace('\n', ", ");
    let Some(span) = error.span() else { return Error::not_understood(path, message) };
    let before = &text.as_bytes()[..span.start.min(text.len())];
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    Error::not_understood(path, format!("line {line}: {message}"))
}

/// A TOML basic string.
pub(super) fn quoted(text: &str) -> String {
    // JSON's escapes are TOML's, for everything that a path or an address can have.
    serde_json::Value::from(text).to_string()
}
