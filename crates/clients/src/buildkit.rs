//! BuildKit: `buildkitd.toml`, for builders of their own (`docker buildx create`, `buildkitd`). The one inside dockerd
//! is told with dockerd.
//!
//! buildkitd speaks plain HTTP to a mirror on loopback unless the mirror has a table that says `http = false`
//! (BuildKit's `util/resolver`, `fillInsecureOpts`), and reads the file when it starts.

mod builders;

use std::path::{Path, PathBuf};

use hubcap_oci::Registry;
use toml_edit::{Array, DocumentMut, Item, RawString, Table, TableLike, Value, value};

pub use builders::{Builder, builders};

use crate::change::Planned;
use crate::hosts_toml::HEADER;
use crate::journal::Journal;
use crate::{Change, Error, Mirror, document};

const SYSTEM: &str = "/etc/buildkit/buildkitd.toml";

/// The files that builders are made from.
#[derive(Debug)]
pub struct Buildkit {
    configs: Vec<PathBuf>,
}

impl Buildkit {
    /// The files given; else buildx's own for new builders, and buildkitd's where its directory is.
    ///
    /// # Errors
    /// [`Error::Client`] when there is no home directory to find buildx's in.
    pub fn find(given: &[PathBuf]) -> Result<Self, Error> {
        if !given.is_empty() {
            return Ok(Self { configs: given.to_vec() });
        }
        let mut configs = vec![buildx()?.join("buildkitd.default.toml")];
        let system = Path::new(SYSTEM);
        configs.extend(system.parent().filter(|dir| dir.exists()).map(|_| system.to_owned()));
        Ok(Self { configs })
    }

    /// The files.
    pub fn configs(&self) -> &[PathBuf] {
        &self.configs
    }

    /// What its users have to know, in sentences.
    pub fn notes(mirror: &Mirror) -> Vec<String> {
        let mut notes = vec![
            "Builders read it when they are made: make existing ones anew (docker buildx rm NAME; docker buildx create \
             ...), and restart a buildkitd of your own."
                .to_owned(),
        ];
        if mirror.address.ip().is_loopback() {
            notes.push(
                "A builder in a container reaches this machine's loopback only in the host's network: docker buildx \
                 create --driver-opt network=host."
                    .to_owned(),
            );
        }
        notes
    }

    /// What configuring it would change.
    ///
    /// # Errors
    /// [`Error::NotUnderstood`] for a file that buildkitd would not take; [`Error::Io`] and [`Error::Rights`] when files
    /// cannot be read.
    pub fn plan(
        &self,
        (journal, mirror): (&Journal, &Mirror),
        registries: &[Registry],
    ) -> Result<Vec<Planned>, Error> {
        let planned = self.configs.iter().map(|path| {
            let original = journal.original(path, |now| without(journal, path, &now))?;
            let text = with_mirror((path, original.as_deref()), mirror, registries)?;
            Ok((Change::of(path.clone(), Some(text))?, original))
        });
        planned.collect()
    }

    /// What taking everything back would change.
    ///
    /// # Errors
    /// As [`plan`](Self::plan).
    pub fn plan_undo(journal: &Journal) -> Result<Vec<Change>, Error> {
        journal.plan_undo(|path, now| without(journal, path, &now))
    }
}

/// Where buildx keeps its builders (buildx, `util/confutil`).
pub fn buildx() -> Result<PathBuf, Error> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let docker = || set("DOCKER_CONFIG").or_else(|| set("HOME").map(|home| home.join(".docker")));
    let found = set("BUILDX_CONFIG").or_else(|| docker().map(|docker| docker.join("buildx")));
    found.ok_or_else(|| {
        Error::Client(
            "HOME is not set, so buildx's files are not found; name one with --buildkitd-toml".into(),
        )
    })
}

/// The file with hubcap as the first mirror of these registries; everything else stays as it is written.
fn with_mirror(
    (path, original): (&Path, Option<&str>),
    mirror: &Mirror,
    registries: &[Registry],
) -> Result<String, Error> {
    let mut document = document::parse(path, original)?;
    let address = mirror.address.to_string();
    let tables = tables(path, &mut document)?;
    for registry in registries {
        let array = array(path, table(path, tables, registry.as_str())?, "mirrors")?;
        if !array.iter().any(|one| one.as_str() == Some(&address)) {
            put_first(array, &address);
        }
    }
    let ours = table(path, tables, &address)?;
    ours.entry("http").or_insert_with(|| value(false));
    let (ca, known) = (mirror.ca.display().to_string(), array(path, ours, "ca")?);
    if !known.iter().any(|one| one.as_str() == Some(&ca)) {
        known.push(ca);
    }
    let header = if original.is_none() { HEADER } else { "" };
    Ok(format!("{header}{document}"))
}

