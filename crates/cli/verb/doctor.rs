//! `hubcap doctor`: shows which pulls use hubcap, which do not, and how to fix that. It changes nothing.

mod clients;
mod clusters;
mod daemon;
mod differ;
mod docker;
mod files;
mod finding;
mod machine;
mod registries;
mod store;
mod subject;

use std::io::Write as _;
use std::process::ExitCode;

use serde::Serialize;

use finding::{Finding, State};
use subject::Subject;

use crate::args::Doctor;
use crate::daemon::find;
use crate::settings::Config;
use crate::show::strangers::{json_text, visible_lines};

#[derive(Serialize)]
struct Report {
    healthy: bool,
    findings: Vec<Finding>,
}

/// Looks at everything. Exits with 0 when all that was set up works; what was never set up is no failure.
pub(crate) fn run(config: &Config, flags: &Doctor) -> anyhow::Result<ExitCode> {
    let subject = Subject::new(find::daemon(config)?);
    let mut findings = daemon::look(&subject);
    findings.extend(store::look(&subject.settings));
    findings.extend(registries::look(&subject));
    findings.extend(docker::look(&subject, flags));
    findings.extend(differ::look(&subject));
    findings.extend(clients::look(&subject));
    findings.extend(clusters::look(&subject));
    findings.extend(machine::look(subject.mirror.as_ref()));
    let healthy = findings.iter().all(|finding| finding.state != State::Broken);
    let mut out = std::io::stdout().lock();
    if flags.json {
        writeln!(out, "{}", json_text(&Report { healthy, findings })?)?;
    } else {
        for finding in &findings {
            writeln!(out, "{}", visible_lines(&finding.to_string()))?;
        }
        writeln!(
            out,
            "{}",
            if healthy { "all that was set up works" } else { "not all that was set up works" }
        )?;
    }
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
