//! `hubcap trim`: leaves in the store what is worth carrying to the next job.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use hubcap_store::gc::Trim;
use hubcap_store::{Limits, Store};

use crate::args;
use crate::daemon::run::Run;
use crate::settings::Config;
use crate::verb::gc;

pub(crate) fn run(config: &Config, flags: &args::Trim) -> anyhow::Result<ExitCode> {
    let used_since = if flags.used_in_this_run { Some(run_of(config)?.since()) } else { None };
    if !config.store.join("index.json").exists() {
        println!("there is no store in {}", config.store.display());
        return Ok(ExitCode::SUCCESS);
    }
    let store = open(config)?;
    let trim = Trim { used_since, keep_private: flags.keep_private };
    let removals = if flags.dry_run { store.plan_trim(trim)? } else { store.trim(trim)? };
    let size = store.size();
    store.close();
    gc::tell(&removals, size, flags.dry_run)
}

/// Leaves what a run used. A run that used nothing says nothing of the next one, and leaves everything.
pub(crate) fn carry(config: &Config, run: &Run, keep_private: bool) -> anyhow::Result<()> {
    let store = open(&Config { store: run.store.clone(), ..config.clone() })?;
    let used = Trim { used_since: Some(run.since()), keep_private };
    let all = Trim { used_since: None, keep_private };
    let (removals, before) = (store.plan_trim(used)?, store.size());
    let nothing_used = removals.iter().map(|one| one.bytes).sum::<u64>() >= before;
    let removals = store.trim(if nothing_used { all } else { used })?;
    let size = store.size();
    store.close();
    gc::tell(&removals, size, false).map(drop)
}

/// The store for itself. What the disk has left is nothing that a store to be carried is bounded by.
fn open(config: &Config) -> anyhow::Result<Store> {
    let mut options = config.store_options();
    options.limits = Limits { min_free: None, ..options.limits };
    Ok(Store::open(&config.store, options)?)
}

/// The latest run on this store.
///
/// # Errors
/// When there was none, or it was on another store: then nothing can be said about what was used.
pub(crate) fn run_of(config: &Config) -> anyhow::Result<Run> {
    let state = config.state.display();
    let run = Run::read(&config.state)?.with_context(|| {
        format!("no daemon has run with the state directory {state}, so nothing tells what was used; is --state right?")
    })?;
    if run.store != config.store {
        let (ran, asked) = (run.store.display(), config.store.display());
        bail!("the last run with the state directory {state} was on the store {ran}, not on {asked}");
    }
    Ok(run)
}

impl Run {
    /// When it began.
    pub(crate) fn since(&self) -> SystemTime {
        let since = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(self.started));
        since.unwrap_or(SystemTime::UNIX_EPOCH)
    }
}
