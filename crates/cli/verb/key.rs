//! `hubcap key`: one name for what the store holds, for the key of a cache. Beside a running daemon too.

use std::path::Path;
use std::process::ExitCode;

use hubcap_store::Layout;

pub(crate) fn run(store: &Path) -> anyhow::Result<ExitCode> {
    println!("{}", Layout::at(store).key()?);
    Ok(ExitCode::SUCCESS)
}
