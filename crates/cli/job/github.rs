//! What hubcap reports to a GitHub job: in files that the runner names, and by workflow commands on standard output.

use std::io::Write as _;
use std::path::PathBuf;

use crate::show::strangers::{print, visible_lines};

/// Whether hubcap runs in a step of a GitHub job.
pub(crate) fn is_job() -> bool {
    std::env::var("GITHUB_ACTIONS").is_ok_and(|value| value == "true")
}

/// Sets an output of the step; outside a job, does nothing.
pub(crate) fn output(name: &str, value: &str) {
    append("GITHUB_OUTPUT", &setting(name, value));
}

/// As the runner reads it: after a line's end, another output would begin.
fn setting(name: &str, value: &str) -> String {
    format!("{name}={}\n", value.replace(['\r', '\n'], " "))
}

/// Adds to the job summary; false outside a job.
pub(crate) fn summary(markdown: &str) -> bool {
    append("GITHUB_STEP_SUMMARY", markdown)
}

/// Reports a failure that does not stop the job: as an annotation of the job, outside a job on standard error.
pub(crate) fn warning(text: &str) {
    let text = visible_lines(text);
    if is_job() {
        // The runner's own way to write more than one line.
        let text = text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
        print(&format!("::warning title=hubcap::{text}\n"));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_of_an_output_begins_another_one() {
        assert_eq!(setting("store", "/a\nkey=b\r\nc"), "store=/a key=b  c\n");
    }
}
