//! `buildkitd.toml`: BuildKit's mirrors, as the list of a registry's table.
//!
//! toml_edit edits it, since hubcap's part is spread over tables of the user's: an entry of a list here, a key there.

use std::path::Path;

use hubcap_oci::Registry;
use toml_edit::{Array, DocumentMut, Item, RawString, Table, TableLike, Value, value};

use super::header::HEADER;
use super::toml;
use crate::error::Error;
use crate::mirror::Mirror;

/// The file with hubcap as the first mirror of these registries; everything else stays as it is written.
///
/// The mirror's own table says `http = false`: without it buildkitd speaks plain HTTP to a mirror on loopback.
pub(crate) fn with_mirror(
    path: &Path,
    original: Option<&str>,
    mirror: &Mirror,
    registries: &[Registry],
) -> Result<String, Error> {
    let mut document = toml::parse(path, original)?;
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
    let (ca, known) = (mirror.ca.path.display().to_string(), array(path, ours, "ca")?);
    if !known.iter().any(|one| one.as_str() == Some(&ca)) {
        known.push(ca);
    }
    let header = if original.is_none() { HEADER } else { "" };
    Ok(format!("{header}{document}"))
}

/// `[registry]`, whose own header need not be written.
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
    Error::not_understood(path, format!("{name:?} is not {kind}; buildkitd itself does not take it"))
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

/// The file without the mirrors and tables that hubcap added when it wrote `after` in place of `before`. `None` when
/// nothing else is in it.
pub(crate) fn without_ours(
    path: &Path,
    before: Option<&str>,
    after: &str,
    now: String,
) -> Result<Option<String>, Error> {
    let (is_there, found) = (before.is_some(), now);
    let mut now = toml::parse(path, Some(found.strip_prefix(HEADER).unwrap_or(&found)))?;
    let (before, after) = (toml::parse(path, before)?, toml::parse(path, Some(after))?);
    let ours: Vec<String> =
        mirrors(&after).filter(|one| !mirrors(&before).any(|other| other == *one)).collect();
    let Some(registry) = now.get_mut("registry").and_then(Item::as_table_like_mut) else {
        return Ok(Some(now.to_string()));
    };
    let was = |name: &str| before.get("registry").and_then(|tables| tables.get(name));
    let names: Vec<String> = registry.iter().map(|(name, _)| name.to_owned()).collect();
    for name in names {
        let Some(table) = registry.get_mut(&name).and_then(Item::as_table_like_mut) else { continue };
        // What others have left empty stays.
        let mut is_emptied = false;
        if let Some(mirrors) = table.get_mut("mirrors").and_then(Item::as_array_mut) {
            let count = mirrors.len();
            let spaces = mirrors.get(0).and_then(|first| first.decor().prefix()).cloned();
            mirrors.retain(|one| !one.as_str().is_some_and(|one| ours.iter().any(|ours| ours == one)));
            if let (Some(first), Some(spaces)) = (mirrors.get_mut(0), spaces) {
                first.decor_mut().set_prefix(spaces);
            }
            let had_list = was(&name).is_some_and(|table| table.get("mirrors").is_some());
            if mirrors.is_empty() && mirrors.len() < count && !had_list {
                table.remove("mirrors");
                is_emptied = table.is_empty();
            }
        }
        if was(&name).is_none() && (is_emptied || ours.contains(&name)) {
            registry.remove(&name);
        }
    }
    if registry.is_empty() && before.get("registry").is_none() {
        now.remove("registry");
    }
    let text = now.to_string();
    if text == found {
        return Ok(Some(found));
    }
    Ok((is_there || !text.trim().is_empty()).then_some(text))
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
    use crate::authority::Authority;

    fn mirror() -> Mirror {
        Mirror::new("127.0.0.1:5443".parse().expect("an address"), Authority::read("/s/ca.pem".into()))
    }

    fn with(text: Option<&str>, registries: &[&str]) -> Result<String, Error> {
        let registries: Vec<Registry> = registries.iter().map(|name| name.parse().expect("a name")).collect();
        with_mirror(Path::new("buildkitd.toml"), text, &mirror(), &registries)
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
    fn empty_lists_and_tables_of_others_stay_when_hubcaps_part_goes() {
        let before = "[registry.\"docker.io\"]\nmirrors = [] # none\n\n[registry.\"a\"]\nmirrors = []\n";
        let after = with(Some(before), &["docker.io"]).expect("TOML");
        let added = "\n# soon\n[registry.\"b\"]\n\n[registry.\"c\"]\nmirrors = []\n";
        let path = Path::new("buildkitd.toml");
        let left = without_ours(path, Some(before), &after, format!("{after}{added}")).expect("TOML");
        assert_eq!(left, Some(format!("{before}{added}")));
    }
}
