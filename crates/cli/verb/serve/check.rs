//! `hubcap serve --check`.

use std::path::Path;

use anyhow::{Context as _, bail};

use crate::compose;
use crate::settings::Config;

/// Checks what can be checked without changing anything.
///
/// # Errors
/// When the upstreams cannot be used, or a directory cannot be made.
pub(super) fn check(config: &Config) -> anyhow::Result<()> {
    compose::upstreams(config)?;
    for (what, path) in [("store", &config.store), ("state", &config.state)] {
        let mut existing: &Path = path;
        while !existing.exists() {
            existing =
                existing.parent().with_context(|| format!("the {what} {} cannot be made", path.display()))?;
        }
        let metadata = fs_err::metadata(existing)?;
        if !metadata.is_dir() {
            bail!("the {what} {} cannot be made: {} is a file", path.display(), existing.display());
        }
        if metadata.permissions().readonly() {
            bail!("the {what} {} cannot be made: {} is not writable", path.display(), existing.display());
        }
    }
    Ok(())
}
