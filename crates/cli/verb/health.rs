//! `hubcap health`: whether the daemon answers, for a container's health check and for scripts.

use std::process::ExitCode;

use crate::daemon::answers;
use crate::settings::Config;
use crate::show::strangers::say;

/// Asks plain HTTP where that is on, else HTTPS.
pub(crate) fn run(config: &Config) -> anyhow::Result<ExitCode> {
    let address = match config.http_listen {
        Some(http) => answers::http(http)?,
        None => answers::https(config.listen)?,
    };
    say!("hubcap answers on {address}");
    Ok(ExitCode::SUCCESS)
}
