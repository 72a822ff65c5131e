//! `daemon.json`: merged, never overwritten. Every key keeps its place and its value keeps its text.

use std::fmt;
use std::path::Path;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::Error;

const MIRRORS: &str = "registry-mirrors";

/// A `daemon.json`, as far as hubcap has to know it.
#[derive(Debug)]
pub(crate) struct DaemonJson {
    entries: Vec<(String, Box<RawValue>)>,
    indent: String,
    newline: bool,
}

struct Entries(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

impl DaemonJson {
    /// Reads it; no file and an empty one are `{}`, as dockerd takes them.
    pub(crate) fn parse(path: &Path, text: Option<&str>) -> Result<Self, Error> {
        let text = text.unwrap_or_default();
        let Entries(entries) = if text.trim().is_empty() {
            Entries(Vec::new())
        } else {
            serde_json::from_str(text).map_err(|error| not_understood(path, text, &error))?
        };
        let indented = text.lines().find(|line| line.starts_with([' ', '\t']) && !line.trim().is_empty());
        let indent = indented.map_or("  ", |line| &line[..line.len() - line.trim_start().len()]);
        // A file of one line has nothing to tell.
        let newline = text.is_empty() || text.ends_with('\n');
        Ok(Self { entries, indent: indent.to_owned(), newline })
    }

    /// The mirrors of Docker Hub; `None` when it says nothing of them.
    pub(crate) fn mirrors(&self, path: &Path) -> Result<Option<Vec<String>>, Error> {
        let Some((_, value)) = self.entries.iter().find(|(key, _)| key == MIRRORS) else { return Ok(None) };
        serde_json::from_str(value.get()).map(Some).map_err(|_| Error::NotUnderstood {
            path: path.to_owned(),
            why: format!("{MIRRORS:?} is no list of URLs; dockerd itself does not take it"),
        })
    }

    /// The same file with these mirrors; `None` takes the key out.
    pub(crate) fn with_mirrors(self, mirrors: Option<&[String]>) -> String {
        self.with(MIRRORS, mirrors.and_then(|mirrors| serde_json::value::to_raw_value(mirrors).ok()))
    }

    /// A key's value, as it is written.
    pub(crate) fn get(&self, name: &str) -> Option<&RawValue> {
        self.entries.iter().find(|(key, _)| key == name).map(|(_, value)| &**value)
    }

    /// The same file with this value; `None` takes the key out.
    pub(crate) fn with(mut self, name: &str, value: Option<Box<RawValue>>) -> String {
        let at = self.entries.iter().position(|(key, _)| key == name);
        match (at, value) {
            (Some(at), Some(value)) => self.entries[at].1 = value,
            (Some(at), None) => drop(self.entries.remove(at)),
            (None, Some(value)) => self.entries.push((name.into(), value)),
            (None, None) => {}
        }
        self.to_string()
    }
}

impl fmt::Display for DaemonJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (number, (key, value)) in self.entries.iter().enumerate() {
            let (comma, key) = (if number == 0 { "" } else { "," }, serde_json::Value::from(key.as_str()));
            write!(f, "{comma}\n{}{key}: {}", self.indent, value.get())?;
        }
        f.write_str(if self.entries.is_empty() { "}" } else { "\n}" })?;
        if self.newline { f.write_str("\n") } else { Ok(()) }
    }
}

fn not_understood(path: &Path, text: &str, error: &serde_json::Error) -> Error {
    let line = text.lines().nth(error.line().saturating_sub(1)).unwrap_or_default();
    let comment =
        ["//", "/*", "#"].iter().any(|mark| line.trim_start().starts_with(mark) || line.contains(mark));
    // Not the line itself: proxies' passwords may be in it.
    let why = if comment {
        format!(
            "line {}: JSON has no comments, and dockerd itself does not take them; remove it",
            error.line()
        )
    } else {
        format!("it is no JSON that dockerd takes: {error}")
    };
    Error::NotUnderstood { path: path.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str, mirrors: Option<&[&str]>) -> String {
        let path = Path::new("daemon.json");
        let mirrors: Option<Vec<String>> = mirrors.map(|list| list.iter().map(ToString::to_string).collect());
        DaemonJson::parse(path, Some(text)).expect("json").with_mirrors(mirrors.as_deref())
    }

    #[test]
    fn unknown_keys_their_order_and_the_text_of_their_values_are_kept() {
        let text = "{\n    \"z\": 1.50,\n    \"a\": { \"b\":[1,\n  2] },\n    \"live-restore\": true\n}\n";
        assert_eq!(
            with(text, Some(&["https://127.0.0.1:5443"])),
            "{\n    \"z\": 1.50,\n    \"a\": { \"b\":[1,\n  2] },\n    \"live-restore\": true,\n    \
             \"registry-mirrors\": [\"https://127.0.0.1:5443\"]\n}\n"
        );
        assert_eq!(with(&with(text, Some(&["x"])), None), text);
    }

    #[test]
    fn an_empty_file_is_an_empty_object() {
        assert_eq!(with("", Some(&["x"])), "{\n  \"registry-mirrors\": [\"x\"]\n}\n");
        assert_eq!(with(" \n", None), "{}\n");
    }

    #[test]
    fn comments_and_other_things_that_dockerd_refuses_are_named_with_their_line() {
        for (text, said) in [
            ("{\n  // mine\n  \"a\": 1\n}", "line 2: JSON has no comments"),
            ("{\n  \"a\": 1 /* x */\n}", "line 2: JSON has no comments"),
            ("[1]", "no JSON that dockerd takes"),
            ("{\"a\": 1,}", "line 1"),
            ("{\"a\": 1} x", "line 1"),
        ] {
            let error = DaemonJson::parse(Path::new("daemon.json"), Some(text)).expect_err(text).to_string();
            assert!(error.contains(said) && error.starts_with("daemon.json is left as it is"), "{error}");
        }
    }
}
