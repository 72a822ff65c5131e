//! `hubcap doctor`: shows which pulls use hubcap, which do not, and how to fix that. It changes nothing.

mod clients;
mod daemon;
mod docker;
mod finding;
mod machine;
mod registries;
mod store;

use std::io::Write as _;
use std::process::ExitCode;

use serde::Serialize;

use finding::{Finding, State};

use crate::args::Doctor;
use crate::daemon::find::{self, Found};
use crate::settings::Config;

#[derive(Serialize)]
struct Report {
    healthy: bool,
    findings: Vec<Finding>,
}

/// Looks at everything. Exits with 0 when all that was set up works; what was never set up is no failure.
pub(crate) fn run(config: &Config, flags: &Doctor) -> anyhow::Result<ExitCode> {
    let Found { config, status, .. } = &find::daemon(config)?;
    let mut findings = vec![daemon::look(config, status.as_ref())];
    findings
        .extend(store::look(status.as_ref().map_or(&config.store, |status| &status.daemon.store), config));
    findings.extend(registries::look(config, status.as_ref()));
    findings.extend(docker::look(config, flags, status.as_ref()));
    findings.extend(clients::look(config, status.as_ref()));
    findings.extend(machine::look());
    let healthy = findings.iter().all(|finding| finding.state != State::Broken);
    let mut out = std::io::stdout().lock();
    if flags.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&Report { healthy, findings })?)?;
    } else {
        for finding in &findings {
            writeln!(out, "{finding}")?;
        }
        writeln!(
            out,
            "{}",
            if healthy { "all that was set up works" } else { "not all that was set up works" }
        )?;
    }
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
