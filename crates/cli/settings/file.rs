//! The TOML file; `config/default.toml` is one with every key explained.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use fs_err as fs;
use serde::Deserialize;

/// The keys of a file, as they are written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct File {
    pub(crate) listen: Option<String>,
    pub(crate) http_listen: Option<String>,
    pub(crate) proxy_listen: Option<String>,
    pub(crate) proxy_intercept: Option<Vec<String>>,
    pub(crate) proxy_tunnel: Option<Vec<String>>,
    pub(crate) store: Option<PathBuf>,
    pub(crate) state: Option<PathBuf>,
    pub(crate) offline: Option<bool>,
    pub(crate) tag_ttl: Option<String>,
    pub(crate) frozen: Option<PathBuf>,
    pub(crate) read_ahead: Option<bool>,
    pub(crate) upstream_timeout: Option<String>,
    pub(crate) max_size: Option<String>,
    pub(crate) min_free: Option<String>,
    pub(crate) pin: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) tags: Vec<TagsTable>,
    #[serde(default)]
    pub(crate) upstream: BTreeMap<String, UpstreamTable>,
}

/// `[upstream."docker.io"]`. No Debug: it may hold a password.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct UpstreamTable {
    /// Without it, at its own name.
    pub(crate) url: Option<String>,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) tag_ttl: Option<String>,
}

/// `[[tags]]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct TagsTable {
    pub(crate) pattern: String,
    pub(crate) ttl: String,
}

impl File {
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path)?;
        Self::parse(&text).with_context(|| format!("{} cannot be used", path.display()))
    }

    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        toml::from_str(text).map_err(|error| {
            // Not the error's own display: it quotes the line, which may hold a password.
            let line = error.span().map(|span| text[..span.start.min(text.len())].lines().count().max(1));
            let at_start = error.span().is_some_and(|span| text[..span.start].ends_with('\n'));
            let line = line.map(|line| if at_start { line + 1 } else { line });
            let line = line.map(|line| format!("line {line}: ")).unwrap_or_default();
            anyhow::anyhow!("{line}{}", without_value(error.message()))
        })
    }
}

/// What the parser says, without the value that it quotes: that may be a password in the wrong place.
fn without_value(message: &str) -> String {
    match message.rsplit_once(", expected ") {
        Some((found, expected))
            if found.starts_with("invalid type") || found.starts_with("invalid value") =>
        {
            let kind = found.split(['"', '`']).next().unwrap_or_default().trim_end();
            format!("{kind}, expected {expected}")
        }
        _ => message.to_owned(),
    }
}
