//! `hubcap summary`: writes the job summary, when hubcap's own steps are over and their seconds known.

use std::process::ExitCode;

use crate::args;
use crate::job::report::Report;
use crate::job::summary;
use crate::job::worth::Steps;
use crate::show::strangers::say;

pub(crate) fn run(flags: &args::Summary) -> anyhow::Result<ExitCode> {
    let report = Report::read(&flags.report)?;
    let steps = Steps { start: flags.start, end: flags.end };
    if let Some(lines) = summary::publish(&report, steps) {
        say!("{}", lines.trim_end());
    }
    Ok(ExitCode::SUCCESS)
}
