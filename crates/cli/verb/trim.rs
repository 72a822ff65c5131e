//! `hubcap trim`: leaves in the store what is worth carrying to the next job.

use std::process::ExitCode;

use hubcap_store::{Prune, Wanted};

use crate::args::Trim;
use crate::compose;
use crate::daemon::run::Run;
use crate::settings::Config;
use crate::show::removals;
use crate::show::strangers::say;

pub(crate) fn run(config: &Config, flags: &Trim) -> anyhow::Result<ExitCode> {
    let used_since = if flags.used_in_this_run { Some(Run::latest(config)?.since()) } else { None };
    // Contents may be there although somebody has removed the names.
    if !["index.json", "blobs"].iter().any(|name| config.store.join(name).exists()) {
        say!("there is no store in {}", config.store.display());
        return Ok(ExitCode::SUCCESS);
    }
    let store = compose::store_to_carry(config)?;
    let wanted = Wanted::Prune(Prune { used_since, keep_private: flags.keep_private });
    let removals = if flags.dry_run { store.plan(wanted)? } else { store.evict(wanted)? };
    let size = store.size();
    store.close();
    removals::print(&removals, size, flags.dry_run)?;
    Ok(ExitCode::SUCCESS)
}
