//! Names: repository, tag (distribution-spec, "Pulling manifests").

use std::fmt;
use std::str::FromStr;

use crate::ParseError;

/// Declares a validated string. The check runs once, at the edge; past it the type is the proof.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Box<str>);

        impl $name {
            /// The name as it was given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ParseError;

            fn from_str(text: &str) -> Result<Self, ParseError> {
                match $check(text) {
                    Ok(()) => Ok(Self(text.into())),
                    Err(why) => Err(ParseError::new($what, text, why)),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// A repository's `<name>`, of any depth: `library/alpine`. At most 255 characters.
    Repository, "repository", check_repository
);
name!(
    /// A tag: at most 128 characters of `[A-Za-z0-9_.-]`, not beginning with `.` or `-`.
    Tag, "tag", check_tag
);

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*`
fn check_repository(text: &str) -> Result<(), &'static str> {
    if text.is_empty() || text.len() > 255 {
        return Err("1 to 255 characters are needed");
    }
    if text.split('/').all(is_path_component) {
        Ok(())
    } else {
        Err("each part must be lowercase letters and digits, parted by '.', '_', '__' or '-'")
    }
}

fn is_path_component(part: &str) -> bool {
    let alphanumeric = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = part.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else { return false };
    if !alphanumeric(first) || !alphanumeric(last) {
        return false;
    }
    bytes.split(|&c| alphanumeric(c)).all(|separator| match separator {
        b"" | b"." | b"_" | b"__" => true,
        dashes => dashes.iter().all(|&c| c == b'-'),
    })
}

fn check_tag(text: &str) -> Result<(), &'static str> {
    let bytes = text.as_bytes();
    match bytes.first() {
        None => Err("it is empty"),
        Some(b'.' | b'-') => Err("it must not begin with '.' or '-'"),
        Some(_) if bytes.len() > 128 => Err("it is longer than 128 characters"),
        Some(_) if bytes.iter().all(|c| c.is_ascii_alphanumeric() || b"_.-".contains(c)) => Ok(()),
        Some(_) => Err("only letters, digits, '_', '.' and '-' are allowed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_of_any_depth_are_names() {
        for text in ["alpine", "library/alpine", "a/b/c/d/e/f", "a.b/c__d/e---f", "0"] {
            assert!(text.parse::<Repository>().is_ok(), "{text}");
        }
    }

    #[test]
    fn what_is_no_repository_is_refused() {
        let long = "a/".repeat(200);
        for text in [
            "", "/", "a//b", "/a", "a/", "A", "a..b", "a___b", ".a", "a.", "..", "a/../b", "a b", "a%2fb",
            &long,
        ] {
            assert!(text.parse::<Repository>().is_err(), "{text}");
        }
    }

    #[test]
    fn tags_keep_to_the_grammar() {
        assert!("3.20-alpine_x".parse::<Tag>().is_ok());
        for text in ["", ".a", "-a", "a/b", "a:b", &"a".repeat(129)] {
            assert!(text.parse::<Tag>().is_err(), "{text}");
        }
    }
}