/// `[registry]`, whose own header nobody has to write.
fn tables<'a>(path: &Path, document: &'a mut DocumentMut) -> Result<&'a mut dyn TableLike, Error> {
    let implicit = || {
        let mut table = Table::new();
        table.set_implicit(true);
        Item::Table(table)
    };
    let item = document.entry("registry").or_insert_with(implicit);
    item.as_table_like_mut().ok_or_else(|| other_kind(path, "registry", "a table"))
}

fn table<'a>(path: &Path, tables: &'a mut dyn TableLike, name: &str) -> Result<&'a mut dyn TableLike, Error> {
    let item = tables.entry(name).or_insert_with(|| Item::Table(Table::new()));
    item.as_table_like_mut().ok_or_else(|| other_kind(path, name, "a table"))
}

fn array<'a>(path: &Path, table: &'a mut dyn TableLike, name: &str) -> Result<&'a mut Array, Error> {
    let item = table.entry(name).or_insert_with(|| value(Array::new()));
    item.as_array_mut().ok_or_else(|| other_kind(path, name, "a list"))
}

fn other_kind(path: &Path, name: &str, kind: &str) -> Error {
    Error::NotUnderstood {
        path: path.to_owned(),
        why: format!("{name:?} is not {kind}; buildkitd itself does not take it"),
    }
}

/// Before the others, spaced as they are.
fn put_first(array: &mut Array, text: &str) {
    let mut new = Value::from(text);
    if let Some(old) = array.get_mut(0) {
        let spaces = old.decor().prefix().and_then(RawString::as_str).unwrap_or_default().to_owned();
        if spaces.is_empty() {
            old.decor_mut().set_prefix(" ");
        }
        new.decor_mut().set_prefix(spaces);
    }
    array.insert_formatted(0, new);
}

/// What somebody else has written since, without what hubcap had added.
fn without(journal: &Journal, path: &Path, now: &str) -> Result<Option<String>, Error> {
    let Some((before, Some(after))) = journal.kept(path) else { return Ok(Some(now.to_owned())) };
    let mut now = document::parse(path, Some(now.strip_prefix(HEADER).unwrap_or(now)))?;
    let (before, after) = (document::parse(path, before)?, document::parse(path, Some(after))?);
    let ours: Vec<String> =
        mirrors(&after).filter(|one| !mirrors(&before).any(|other| other == *one)).collect();
    let Some(registry) = now.get_mut("registry").and_then(Item::as_table_like_mut) else {
        return Ok(Some(now.to_string()));
    };
    let there = |name: &str| before.get("registry").is_some_and(|tables| tables.get(name).is_some());
    let names: Vec<String> = registry.iter().map(|(name, _)| name.to_owned()).collect();
    for name in names {
        let Some(table) = registry.get_mut(&name).and_then(Item::as_table_like_mut) else { continue };
        if let Some(mirrors) = table.get_mut("mirrors").and_then(Item::as_array_mut) {
            let spaces = mirrors.get(0).and_then(|first| first.decor().prefix()).cloned();
            mirrors.retain(|one| !one.as_str().is_some_and(|one| ours.iter().any(|ours| ours == one)));
            if let (Some(first), Some(spaces)) = (mirrors.get_mut(0), spaces) {
                first.decor_mut().set_prefix(spaces);
            }
            if mirrors.is_empty() {
                table.remove("mirrors");
            }
        }
        if !there(&name) && (table.is_empty() || ours.contains(&name)) {
            registry.remove(&name);
        }
    }
    if registry.is_empty() && before.get("registry").is_none() {
        now.remove("registry");
    }
    let text = now.to_string();
    Ok((before.iter().next().is_some() || !text.trim().is_empty()).then_some(text))
}

