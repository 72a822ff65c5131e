//! The daemon from outside: started so that it outlives who starts it, waited for, and stopped.

use std::ffi::OsString;
use std::io::Read as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::admin::{Status, client};
use crate::settings::Config;

/// How long a start may take: a store that was not closed in order is looked through first.
const START: Duration = Duration::from_secs(60);
/// How long an orderly end may take: the daemon itself gives its clients ten seconds.
const END: Duration = Duration::from_secs(20);
/// A log is begun anew when the last run left more than this, in bytes.
const MAX_LOG: u64 = 16 << 20;
/// What of a log is shown when a start fails.
const SHOWN_LINES: usize = 10;

/// Where the daemon's words go.
pub(crate) fn log(state: &Path) -> PathBuf {
    state.join("hubcap.log")
}

/// The daemon of this state directory; started with these arguments for `serve` when none runs. True when it was.
///
/// # Errors
/// When it does not start, with its last words; when one runs on another store.
pub(crate) fn ensure(config: &Config, arguments: &[OsString]) -> anyhow::Result<(Status, bool)> {
    if let Ok(status) = client::status(&config.state) {
        if status.store != config.store {
            bail!(
                "the daemon {} of {} has the store {}; stop it with `hubcap down`, or choose another --state",
                status.pid,
                config.state.display(),
                status.store.display()
            );
        }
        return Ok((status, false));
    }
    let mut child = spawn(config, arguments)?;
    let end = Instant::now() + START;
    loop {
        match client::status(&config.state) {
            Ok(status) if status.pid == child.id() => return Ok((status, true)),
            _ => {}
        }
        if let Some(status) = child.try_wait()? {
            bail!("the daemon ended ({status}): {}", last_words(&config.state));
        }
        if Instant::now() > end {
            let _ = child.kill();
            let _ = child.wait();
            bail!("the daemon did not answer within {} s: {}", START.as_secs(), last_words(&config.state));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn spawn(config: &Config, arguments: &[OsString]) -> anyhow::Result<Child> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&config.state)
        .with_context(|| config.state.display().to_string())?;
    let path = log(&config.state);
    let large = std::fs::metadata(&path).is_ok_and(|metadata| metadata.len() > MAX_LOG);
    let mut options = std::fs::OpenOptions::new();
    // Names of private repositories are in it.
    options.create(true).mode(0o600);
    let out = if large { options.write(true).truncate(true) } else { options.append(true) }
        .open(&path)
        .with_context(|| path.display().to_string())?;
    let program = std::env::current_exe().context("which program hubcap is cannot be found out")?;
    let mut command = Command::new(program);
    command.arg("serve").arg("--background").args(arguments);
    // Nothing of the step's: a step ends when its pipes are closed.
    command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
    Ok(command.spawn()?)
}

/// The end of the log, for an error.
pub(crate) fn last_words(state: &Path) -> String {
    let mut text = String::new();
    let path = log(state);
    let read = std::fs::File::open(&path).and_then(|file| file.take(2 * MAX_LOG).read_to_string(&mut text));
    if read.is_err() || text.trim().is_empty() {
        return format!("{} has no word of it", path.display());
    }
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}

/// Stops the daemon, in order if it can. False when none runs.
///
/// # Errors
/// When it is another user's.
pub(crate) fn stop(state: &Path) -> anyhow::Result<bool> {
    let Ok(status) = client::status(state) else { return Ok(false) };
    let pid = i32::try_from(status.pid).ok().and_then(Pid::from_raw).context("the daemon has no process")?;
    let told = kill_process(pid, Signal::TERM);
    told.with_context(|| format!("the daemon {} cannot be stopped", status.pid))?;
    let end = Instant::now() + END;
    while is_running(pid) {
        if Instant::now() > end {
            let _ = kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(true)
}

/// One that has ended and that nobody has waited for does not run any more.
fn is_running(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|rest| !rest.starts_with(['Z', 'X'])))
}
