//! containerd's `config.toml`: it imports a file of hubcap's, which puts hubcap's differ before the others.
//!
//! Of the user's file only the list of imports is edited. What is imported is matched by a pattern, so that containerd starts as
//! well when nothing is there any more.

use std::path::{Path, PathBuf};

use toml_edit::{Array, DocumentMut, Item, RawString, TableLike, Value, value};

use super::header::HEADER;
use super::toml::{self, quoted};
use crate::error::Error;

/// Where hubcap's differ listens.
pub const DIFFER_SOCKET: &str = "/run/hubcap-differ/differ.sock";
/// The differ's name in containerd.
const DIFFER: &str = "hubcap";
/// The differ that containerd has where nothing is configured.
const WALKING: &str = "walking";
/// The version of a file that hubcap makes: the latest that containerd 1.7 reads.
const VERSION: i64 = 2;

/// How long containerd has the differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasting {
    /// Until the machine reboots: what is imported lies in `/run`, as the differ's process is no service.
    UntilReboot,
    /// Also after a reboot, since systemd listens before containerd starts.
    AcrossReboots,
}

impl Lasting {
    const ALL: [Self; 2] = [Self::UntilReboot, Self::AcrossReboots];

    /// The only one of this path's.
    pub fn of_drop_in(path: &Path) -> Option<Self> {
        Self::ALL.into_iter().find(|one| path == Path::new(one.drop_in()))
    }

    /// hubcap's file, which is imported.
    pub(crate) const fn drop_in(self) -> &'static str {
        match self {
            Self::UntilReboot => "/run/hubcap-differ/containerd.toml",
            Self::AcrossReboots => "/etc/hubcap-differ/containerd.toml",
        }
    }

    /// Matches hubcap's file, and nothing where that is gone: then containerd is as it was.
    const fn import(self) -> &'static str {
        match self {
            Self::UntilReboot => "/run/hubcap-differ/*.toml",
            Self::AcrossReboots => "/etc/hubcap-differ/*.toml",
        }
    }

    fn is_import(text: &str) -> bool {
        Self::ALL.into_iter().any(|one| one.import() == text)
    }
}

/// A file of containerd's configuration.
#[derive(Debug)]
pub(crate) struct ConfigFile {
    path: PathBuf,
    document: DocumentMut,
}

/// What containerd calls the plugins that a differ needs, by the version of its configuration.
struct Names {
    service: &'static str,
    /// What must not be disabled: the service within containerd, the one that clients call, and the differ itself.
    needed: [&'static str; 3],
}

impl Names {
    const fn of(version: i64) -> Self {
        match version {
            ..2 => Self { service: "diff-service", needed: ["diff-service", "diff", DIFFER] },
            _ => Self {
                service: "io.containerd.service.v1.diff-service",
                needed: [
                    "io.containerd.service.v1.diff-service",
                    "io.containerd.grpc.v1.diff",
                    "io.containerd.differ.v1.hubcap",
                ],
            },
        }
    }
}

impl ConfigFile {
    /// Parses it.
    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, Error> {
        Ok(Self { path: path.to_owned(), document: toml::parse(path, Some(text))? })
    }

    /// What it imports, as it is written, without what hubcap has added.
    pub(crate) fn imports(&self) -> Result<Vec<&str>, Error> {
        let Some(imports) = self.document.get("imports") else { return Ok(Vec::new()) };
        let mut imports = texts(imports).ok_or_else(|| not_a_list(&self.path, "imports"))?;
        imports.retain(|one| !Lasting::is_import(one));
        Ok(imports)
    }

    #[cfg(test)]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn version(&self) -> i64 {
        self.document.get("version").and_then(Item::as_integer).unwrap_or(1)
    }

    /// A plugin's table.
    fn plugin(&self, name: &str) -> Result<Option<&dyn TableLike>, Error> {
        let Some(item) = self.document.get("plugins").and_then(|plugins| plugins.get(name)) else {
            return Ok(None);
        };
        let table = item.as_table_like();
        table.map(Some).ok_or_else(|| Error::not_understood(&self.path, format!("{name:?} is not a table")))
    }

