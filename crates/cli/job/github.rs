//! What a GitHub job is told, and how: files that the runner names, and workflow commands on standard output.

use std::io::Write as _;
use std::path::PathBuf;

/// Whether this is a step of a GitHub job.
pub(crate) fn is_job() -> bool {
    std::env::var("GITHUB_ACTIONS").is_ok_and(|value| value == "true")
}

/// Sets a step's output, where this is one. Neither name nor value has a line's end.
pub(crate) fn output(name: &str, value: &str) {
    append("GITHUB_OUTPUT", &format!("{name}={value}\n"));
}

/// Adds to the step's page; false when there is none.
pub(crate) fn summary(page: &str) -> bool {
    append("GITHUB_STEP_SUMMARY", page)
}

/// What went wrong although the job goes on: marked on the job's page, and told on standard error elsewhere.
pub(crate) fn warning(text: &str) {
    if is_job() {
        // The runner's own way to write more than one line.
        println!(
            "::warning title=hubcap::{}",
            text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
        );
    } else {
        eprintln!("hubcap: {text}");
    }
}

fn append(variable: &str, text: &str) -> bool {
    let Some(path) = std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from) else {
        return false;
    };
    let file = std::fs::OpenOptions::new().append(true).create(true).open(&path);
    match file.and_then(|mut file| file.write_all(text.as_bytes())) {
        Ok(()) => true,
        Err(error) => {
            eprintln!("hubcap: {variable}={}: {error}", path.display());
            false
        }
    }
}
