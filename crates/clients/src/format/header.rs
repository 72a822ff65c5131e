//! The line by which hubcap knows its own text.

/// The first line of everything that hubcap writes into a file of others, or as a file of its own.
pub(crate) const HEADER: &str = "# Written by hubcap, which removes it again: hubcap unset\n";

/// Whether hubcap wrote the whole file.
pub(crate) fn is_ours(text: &str) -> bool {
    text.starts_with(HEADER)
}
