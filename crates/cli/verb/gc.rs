//! `hubcap gc`: removes what is over the limits, or says what would go and why.

use std::process::ExitCode;

use hubcap_store::Wanted;

use crate::args::Gc;
use crate::compose;
use crate::settings::Config;
use crate::show::removals;

pub(crate) fn run(config: &Config, flags: &Gc) -> anyhow::Result<ExitCode> {
    let store = compose::store(config)?;
    let wanted = if flags.private { Wanted::Private } else { Wanted::Limits };
    let removals = if flags.dry_run { store.plan(wanted)? } else { store.evict(wanted)? };
    let size = store.size();
    store.close();
    removals::print(&removals, size, flags.dry_run)?;
    Ok(ExitCode::SUCCESS)
}
