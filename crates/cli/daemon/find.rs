//! Which daemon a command is about: that of `--state`, else that of `--store`, else the only one that runs.

use std::path::{Path, PathBuf};

use hubcap_admin::Status;

use super::client::{self, Reached};
use super::records;
use crate::settings::{self, Config};

/// What a command knows of the daemon.
pub(crate) struct Found {
    /// The settings, with the state directory of the daemon that runs.
    pub(crate) config: Config,
    /// The daemon; `None` when none runs.
    pub(crate) status: Option<Status>,
    /// The state directories of daemons that run for other users, which only they can ask.
    pub(crate) of_others: Vec<PathBuf>,
}

impl Found {
    /// The settings that count: the daemon's, where one runs.
    pub(crate) fn settings(&self) -> Config {
        let of_daemon =
            self.status.as_ref().map(|status| settings::of_daemon(&status.daemon.settings, &self.config));
        match of_daemon {
            Some(Ok(settings)) => settings,
            _ => self.config.clone(),
        }
    }
}

/// Several daemons run, and nothing says which one is meant.
#[derive(Debug, thiserror::Error)]
#[error("{} daemons run here; --state names the one that is meant:\n{}", .0.len(), .0.join("\n"))]
pub(crate) struct Several(Vec<String>);

/// Finds the daemon.
///
/// # Errors
/// [`Several`]; when the one of `--state` does not answer, or is of another version.
pub(crate) fn daemon(config: &Config) -> anyhow::Result<Found> {
    let mut states = vec![config.state.clone()];
    if !config.given.state {
        states.extend(records::all().into_iter().map(|record| record.state));
    }
    let (mut running, mut of_others) = (Vec::<(PathBuf, Status)>::new(), Vec::new());
    for state in states {
        if running.iter().any(|(known, _)| is_same(known, &state)) {
            continue;
        }
        match client::reach(&state) {
            Ok(Reached::Runs(status)) => running.push((state, *status)),
            Ok(Reached::OfAnother) => of_others.push(state),
            Ok(Reached::None) => {}
            Err(error) if state == config.state => {
                return Err(error.context(format!("the daemon of {} cannot be asked", state.display())));
            }
            Err(error) => {
                tracing::warn!(target: "hubcap::daemon", "the daemon of {} is passed over: {error:#}", state.display());
            }
        }
    }
    if config.given.store || config.given.is_jobs_store {
        // A store belongs to one daemon, so it names its daemon. The daemon of the usual state directory may have another
        // one: then that is an error of its own.
        let has_store = |(_, status): &(PathBuf, Status)| status.daemon.store == config.store;
        let is_named = running.iter().any(has_store);
        running.retain(|one| if is_named { has_store(one) } else { one.0 == config.state });
    }
    if running.len() > 1 {
        return Err(Several(running.iter().map(|(state, status)| line(state, status)).collect()).into());
    }
    let mut config = config.clone();
    let status = running.pop().map(|(state, status)| {
        config.state = state;
        status
    });
    Ok(Found { config, status, of_others })
}

fn is_same(one: &Path, other: &Path) -> bool {
    one == other
        || matches!((std::fs::canonicalize(one), std::fs::canonicalize(other)), (Ok(one), Ok(other)) if one == other)
}

fn line(state: &Path, status: &Status) -> String {
    let daemon = &status.daemon;
    let listen = daemon.listen.map_or_else(|| "no HTTPS".to_owned(), |listen| listen.to_string());
    format!("  --state {} ({listen}, process {})", state.display(), daemon.pid)
}
