//! What was removed from the store, or would be, as a table.

use std::io::Write as _;

use hubcap_store::Removal;
use time::OffsetDateTime;

use super::progress::bytes;
use super::strangers::visible;

/// Prints the removals and their reasons. `size` is the store's size in bytes when they are done; with `dry_run`, before.
pub(crate) fn print(removals: &[Removal], size: u64, dry_run: bool) -> std::io::Result<()> {
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
        // Whoever made a damaged file may have named it anything.
        let name = visible(&one.name);
        writeln!(out, "{name:width$}  {:>10}  {used:16}  {}", bytes(one.bytes), one.reason)?;
    }
    if dry_run {
        let left = size.saturating_sub(freed);
        writeln!(out, "{} would be freed, {} would be left", bytes(freed), bytes(left))
    } else {
        writeln!(out, "{} freed, {} left", bytes(freed), bytes(size))
    }
}