/// All mirrors of all registries.
fn mirrors(document: &DocumentMut) -> impl Iterator<Item = String> {
    let tables = document.get("registry").and_then(Item::as_table_like);
    let tables = tables.into_iter().flat_map(|tables| tables.iter());
    let arrays = tables.filter_map(|(_, table)| table.get("mirrors")?.as_array());
    arrays.flat_map(|array| array.iter().filter_map(|one| one.as_str().map(str::to_owned)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Client;

    fn mirror() -> Mirror {
        Mirror::new("127.0.0.1:5443".parse().expect("an address"), "/s/ca.pem".into())
    }

    fn with(text: Option<&str>, registries: &[&str]) -> Result<String, Error> {
        let registries: Vec<Registry> = registries.iter().map(|name| name.parse().expect("a name")).collect();
        with_mirror((Path::new("buildkitd.toml"), text), &mirror(), &registries)
    }

    #[test]
    fn a_new_file_has_the_form_that_buildkitd_needs() {
        assert_eq!(
            with(None, &["docker.io", "ghcr.io"]).expect("a file"),
            format!(
                "{HEADER}[registry.\"docker.io\"]\nmirrors = [\"127.0.0.1:5443\"]\n\n[registry.\"ghcr.io\"]\n\
                 mirrors = [\"127.0.0.1:5443\"]\n\n[registry.\"127.0.0.1:5443\"]\nhttp = false\nca = [\"/s/ca.pem\"]\n"
            )
        );
    }

    #[test]
    fn a_users_tables_comments_and_mirrors_stay_and_ours_comes_first() {
        let text = "debug = true # loud\n\n# the office\n[registry.\"docker.io\"]\n  mirrors = [\n    \"office:5000\", # theirs\n  ]\n\n\
                    [worker.oci]\n  gc = false\n";
        let wired = with(Some(text), &["docker.io"]).expect("TOML");
        for line in text.lines() {
            assert!(wired.contains(line), "{line}: {wired}");
        }
        assert!(wired.contains("[\n    \"127.0.0.1:5443\",\n    \"office:5000\", # theirs"), "{wired}");
        assert!(
            wired.contains("[registry.\"127.0.0.1:5443\"]\nhttp = false\nca = [\"/s/ca.pem\"]\n"),
            "{wired}"
        );
        assert_eq!(with(Some(&wired), &["docker.io"]).expect("TOML"), wired, "twice is once");
        let short =
            with(Some("registry = {\"docker.io\" = {mirrors = [\"a\"]}}\n"), &["docker.io"]).expect("TOML");
        assert!(short.contains("[\"127.0.0.1:5443\", \"a\"]"), "{short}");
    }

    #[test]
    fn what_buildkitd_does_not_take_is_refused() {
        for (text, said) in [
            ("a = \n", "line 1"),
            ("registry = 1\n", "is not a table"),
            ("[registry.\"docker.io\"]\nmirrors = 1\n", "is not a list"),
        ] {
            let error = with(Some(text), &["docker.io"]).expect_err(text).to_string();
            assert!(error.contains(said) && error.starts_with("buildkitd.toml is left"), "{error}");
        }
    }

    #[test]
    fn what_others_write_after_hubcap_stays_theirs() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("buildkitd.toml");
        let buildkit = Buildkit::find(std::slice::from_ref(&path)).expect("found");
        for (before, said, after) in [
            (None, "debug = true\n", Some("debug = true\n")),
            (
                Some("[registry.\"docker.io\"]\nmirrors = [\"a\"]\n"),
                "",
                Some("[registry.\"docker.io\"]\nmirrors = [\"a\"]\n"),
            ),
        ] {
            let _ = std::fs::remove_file(&path);
            if let Some(before) = before {
                std::fs::write(&path, before).expect("written");
            }
            let mut journal = Journal::open(dir.path(), Client::Buildkit).expect("a journal");
            let registries = [Registry::docker_hub(), "quay.io".parse().expect("a name")];
            let plan = buildkit.plan((&journal, &mirror()), &registries).expect("planned");
            journal.apply(&plan).expect("made");
            let wired = std::fs::read_to_string(&path).expect("there");
            std::fs::write(&path, format!("{said}{wired}\n")).expect("written");
            let undoing = Buildkit::plan_undo(&journal).expect("planned");
            journal.undo(&undoing).expect("undone");
            let left = std::fs::read_to_string(&path).ok();
            assert_eq!(left.as_deref().map(str::trim), after.map(str::trim));
        }
    }
}
