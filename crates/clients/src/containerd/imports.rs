//! The files that containerd's configuration imports, in the order in which containerd reads them.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Component, Path, PathBuf};

use crate::error::Error;
use crate::file;
use crate::format::containerd_toml::ConfigFile;

/// A configuration, by what is read before and after one more import at the end of its list.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub(super) before: Vec<ConfigFile>,
    pub(super) after: Vec<ConfigFile>,
}

impl Files {
    /// Reads what this file imports, which has this text. No file is no configuration.
    ///
    /// # Errors
    /// [`Error`] of the first file that cannot be read, or is not what containerd takes.
    pub(super) fn read(path: &Path, text: Option<&str>) -> Result<Self, Error> {
        let Some(text) = text else { return Ok(Self::default()) };
        let mut files = Self::default();
        let main = ConfigFile::parse(path, text)?;
        // containerd reads a file once, and what it imports after all that is known by then.
        let mut seen = BTreeSet::from([path.to_owned()]);
        let mut pending: VecDeque<PathBuf> = imported(path, &main)?.into();
        files.before.push(main);
        let mut first = pending.len();
        while let Some(path) = pending.pop_front() {
            let is_before = first > 0;
            first = first.saturating_sub(1);
            if !seen.insert(path.clone()) {
                continue;
            }
            let missing =
                || Error::not_understood(&path, "containerd's configuration imports it, and it is not there");
            let config = ConfigFile::parse(&path, &file::read(&path)?.ok_or_else(missing)?)?;
            pending.extend(imported(&path, &config)?);
            if is_before { &mut files.before } else { &mut files.after }.push(config);
        }
        Ok(files)
    }
}

/// The files that one imports.
fn imported(path: &Path, config: &ConfigFile) -> Result<Vec<PathBuf>, Error> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let mut found = Vec::new();
    for import in config.imports()? {
        let import = clean(&dir.join(import));
        if !import.to_string_lossy().contains('*') {
            found.push(import);
            continue;
        }
        let pattern = import.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        let (Some(pattern), Some(dir)) =
            (pattern.filter(|name| !name.contains(['?', '[', '\\'])), import.parent())
        else {
            return Err(not_matched(path, &import));
        };
        if dir.to_string_lossy().contains(['*', '?', '[', '\\']) {
            return Err(not_matched(path, &import));
        }
        found.extend(matching(dir, &pattern)?);
    }
    Ok(found)
}

/// A path without `.` and `..`, whatever is a link on it: so containerd does it.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(clean.pop()),
            Component::CurDir => {}
            part => clean.push(part),
        }
    }
    clean
}

fn not_matched(path: &Path, import: &Path) -> Error {
    let why = format!("which files its import {} means is not known to hubcap", import.display());
    Error::not_understood(path, why)
}

/// The files of a directory that a pattern matches, sorted.
fn matching(dir: &Path, pattern: &str) -> Result<Vec<PathBuf>, Error> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(file::named(dir, &error)),
    };
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| matches(pattern, &entry.file_name().to_string_lossy()))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    Ok(found)
}

/// Whether a name is what a pattern says, where `*` is anything.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_as_in_a_shell() {
        for (pattern, name, does) in [
            ("*.toml", "a.toml", true),
            ("*.toml", ".toml", true),
            ("*.toml", "a.toml.bak", false),
            ("a*b*c", "axbyc", true),
            ("a*b*c", "axc", false),
            ("a*", "a", true),
            ("a*a", "a", false),
            ("a", "a", true),
            ("a", "ab", false),
        ] {
            assert_eq!(matches(pattern, name), does, "{pattern} {name}");
        }
    }

    #[test]
    fn what_is_imported_by_an_import_is_read_last() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, text).expect("written");
        };
        write("conf.d/b.toml", "imports = ['../deep.toml', '../config.toml']\n");
        write("conf.d/a.toml", "");
        write("conf.d/c.txt", "no TOML");
        write("one.toml", "");
        write("deep.toml", "");
        let path = dir.path().join("config.toml");
        let read = |text: &str| {
            let files = Files::read(&path, Some(text))?;
            let paths = |files: &[ConfigFile]| {
                files
                    .iter()
                    .map(|file| file.path().strip_prefix(dir.path()).expect("there").display().to_string())
                    .collect::<Vec<_>>()
            };
            Ok::<_, Error>((paths(&files.before), paths(&files.after)))
        };
        let (before, after) = read("imports = ['conf.d/*.toml', 'none/*.toml', 'one.toml']\n").expect("read");
        assert_eq!(before, ["config.toml", "conf.d/a.toml", "conf.d/b.toml", "one.toml"]);
        assert_eq!(after, ["deep.toml"], "and nothing is read twice");
        for (text, said) in [
            ("imports = ['nowhere.toml']\n", "is not there"),
            ("imports = ['*/a.toml']\n", "is not known to hubcap"),
            ("imports = ['[a]*.toml']\n", "is not known to hubcap"),
        ] {
            let error = read(text).expect_err(said).to_string();
            assert!(error.contains(said), "{error}");
        }
        assert!(Files::read(&path, None).expect("nothing").before.is_empty());
    }
}
