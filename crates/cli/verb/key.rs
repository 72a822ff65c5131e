//! `hubcap key`: one name for what the store holds, for the key of a cache. Beside a running daemon too.

use std::path::Path;
use std::process::ExitCode;

pub(crate) fn run(store: &Path) -> anyhow::Result<ExitCode> {
    println!("{}", hubcap_store::key(store)?);
    Ok(ExitCode::SUCCESS)
}
