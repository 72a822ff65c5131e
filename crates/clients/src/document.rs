//! A TOML file of a client's, with everything that its user has written kept.

use std::path::Path;

use toml_edit::{DocumentMut, TomlError};

use crate::Error;

/// Reads it; no file is an empty one.
pub(crate) fn parse(path: &Path, text: Option<&str>) -> Result<DocumentMut, Error> {
    let text = text.unwrap_or_default();
    text.parse().map_err(|error| not_understood(path, (text, &error)))
}

/// Names the line and does not quote it: there may be a secret in it.
pub(crate) fn not_understood(path: &Path, (text, error): (&str, &TomlError)) -> Error {
    let line = error.span().map(|span| text.as_bytes()[..span.start.min(text.len())].iter());
    let line = line.map(|before| format!("line {}: ", 1 + before.filter(|byte| **byte == b'\n').count()));
    let why = format!("{}{}", line.unwrap_or_default(), error.message().trim().replace('\n', ", "));
    Error::NotUnderstood { path: path.to_owned(), why }
}

/// A TOML basic string.
pub(crate) fn quoted(text: &str) -> String {
    // JSON's escapes are TOML's, for everything that a path or an address can have.
    serde_json::Value::from(text).to_string()
}
