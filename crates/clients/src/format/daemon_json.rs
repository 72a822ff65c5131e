//! `daemon.json`: merged, never overwritten. Every key keeps its place and its value keeps its text.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use indexmap::IndexMap;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::Error;
use crate::mirror::Mirror;

const MIRRORS: &str = "registry-mirrors";
const PROXIES: &str = "proxies";
const FEATURES: &str = "features";
/// Among the features: whether images are in containerd's store. dockerd 24 to 28 has its own unless this says so.
const CONTAINERD_STORE: &str = "containerd-snapshotter";

/// A `daemon.json`, as far as hubcap has to know it. Of a key that is there twice the last value holds, as for dockerd.
#[derive(Debug)]
pub(crate) struct DaemonJson {
    entries: IndexMap<String, Box<RawValue>>,
    indent: String,
    newline: bool,
    /// Where a line ends.
    line_end: &'static str,
}

impl DaemonJson {
    /// Parses it; no file, an empty one and `null` are `{}`, as dockerd takes them.
    pub(crate) fn parse(path: &Path, text: Option<&str>) -> Result<Self, Error> {
        let text = text.unwrap_or_default();
        let entries = if text.trim().is_empty() {
            IndexMap::new()
        } else {
            let entries: Option<_> =
                serde_json::from_str(text).map_err(|error| not_understood(path, text, &error))?;
            entries.unwrap_or_default()
        };
        let indented = text.lines().find(|line| line.starts_with([' ', '\t']) && !line.trim().is_empty());
        let indent = indented.map_or("  ", |line| &line[..line.len() - line.trim_start().len()]);
        // A file of one line has nothing to tell.
        let newline = text.is_empty() || text.ends_with('\n');
        let line_end = if text.contains("\r\n") { "\r\n" } else { "\n" };
        Ok(Self { entries, indent: indent.to_owned(), newline, line_end })
    }

    /// The mirrors of Docker Hub; `None` when it says nothing of them.
    pub(crate) fn mirrors(&self, path: &Path) -> Result<Option<Vec<String>>, Error> {
        let Some(value) = self.value(MIRRORS) else { return Ok(None) };
        serde_json::from_str(value.get()).map(Some).map_err(|_| {
            let why = format!("{MIRRORS:?} is no list of URLs; dockerd itself does not take it");
            Error::not_understood(path, why)
        })
    }

    /// The same file with these mirrors; `None` takes the key out.
    pub(crate) fn with_mirrors(self, mirrors: Option<&[String]>) -> Self {
        self.with(MIRRORS, mirrors.and_then(|mirrors| serde_json::value::to_raw_value(mirrors).ok()))
    }

    /// The same file with this mirror before the others. `None` where the mirror is in it already: so a user has written it.
    pub(crate) fn with_first(self, path: &Path, mirror: &Mirror) -> Result<Option<Self>, Error> {
        let mut mirrors = self.mirrors(path)?.unwrap_or_default();
        if mirrors.iter().any(|one| mirror.is_at(one)) {
            return Ok(None);
        }
        mirrors.insert(0, mirror.url());
        Ok(Some(self.with_mirrors(Some(&mirrors))))
    }

    /// dockerd's proxies, as they are written.
    pub(crate) fn proxies(&self) -> Option<&RawValue> {
        self.value(PROXIES)
    }

    /// The value of a key; null says no more than no key, for dockerd too.
    fn value(&self, key: &str) -> Option<&RawValue> {
        self.entries.get(key).map(AsRef::as_ref).filter(|value| value.get() != "null")
    }

    /// The same file with these proxies; `None` takes the key out.
    pub(crate) fn with_proxies(self, proxies: Option<Box<RawValue>>) -> Self {
        self.with(PROXIES, proxies)
    }

    /// Whether images are to be in containerd's store; `None` where it says nothing of that.
    pub(crate) fn containerd_store(&self, path: &Path) -> Result<Option<bool>, Error> {
        let features = self.features(path)?;
        Ok(features.get(CONTAINERD_STORE).and_then(|value| serde_json::from_str(value.get()).ok()))
    }

