//! `registries.conf`: the `[[registry]]` tables that users have, and hubcap's drop-in made from them.
//!
//! The drop-in is hubcap's alone, so it is written as text; a user's keys are copied into it literally.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hubcap_oci::Registry;
use toml_edit::{Item, TableLike, Value};

use super::header::HEADER;
use super::toml::{self, quoted};
use crate::error::Error;
use crate::mirror::Mirror;

/// The tables of all files by prefix, each from the last file that has it.
#[derive(Debug, Default)]
pub(crate) struct Tables(BTreeMap<String, (PathBuf, Theirs)>);

/// What a user says of a registry.
#[derive(Debug, Default)]
struct Theirs {
    location: Option<String>,
    /// The rest of the table, and its mirrors, as lines of TOML.
    rest: String,
    mirrors: Vec<String>,
}

impl Tables {
    /// Adds a file's tables, in place of those of earlier files for the same prefixes.
    pub(crate) fn add(&mut self, path: &Path, text: Option<&str>) -> Result<(), Error> {
        let document = toml::parse(path, text)?;
        for table in tables(document.get("registry")) {
            let text = |name: &str| table.get(name).and_then(Item::as_str).map(str::to_owned);
            let Some(prefix) = text("prefix").or_else(|| text("location")) else { continue };
            let theirs = Theirs {
                location: text("location"),
                rest: lines(table, &["prefix", "location", "mirror"]),
                mirrors: tables(table.get("mirror")).map(|mirror| lines(mirror, &[])).collect(),
            };
            self.0.insert(prefix, (path.to_owned(), theirs));
        }
        Ok(())
    }

    /// The drop-in with hubcap as a mirror of these registries.
    ///
    /// # Errors
    /// [`Error::NotUnderstood`] where a user sends one of them to another place.
    pub(crate) fn drop_in(&self, mirror: &Mirror, registries: &[Registry]) -> Result<String, Error> {
        let mut text = HEADER.to_owned();
        for registry in registries {
            text.push_str(&self.with_mirror(registry, mirror)?);
        }
        Ok(text)
    }

    /// The table of a registry: hubcap before the mirrors that a user has.
    fn with_mirror(&self, registry: &Registry, mirror: &Mirror) -> Result<String, Error> {
        let name = registry.as_str();
        let none = Theirs::default();
        let theirs = match self.0.get(name) {
            // What comes from there is not what the registry has.
            Some((path, theirs)) if theirs.location.as_deref().is_some_and(|location| location != name) => {
                let why = format!(
                    "it sends {name} to another place, so hubcap cannot stand in for {name}; name the registries that \
                     hubcap is to cover"
                );
                return Err(Error::not_understood(path, why));
            }
            Some((_, theirs)) => theirs,
            None => &none,
        };
        let name = quoted(name);
        let location = quoted(&format!("{}/{}", mirror.address, registry.path_segment()));
        let mut text = format!("\n[[registry]]\nprefix = {name}\nlocation = {name}\n{}", theirs.rest);
        for mirror in std::iter::once(&format!("location = {location}\n")).chain(&theirs.mirrors) {
            text.push_str("[[registry.mirror]]\n");
            text.push_str(mirror);
        }
        Ok(text)
    }
}

/// `[[name]]` tables, or a list of inline ones.
fn tables(item: Option<&Item>) -> Box<dyn Iterator<Item = &dyn TableLike> + '_> {
    match item {
        Some(Item::ArrayOfTables(tables)) => Box::new(tables.iter().map(|table| table as &dyn TableLike)),
        Some(Item::Value(Value::Array(list))) => {
            Box::new(list.iter().filter_map(|one| one.as_inline_table().map(|table| table as &dyn TableLike)))
        }
        _ => Box::new(std::iter::empty()),
    }
}

/// A table's plain keys.
fn lines(table: &dyn TableLike, without: &[&str]) -> String {
    let keys = table.iter().filter(|(key, _)| !without.contains(key));
    let lines =
        keys.filter_map(|(key, item)| Some(format!("{key} = {}\n", item.as_value()?.to_string().trim())));
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::Authority;

    fn mirror() -> Mirror {
        Mirror::new("127.0.0.1:5443".parse().expect("an address"), Authority::read("/s/ca.pem".into()))
    }

    fn with(files: &[&str], registry: &str) -> Result<String, Error> {
        let mut tables = Tables::default();
        for text in files {
            tables.add(Path::new("theirs.conf"), Some(text))?;
        }
        tables.with_mirror(&registry.parse().expect("a registry"), &mirror())
    }

    #[test]
    fn the_registry_is_in_the_mirrors_path() {
        assert_eq!(
            with(&[], "registry.example:5000").expect("a table"),
            "\n[[registry]]\nprefix = \"registry.example:5000\"\nlocation = \"registry.example:5000\"\n\
             [[registry.mirror]]\nlocation = \"127.0.0.1:5443/registry.example_5000\"\n"
        );
    }

    #[test]
    fn what_a_user_says_of_a_registry_still_holds_behind_hubcap() {
        let old = "[[registry]]\nlocation = \"docker.io\"\nblocked = true\n";
        let new = "unqualified-search-registries = [\"docker.io\"]\n[[registry]]\nprefix = \"docker.io\"\ninsecure = true # why\n\
                   [[registry.mirror]]\nlocation = \"office:5000\"\ninsecure = true\n";
        assert_eq!(
            with(&[old, new], "docker.io").expect("a table"),
            "\n[[registry]]\nprefix = \"docker.io\"\nlocation = \"docker.io\"\ninsecure = true # why\n\
             [[registry.mirror]]\nlocation = \"127.0.0.1:5443/docker.io\"\n\
             [[registry.mirror]]\nlocation = \"office:5000\"\ninsecure = true\n"
        );
        assert!(with(&[old], "docker.io").expect("a table").contains("blocked = true\n[[registry.mirror]]"));
    }

    #[test]
    fn a_registry_that_a_user_sends_elsewhere_is_refused() {
        let text = "[[registry]]\nprefix = \"docker.io\"\nlocation = \"office.example/hub\"\n";
        let error = with(&[text], "docker.io").expect_err("elsewhere").to_string();
        assert!(error.starts_with("theirs.conf is left as it is: it sends docker.io"), "{error}");
        assert!(with(&[text], "ghcr.io").is_ok());
        assert!(with(&["registry = 1 ="], "docker.io").expect_err("no TOML").to_string().contains("line 1"));
    }
}