    /// Refuses what keeps containerd from calling the differ.
    fn check(&self, names: &Names) -> Result<(), Error> {
        let disabled = self.document.get("disabled_plugins").and_then(texts).unwrap_or_default();
        if let Some(plugin) = names.needed.into_iter().find(|plugin| disabled.contains(plugin)) {
            let why = format!("it disables the plugin {plugin:?}, and without that no differ is called");
            return Err(Error::not_understood(&self.path, why));
        }
        if self.document.get("proxy_plugins").is_some_and(|plugins| plugins.get(DIFFER).is_some()) {
            let why = format!(
                "it has a plugin {DIFFER:?} in proxy_plugins already. Remove that, if it is a differ of hubcap's"
            );
            return Err(Error::not_understood(&self.path, why));
        }
        Ok(())
    }
}

/// The file with hubcap's import, after the others: what is imported later holds.
pub(crate) fn with_import(path: &Path, original: Option<&str>, lasting: Lasting) -> Result<String, Error> {
    let import = lasting.import();
    let Some(text) = original else {
        return Ok(format!("{HEADER}version = {VERSION}\nimports = [{}]\n", quoted(import)));
    };
    let mut document = toml::parse(path, original)?;
    let list = document.entry("imports").or_insert_with(|| value(Array::new()));
    let list = list.as_array_mut().ok_or_else(|| not_a_list(path, "imports"))?;
    if list.iter().any(|one| one.as_str() == Some(import)) {
        return Ok(text.to_owned());
    }
    put_last(list, import);
    Ok(document.to_string())
}

/// The file without hubcap's import, which hubcap added when it wrote in place of `before`. `None` when nothing else is in it.
pub(crate) fn without_import(
    path: &Path,
    before: Option<&str>,
    now: String,
) -> Result<Option<String>, Error> {
    let mut document = toml::parse(path, Some(now.strip_prefix(HEADER).unwrap_or(&now)))?;
    let Some(list) = document.get_mut("imports").and_then(Item::as_array_mut) else { return Ok(Some(now)) };
    let count = list.len();
    list.retain(|one| !one.as_str().is_some_and(Lasting::is_import));
    if list.len() == count {
        return Ok(Some(now));
    }
    let was_there = toml::parse(path, before)?.get("imports").is_some();
    if list.is_empty() && !was_there {
        document.remove("imports");
    }
    let text = document.to_string();
    let is_ours_alone = before.is_none() && text.trim() == format!("version = {VERSION}");
    Ok((!is_ours_alone).then_some(text))
}

/// The file that is imported: hubcap's differ, before those that `files` name. These containerd reads before it, the
/// first one first, and `later` after it.
///
/// # Errors
/// [`Error::NotUnderstood`] for a file that would keep containerd from calling the differ.
pub(crate) fn drop_in(files: &[ConfigFile], later: &[ConfigFile]) -> Result<String, Error> {
    let version = files.iter().chain(later).map(ConfigFile::version).max().unwrap_or(VERSION);
    let names = Names::of(version);
    for file in files.iter().chain(later) {
        file.check(&names)?;
    }
    for file in later {
        if file.plugin(names.service)?.is_some() {
            let why = format!(
                "it configures {:?} and is read after hubcap's file, as what an imported file imports is",
                names.service
            );
            return Err(Error::not_understood(&file.path, why));
        }
    }
    let mut differs = vec![WALKING.to_owned()];
    let mut others = Vec::<(String, String)>::new();
    for file in files {
        for (key, item) in file.plugin(names.service)?.into_iter().flat_map(TableLike::iter) {
            if key == "default" {
                let list = texts(item).ok_or_else(|| not_a_list(&file.path, key))?;
                differs = list.into_iter().map(str::to_owned).collect();
            } else if let Some(value) = item.as_value() {
                others.retain(|(other, _)| other != key);
                others.push((key.to_owned(), value.clone().decorated("", "").to_string()));
            }
        }
    }
    let mut text = HEADER.to_owned();
    if version >= 2 {
        text.push_str(&format!("version = {version}\n"));
    }
    let differs: Vec<String> =
        [DIFFER.to_owned()].into_iter().chain(differs).map(|name| quoted(&name)).collect();
    text.push_str(&format!(
        "\n[proxy_plugins.{DIFFER}]\n  type = \"diff\"\n  address = {}\n\n[plugins.{}]\n  default = [{}]\n",
        quoted(DIFFER_SOCKET),
        quoted(names.service),
        differs.join(", ")
    ));
    for (key, value) in others {
        text.push_str(&format!("  {} = {value}\n", quoted(&key)));
    }
    Ok(text)
}