    /// The same file with this said of containerd's store; `None` says nothing of it. Other features stay.
    pub(crate) fn with_containerd_store(self, path: &Path, wanted: Option<bool>) -> Result<Self, Error> {
        let mut features = self.features(path)?;
        match wanted.and_then(|wanted| serde_json::value::to_raw_value(&wanted).ok()) {
            Some(value) => features.insert(CONTAINERD_STORE.to_owned(), value),
            None => features.shift_remove(CONTAINERD_STORE),
        };
        let value = if features.is_empty() { None } else { serde_json::value::to_raw_value(&features).ok() };
        Ok(self.with(FEATURES, value))
    }

    fn features(&self, path: &Path) -> Result<IndexMap<String, Box<RawValue>>, Error> {
        let Some(value) = self.value(FEATURES) else { return Ok(IndexMap::new()) };
        serde_json::from_str(value.get()).map_err(|_| {
            Error::not_understood(path, format!("{FEATURES:?} is no object; dockerd itself does not take it"))
        })
    }

    /// Whether it has the same keys with the same values, however they are written. null is no value.
    fn says_the_same(&self, other: &Self) -> bool {
        let values = |json: &Self| -> Option<BTreeMap<String, Value>> {
            let entries = json.entries.iter().filter(|(_, value)| value.get() != "null");
            entries.map(|(key, value)| Some((key.clone(), serde_json::from_str(value.get()).ok()?))).collect()
        };
        matches!((values(self), values(other)), (Some(one), Some(other)) if one == other)
    }

    fn with(mut self, key: &str, value: Option<Box<RawValue>>) -> Self {
        match value {
            Some(value) => self.entries.insert(key.to_owned(), value),
            None => self.entries.shift_remove(key),
        };
        self
    }
}

/// The proxies that hubcap added when it wrote `after` in place of `before`.
pub(crate) fn our_proxies(path: &Path, before: Option<&str>, after: Option<&str>) -> Option<Box<RawValue>> {
    let proxies = |text| DaemonJson::parse(path, text).ok()?.proxies().map(ToOwned::to_owned);
    proxies(after).filter(|_| proxies(before).is_none())
}

/// Whether hubcap asked for containerd's store when it wrote `after` in place of `before`.
pub(crate) fn asked_for_containerd_store(path: &Path, before: Option<&str>, after: Option<&str>) -> bool {
    let asks = |text| {
        let asks = DaemonJson::parse(path, text).and_then(|json| json.containerd_store(path));
        asks.is_ok_and(|asks| asks == Some(true))
    };
    asks(after) && !asks(before)
}

/// The file without the mirrors, the proxies and the choice of a store that hubcap added when it wrote `after` in place of `before`. Where it then
/// says what `before` says, it is `before` to the byte, or no file where there was none.
pub(crate) fn without_ours(
    path: &Path,
    before: Option<&str>,
    after: &str,
    now: &str,
) -> Result<Option<String>, Error> {
    let mut json = DaemonJson::parse(path, Some(now))?;
    let (was, is) = (DaemonJson::parse(path, before)?, DaemonJson::parse(path, Some(after))?);
    let ours = our_proxies(path, before, Some(after));
    if ours.is_some_and(|ours| json.proxies().is_some_and(|now| now.get() == ours.get())) {
        json = json.with_proxies(None);
    }
    if let Some(mut mirrors) = json.mirrors(path)? {
        let (theirs, after) = (was.mirrors(path)?.unwrap_or_default(), is.mirrors(path)?.unwrap_or_default());
        let is_in = |list: &[String], one: &str| list.iter().any(|other| is_same(other, one));
        mirrors.retain(|one| is_in(&theirs, one) || !is_in(&after, one));
        let had_none = was.mirrors(path)?.is_none();
        json = json.with_mirrors((!mirrors.is_empty() || !had_none).then_some(&mirrors));
    }
    let ours = asked_for_containerd_store(path, before, Some(after));
    if ours && json.containerd_store(path)? == Some(true) {
        json = json.with_containerd_store(path, was.containerd_store(path)?)?;
    }
    if json.says_the_same(&DaemonJson::parse(path, Some(now))?) {
        // Nothing of hubcap's was in it.
        return Ok(Some(now.to_owned()));
    }
    if json.says_the_same(&was) {
        return Ok(before.map(str::to_owned));
    }
    Ok(Some(json.to_string()))
}

