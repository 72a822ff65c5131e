//! `hubcap key`: one name for what the store holds, for the key of a cache. Beside a running daemon too.

use std::path::Path;
use std::process::ExitCode;

use crate::show::strangers::say;
use hubcap_store::Layout;

pub(crate) fn run(store: &Path) -> anyhow::Result<ExitCode> {
    let layout = Layout::at(store);
    let key = layout.key()?;
    if layout.has_private() {
        eprintln!(
            "hubcap: {} has images of which it is not known that anybody may have them: before you save it where others can \
             read it, remove them with `hubcap gc --private`",
            store.display()
        );
    }
    say!("{key}");
    Ok(ExitCode::SUCCESS)
}
