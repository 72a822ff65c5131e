//! `hubcap gc`: removes what is over the limits, or says what would go and why.

use std::io::Write as _;
use std::process::ExitCode;

use hubcap_store::Store;
use hubcap_store::gc::{Removal, Wanted};
use time::OffsetDateTime;

use crate::args::Gc;
use crate::settings::Config;
use crate::show::progress::bytes;

pub(crate) fn run(config: &Config, flags: &Gc) -> anyhow::Result<ExitCode> {
    let store = Store::open(&config.store, config.store_options())?;
    let wanted = if flags.private { Wanted::Private } else { Wanted::Limits };
    let removals = if flags.dry_run { store.plan(wanted)? } else { store.collect(wanted)? };
    let before = store.size();
    store.close();
    tell(&removals, before, flags.dry_run)
}

/// Says what went and why, or what would go; the store is of `size` bytes now.
pub(crate) fn tell(removals: &[Removal], size: u64, dry_run: bool) -> anyhow::Result<ExitCode> {
    let freed = removals.iter().map(|one| one.bytes).sum::<u64>();
    let mut out = std::io::stdout().lock();
    let width = removals.iter().map(|one| one.name.len()).max().unwrap_or(0).max(4);
    if !removals.is_empty() {
        writeln!(out, "{:width$}  {:>10}  {:16}  WHY", "NAME", "FREES", "LAST USED")?;
    }
    for one in removals {
        let used = match OffsetDateTime::from(one.used) {
            never if never.unix_timestamp() == 0 => "unknown".into(),
            at => format!("{} {:02}:{:02}", at.date(), at.hour(), at.minute()),
        };
        writeln!(out, "{:width$}  {:>10}  {used:16}  {}", one.name, bytes(one.bytes), one.reason)?;
    }
    let freed_text = bytes(freed);
    if dry_run {
        writeln!(out, "{freed_text} would be freed, {} would be left", bytes(size.saturating_sub(freed)))?;
    } else {
        writeln!(out, "{freed_text} freed, {} left", bytes(size))?;
    }
    Ok(ExitCode::SUCCESS)
}
