//! The settings: each is a flag, a `HUBCAP_` variable and a key of a TOML file. A flag wins over a variable, a variable over
//! the file, the file over the default.
//!
//! - [`given`]: the settings as a user gives them; flags and file are both read into this one struct.
//! - [`environment`]: those of the variables. [`mod@file`]: those of the file.
//! - [`config`]: everything decided. [`shown`]: what was decided, as a file.
//! - [`units`], [`upstream`], [`upstream_tables`], [`logins`]: values, and how they are written. [`upstreams`]: which count.

mod config;
mod environment;
mod file;
mod given;
mod logins;
mod shown;
mod units;
mod upstream;
mod upstream_tables;
mod upstreams;

pub(crate) use config::{Archive, Config};
pub(crate) use given::Settings;

/// Decides the configuration of this process.
///
/// # Errors
/// Names the variable, or the file's line and key, and what is wrong with it.
pub(crate) fn load(flags: &Settings) -> anyhow::Result<Config> {
    let variables = environment::read()?;
    environment::warn_of_unknown(&variables);
    let given = flags.clone().or(environment::settings(&variables)?);
    let file = given.config.as_deref().map(file::read).transpose()?.unwrap_or_default();
    Config::decide(given.or(file), &variables)
}

/// The configuration of a daemon that has these settings, with the logins that this process has for the same origins.
///
/// # Errors
/// When the daemon is of another version, or its tag lock is gone.
pub(crate) fn of_daemon(settings: &str, own: &Config) -> anyhow::Result<Config> {
    let mut config = Config::decide(file::parse(settings)?, &environment::Variables::new())?;
    // Nobody has to say again to a command what `up` was told.
    upstreams::give(&own.idle_logins, &mut config.upstreams, &config.allowed)?;
    let known = || own.upstreams.iter().flat_map(|upstream| &upstream.origins);
    for origin in config.upstreams.iter_mut().flat_map(|upstream| &mut upstream.origins) {
        let of_own = known().find(|one| one.url == origin.url).and_then(|one| one.credentials.clone());
        origin.credentials = of_own.or_else(|| origin.credentials.take());
    }
    Ok(config)
}

#[cfg(test)]
mod tests;
