//! The settings in `HUBCAP_` variables. They are read as the flags are: `HUBCAP_MAX_SIZE=5GiB` is `--max-size=5GiB`.

use std::collections::BTreeMap;
use std::error::Error as _;

use anyhow::{anyhow, bail};
use clap::{Arg, ArgAction, Args as _, Command, FromArgMatches as _};

use super::given::Settings;
use super::upstream::words_of_upstreams;

/// The variables of this process that are set to something.
pub(super) type Variables = BTreeMap<String, String>;

/// Variables of hubcap that are no flags.
const OTHERS: [&str; 4] = ["HUBCAP_LOGIN", "HUBCAP_RESTORE", "HUBCAP_LOG", "HUBCAP_HOLDER"];

/// Reads the variables. Those of other programs may be in any encoding; a variable that is set to nothing is not set.
///
/// # Errors
/// When a variable of hubcap's is not UTF-8.
pub(super) fn read() -> anyhow::Result<Variables> {
    let mut found = Variables::new();
    for (name, value) in std::env::vars_os().filter(|(_, value)| !value.is_empty()) {
        let Ok(name) = name.into_string() else { continue };
        match value.into_string() {
            Ok(value) => drop(found.insert(name, value)),
            Err(_) if name.starts_with("HUBCAP_") => bail!("{name}: its value is not UTF-8"),
            Err(_) => {}
        }
    }
    Ok(found)
}

/// Warns of variables that look like hubcap's and are none: a slip of the pen, mostly.
pub(super) fn warn_of_unknown(variables: &Variables) {
    let command = flags();
    let known: Vec<String> = command.get_arguments().filter_map(variable).collect();
    for name in variables.keys().filter(|name| name.starts_with("HUBCAP_")) {
        if !known.contains(name) && !OTHERS.contains(&name.as_str()) {
            tracing::warn!(target: "hubcap::config", "the variable {name} is none of hubcap's; it is ignored");
        }
    }
}

/// The settings of the variables.
///
/// # Errors
/// Names the variable, its value, and how it is written. What may hold a login is not shown.
pub(super) fn settings(variables: &Variables) -> anyhow::Result<Settings> {
    let command = flags();
    let mut found = Settings::default();
    for flag in command.get_arguments() {
        let Some((name, value)) = variable(flag).and_then(|name| variables.get_key_value(&name)) else {
            continue;
        };
        let values = match flag.get_action() {
            ArgAction::Append => words_of_upstreams(value),
            _ => vec![value.clone()],
        };
        let long = flag.get_long().unwrap_or_default();
        let words = values.into_iter().map(|value| format!("--{long}={value}"));
        let one =
            command.clone().try_get_matches_from(words).and_then(|found| Settings::from_arg_matches(&found));
        found = found.or(one.map_err(|error| anyhow!("{name}: {}", why(&error, value)))?);
    }
    Ok(found)
}

fn flags() -> Command {
    Settings::augment_args(Command::new("hubcap").no_binary_name(true))
}

/// `HUBCAP_MAX_SIZE` for `--max-size`.
pub(super) fn variable(flag: &Arg) -> Option<String> {
    Some(format!("HUBCAP_{}", flag.get_long()?.to_uppercase().replace('-', "_")))
}

/// What is wrong with a value. An error without a cause is one of ours, which quotes no login.
fn why(error: &clap::Error, value: &str) -> String {
    match error.source() {
        Some(cause) => format!("{value:?}: {cause}"),
        None => error.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned(),
    }
}