/// Whether two URLs are of one mirror; dockerd writes a slash at their end.
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    one.trim_end_matches('/') == other.trim_end_matches('/')
}

impl fmt::Display for DaemonJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (number, (key, value)) in self.entries.iter().enumerate() {
            let (comma, key) = (if number == 0 { "" } else { "," }, serde_json::Value::from(key.as_str()));
            write!(f, "{comma}{}{}{key}: {}", self.line_end, self.indent, value.get())?;
        }
        write!(f, "{}}}", if self.entries.is_empty() { "" } else { self.line_end })?;
        if self.newline { f.write_str(self.line_end) } else { Ok(()) }
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
    Error::not_understood(path, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str, mirrors: Option<&[&str]>) -> String {
        let path = Path::new("daemon.json");
        let mirrors: Option<Vec<String>> = mirrors.map(|list| list.iter().map(ToString::to_string).collect());
        DaemonJson::parse(path, Some(text)).expect("json").with_mirrors(mirrors.as_deref()).to_string()
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
    fn null_says_nothing_and_lines_end_as_they_did() {
        let path = Path::new("daemon.json");
        for text in ["null", "{\"registry-mirrors\": null, \"proxies\": null}"] {
            let json = DaemonJson::parse(path, Some(text)).expect("json");
            assert_eq!(json.mirrors(path).expect("none"), None);
            assert!(json.proxies().is_none());
        }
        assert_eq!(with("null\n", Some(&["a"])), "{\n  \"registry-mirrors\": [\"a\"]\n}\n");
        let text = "{\r\n  \"registry-mirrors\": null,\r\n  \"debug\": true\r\n}\r\n";
        assert_eq!(with(text, Some(&["a"])), text.replace("null", "[\"a\"]"));
    }

    #[test]
    fn containerds_store_is_asked_for_beside_other_features_and_taken_back_as_others_have_left_the_file() {
        let path = Path::new("daemon.json");
        let asking = |text: &str| {
            let json = DaemonJson::parse(path, Some(text)).expect("json");
            json.with_containerd_store(path, Some(true)).expect("an object").to_string()
        };
        for before in [
            "{}\n",
            "{\n  \"features\": {\"buildkit\": true}\n}",
            "{\"features\": {\"containerd-snapshotter\": false}}",
            "{\"features\": null, \"debug\": true}",
        ] {
            let after = asking(before);
            assert!(after.contains("\"containerd-snapshotter\":true"), "{after}");
            assert!(asked_for_containerd_store(path, Some(before), Some(&after)), "{before}");
            let back = without_ours(path, Some(before), &after, &after.replacen('{', "{ ", 1));
            assert_eq!(back.expect("json").as_deref(), Some(before));
            let changed = after.replacen('{', "{\"labels\": [],", 1);
            let back = without_ours(path, Some(before), &after, &changed).expect("json").expect("a file");
            let back: Value = serde_json::from_str(&back).expect("json");
            let features = serde_json::from_str::<Value>(before).expect("json")["features"].take();
            assert_eq!((&back["features"], &back["labels"]), (&features, &serde_json::json!([])), "{back}");
        }
        let users = "{\"features\": {\"containerd-snapshotter\": true}}";
        assert!(!asked_for_containerd_store(path, Some(users), Some(&asking(users))), "a user's own");
        let error = DaemonJson::parse(path, Some("{\"features\": []}")).expect("json");
        let error = error.with_containerd_store(path, Some(true)).expect_err("no object").to_string();
        assert!(error.contains("\"features\" is no object"), "{error}");
    }

    #[test]
    fn the_last_of_two_equal_keys_holds() {
        let text = "{\"registry-mirrors\": [\"a\"], \"registry-mirrors\": [\"b\"]}\n";
        let json = DaemonJson::parse(Path::new("daemon.json"), Some(text)).expect("json");
        assert_eq!(json.mirrors(Path::new("daemon.json")).expect("a list"), Some(vec!["b".to_owned()]));
        assert_eq!(json.to_string(), "{\n  \"registry-mirrors\": [\"b\"]\n}\n");
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
