//! `hubcap gc`: removes what is over the limits, or says what would go and why.

use std::io::Write as _;
use std::process::ExitCode;

use hubcap_store::Store;
use hubcap_store::gc::Wanted;
use time::OffsetDateTime;

use crate::args::Gc;
use crate::config::Config;
use crate::progress::bytes;

pub(crate) fn run(config: &Config, flags: &Gc) -> anyhow::Result<ExitCode> {
    let store = Store::open(&config.store, config.store_options())?;
    let wanted = if flags.private { Wanted::Private } else { Wanted::Limits };
    let removals = if flags.dry_run { store.plan(wanted)? } else { store.collect(wanted)? };
    let (freed, before) = (removals.iter().map(|one| one.bytes).sum::<u64>(), store.size());
    store.close();
    let mut out = std::io::stdout().lock();
    let width = removals.iter().map(|one| one.name.len()).max().unwrap_or(0).max(4);
    if !removals.is_empty() {
        writeln!(out, "{:width$}  {:>10}  {:16}  WHY", "NAME", "FREES", "LAST USED")?;
    }
    for one in &removals {
        let used = match OffsetDateTime::from(one.used) {
            never if never.unix_timestamp() == 0 => "unknown".into(),
            at => format!("{} {:02}:{:02}", at.date(), at.hour(), at.minute()),
        };
        writeln!(out, "{:width$}  {:>10}  {used:16}  {}", one.name, bytes(one.bytes), one.reason)?;
    }
    if flags.dry_run {
        writeln!(
            out,
            "{} would be freed, {} would be left",
            bytes(freed),
            bytes(before.saturating_sub(freed))
        )?;
    } else {
        writeln!(out, "{} freed, {} left", bytes(freed), bytes(before))?;
    }
    Ok(ExitCode::SUCCESS)
}
