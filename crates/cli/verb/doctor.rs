//! `hubcap doctor`: which pulls go through hubcap, which do not and why, and what mends it. It only looks.

mod clients;
mod daemon;
mod docker;
mod machine;

use std::io::Write as _;
use std::process::ExitCode;

use hubcap_clients::Coverage;
use serde::Serialize;

use crate::args::Doctor;
use crate::settings::Config;

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    state: State,
    about: &'static str,
    says: String,
    /// A command, or what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// It works.
    Fine,
    /// Worth knowing.
    Note,
    /// It was set up, and does not work.
    Broken,
    /// Pulls that go through hubcap.
    Through,
    /// Pulls that do not, and why.
    Past,
}

#[derive(Serialize)]
struct Report {
    healthy: bool,
    findings: Vec<Finding>,
}

/// Looks at everything. 0 when all that was set up works; what never was is no failure.
pub(crate) fn run(config: &Config, flags: &Doctor) -> anyhow::Result<ExitCode> {
    let status = crate::admin::client::status(&config.state).ok();
    let mut findings = daemon::look(config, status.as_ref());
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

impl Finding {
    fn new(state: State, about: &'static str, says: impl Into<String>) -> Self {
        Self { state, about, says: says.into(), mend: None }
    }

    /// Pulls that use the mirror, or do not.
    fn coverage(about: &'static str, coverage: Coverage) -> Self {
        let state = if coverage.uses_mirror { State::Through } else { State::Past };
        Self { state, about, says: coverage.pulls, mend: coverage.remedy }
    }

    fn mend(self, how: impl Into<String>) -> Self {
        Self { mend: Some(how.into()), ..self }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match self.state {
            State::Fine => "fine",
            State::Note => "note",
            State::Broken => "BROKEN",
            State::Through => "through hubcap",
            State::Past => "not through it",
        };
        write!(f, "{state:14}  {:10}  {}", self.about, self.says)?;
        match &self.mend {
            Some(mend) => write!(f, "\n{:28}-> {mend}", ""),
            None => Ok(()),
        }
    }
}
