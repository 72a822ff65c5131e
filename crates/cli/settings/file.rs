//! The TOML file; `config/default.toml` is one with every key explained.

use std::path::Path;

use anyhow::{Context as _, anyhow};
use clap::{Args as _, Command};
use hubcap_clients::read_text;

use super::given::Settings;

/// Reads the settings of a file.
///
/// # Errors
/// Names the file, and the line and the key that cannot be used; it shows no password.
pub(super) fn read(path: &Path) -> anyhow::Result<Settings> {
    let text = read_text(path)?;
    parse(&text).with_context(|| format!("{} cannot be used", path.display()))
}

pub(super) fn parse(text: &str) -> anyhow::Result<Settings> {
    toml::from_str(text).map_err(|error| {
        // Not the error's own display: it quotes the line, which may hold a password.
        let place = error.span().map(|span| place(text, span.start)).unwrap_or_default();
        anyhow!("{place}{}", without_value(error.message()))
    })
}

/// `line 3: `, and where that line sets something, `listen, line 3: `.
fn place(text: &str, at: usize) -> String {
    let before = &text[..at.min(text.len())];
    let number = before.matches('\n').count() + 1;
    let line = text.lines().nth(number - 1).unwrap_or_default();
    // Only a key that is known: anything else may be a part of a password.
    let key = line.split_once('=').map(|(key, _)| key.trim()).filter(|key| is_setting(key));
    key.map_or_else(|| format!("line {number}: "), |key| format!("{key}, line {number}: "))
}

fn is_setting(key: &str) -> bool {
    let of_tables = ["pattern", "ttl", "on-removed", "url", "stale-tags"];
    of_tables.contains(&key)
        || Settings::augment_args(Command::new("hubcap"))
            .get_arguments()
            .any(|flag| flag.get_long() == Some(key))
}

/// The parser's message without the value that it quotes: that may be a password in the wrong place.
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
