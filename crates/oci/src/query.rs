//! Queries: pairs of keys and values behind a path.

use std::fmt::Write as _;

/// Adds query pairs, percent-encoded. Not as a form: some registries take its '+' for a plus, and a '/' must stay one.
pub fn with_query<'a>(mut path: String, pairs: impl IntoIterator<Item = (&'a str, String)>) -> String {
    for (key, value) in pairs {
        path.push(if path.contains('?') { '&' } else { '?' });
        path.push_str(key);
        path.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
                path.push(char::from(byte));
            } else {
                let _ = write!(path, "%{byte:02X}");
            }
        }
    }
    path
}

/// Decodes a query string into pairs: percent escapes and '+' for a space. Bytes that are no UTF-8 are replaced.
pub fn parse_query(query: Option<&str>) -> Vec<(String, String)> {
    form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect()
}