/// The texts of a list; `None` where it is none, or has something else in it.
fn texts(item: &Item) -> Option<Vec<&str>> {
    item.as_array()?.iter().map(Value::as_str).collect()
}

fn not_a_list(path: &Path, name: &str) -> Error {
    Error::not_understood(
        path,
        format!("{name:?} is not a list of texts; containerd itself does not take it"),
    )
}

/// After the others, spaced as the last one is.
fn put_last(list: &mut Array, text: &str) {
    let spaces = list.iter().last().and_then(|last| last.decor().prefix().and_then(RawString::as_str));
    let spaces = spaces.unwrap_or_default().to_owned();
    let mut new = Value::from(text);
    if !list.is_empty() {
        // The first one of a line has no blank before it.
        new.decor_mut().set_prefix(if spaces.is_empty() { " ".into() } else { spaces });
    }
    list.push_formatted(new);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Docker's package has it.
    const DOCKERS: &str = "#   Copyright\n\ndisabled_plugins = [\"cri\"]\n\n#root = \"/var/lib/containerd\"\n\n#[grpc]\n#  uid = 0\n";

    const IMPORT: &str = Lasting::UntilReboot.import();

    fn with(text: Option<&str>) -> String {
        with_import(Path::new("config.toml"), text, Lasting::UntilReboot).expect("TOML")
    }

    fn file(text: &str) -> ConfigFile {
        ConfigFile::parse(Path::new("config.toml"), text).expect("TOML")
    }

    fn dropped(files: &[&str], later: &[&str]) -> Result<String, Error> {
        let parsed = |texts: &[&str]| texts.iter().map(|text| file(text)).collect::<Vec<_>>();
        drop_in(&parsed(files), &parsed(later))
    }

    #[test]
    fn the_import_comes_after_the_others_and_everything_else_stays() {
        for (text, wanted) in [
            (DOCKERS, format!("disabled_plugins = [\"cri\"]\nimports = [\"{IMPORT}\"]\n")),
            ("imports = ['/a.toml']\n[grpc]\nuid = 0\n", format!("imports = ['/a.toml', \"{IMPORT}\"]\n")),
            ("imports = [\n  'a', # b\n]\n", format!("imports = [\n  'a',\n  \"{IMPORT}\", # b\n]\n")),
            (
                "# c\n[grpc]\n  uid = 0 # d\n",
                format!("imports = [\"{IMPORT}\"]\n# c\n[grpc]\n  uid = 0 # d\n"),
            ),
        ] {
            let wired = with(Some(text));
            assert!(wired.contains(&wanted), "{wired}");
            for line in text.lines().filter(|line| !line.contains("imports") && !line.contains("'a'")) {
                assert!(wired.contains(line), "{line}: {wired}");
            }
            assert_eq!(with(Some(&wired)), wired, "twice is once");
        }
        assert_eq!(with(None), format!("{HEADER}version = 2\nimports = [\"{IMPORT}\"]\n"));
    }

    #[test]
    fn what_others_write_meanwhile_stays_when_the_import_goes() {
        let without = |before: Option<&str>, now: &str| {
            without_import(Path::new("c"), before, now.to_owned()).expect("TOML")
        };
        assert_eq!(without(None, &with(None)), None);
        for before in
            [DOCKERS, "imports = [\"/a.toml\"]\n[grpc]\nuid = 0\n", "imports = []\n", "version = 3\n", ""]
        {
            let added = format!("{}[debug]\nlevel = \"info\"\n", with(Some(before)));
            let wanted = format!("{before}[debug]\nlevel = \"info\"\n");
            assert_eq!(without(Some(before), &added), Some(wanted));
        }
        assert_eq!(
            without(None, &format!("{}[debug]\n", with(None))).as_deref(),
            Some("version = 2\n[debug]\n")
        );
        let noted = format!("{}# theirs\n", with(None));
        assert_eq!(without(None, &noted).as_deref(), Some("version = 2\n# theirs\n"));
        assert_eq!(without(Some("a = 1\n"), "a = 2\n").as_deref(), Some("a = 2\n"), "taken out by hand");
    }

    #[test]
    fn an_import_that_lasts_across_reboots_is_not_in_run_and_goes_as_well() {
        let path = Path::new("c");
        let wired = with_import(path, Some(DOCKERS), Lasting::AcrossReboots).expect("TOML");
        assert!(wired.contains("imports = [\"/etc/hubcap-differ/*.toml\"]"), "{wired}");
        assert_eq!(file(&wired).imports().expect("a list"), Vec::<&str>::new());
        assert_eq!(without_import(path, Some(DOCKERS), wired).expect("TOML").as_deref(), Some(DOCKERS));
    }

    #[test]
    fn the_differ_comes_first_and_those_of_its_user_stay() {
        let service = "[plugins.\"io.containerd.service.v1.diff-service\"]\n";
        for (files, version, list, more) in [
            (vec!["version = 2\n".to_owned()], "version = 2\n", "\"hubcap\", \"walking\"", ""),
            (vec!["version = 3\n".to_owned()], "version = 3\n", "\"hubcap\", \"walking\"", ""),
            (
                vec![format!(
                    "version = 3\n{service}default = ['erofs', 'walking'] # e\nsync_fs = true # f\n"
                )],
                "version = 3\n",
                "\"hubcap\", \"erofs\", \"walking\"",
                "  \"sync_fs\" = true\n",
            ),
            (
                vec![
                    "version = 2\n".into(),
                    format!("version = 2\n{service}default = ['one']\n"),
                    format!("{service}default = ['two']\n"),
                ],
                "version = 2\n",
                "\"hubcap\", \"two\"",
                "",
            ),
        ] {
            let files: Vec<&str> = files.iter().map(String::as_str).collect();
            let text = dropped(&files, &["version = 2\n"]).expect("merged");
            assert_eq!(
                text,
                format!(
                    "{HEADER}{version}\n[proxy_plugins.hubcap]\n  type = \"diff\"\n  address = \"{DIFFER_SOCKET}\"\n\n{service}  default = [{list}]\n{more}"
                )
            );
        }
    }

    #[test]
    fn a_file_of_the_first_version_is_answered_in_its_own_words() {
        let text = dropped(&[DOCKERS, "[plugins.diff-service]\ndefault = ['a']\n"], &[]).expect("merged");
        assert!(
            !text.contains("version")
                && text.contains("[plugins.\"diff-service\"]\n  default = [\"hubcap\", \"a\"]\n")
        );
    }

    #[test]
    fn what_would_keep_the_differ_from_being_called_is_refused() {
        let service = "io.containerd.service.v1.diff-service";
        for (files, later, said) in [
            (
                vec!["version = 2\ndisabled_plugins = ['io.containerd.grpc.v1.diff']\n".to_owned()],
                vec![],
                "disables",
            ),
            (vec![format!("version = 3\ndisabled_plugins = ['{service}']\n")], vec![], "disables"),
            (vec!["disabled_plugins = ['cri', 'diff']\n".to_owned()], vec![], "disables the plugin \"diff\""),
            (
                vec!["version = 2\n[proxy_plugins.hubcap]\ntype = 'diff'\n".to_owned()],
                vec![],
                "proxy_plugins",
            ),
            (vec![format!("version = 2\n[plugins.'{service}']\ndefault = 'a'\n")], vec![], "not a list"),
            (vec![format!("version = 2\n[plugins]\n'{service}' = 1\n")], vec![], "not a table"),
            (vec!["version = 2\n".to_owned()], vec![format!("[plugins.'{service}']\n")], "read after"),
            (
                vec!["version = 2\n".to_owned()],
                vec!["disabled_plugins = ['io.containerd.differ.v1.hubcap']\n".to_owned()],
                "disables",
            ),
        ] {
            let files: Vec<&str> = files.iter().map(String::as_str).collect();
            let later: Vec<&str> = later.iter().map(String::as_str).collect();
            let error = dropped(&files, &later).expect_err(said).to_string();
            assert!(error.contains(said) && error.starts_with("config.toml is left as it is"), "{error}");
        }
        let error =
            with_import(Path::new("c"), Some("imports = 1\n"), Lasting::UntilReboot).expect_err("no list");
        assert!(error.to_string().contains("\"imports\" is not a list"), "{error}");
        assert!(file("imports = [1]\n").imports().is_err());
    }
}
