//! Starts the daemon, so that it outlives the command that starts it, waits for it, and stops it.

use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use hubcap_admin::Status;
use hubcap_clients::{is_running, mistrusts};
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::unix::UCred;

use super::{client, environment, log, run};
use crate::job::cache::JobCache;
use crate::settings::Config;

/// How long a start may take: a store that was not shut down cleanly is scanned first.
const START: Duration = Duration::from_secs(60);
/// How long a clean shutdown may take: the daemon gives its clients ten seconds.
const END: Duration = Duration::from_secs(20);

/// A daemon that runs.
pub(crate) struct Running {
    pub(crate) status: Status,
    /// Whether it ran before it was asked for.
    pub(crate) already: bool,
}

/// The daemon of this state directory. Where none runs, starts one with these arguments for `serve`, and with the job's cache.
///
/// # Errors
/// When it does not start, with the end of its log; when one runs on another store.
pub(crate) fn ensure(
    config: &Config,
    arguments: &[OsString],
    job_cache: Option<&JobCache>,
) -> anyhow::Result<Running> {
    if let Ok(status) = client::status(&config.state) {
        let daemon = &status.daemon;
        let wants_store = config.given.store || config.given.is_jobs_store;
        if wants_store && daemon.store != config.store {
            bail!(
                "the daemon {} of {} has the store {}; share it by the same --store, stop it with `hubcap down`, or choose another \
                 --state",
                daemon.pid,
                config.state.display(),
                daemon.store.display()
            );
        }
        return Ok(Running { status, already: true });
    }
    let mut child = spawn(config, arguments, job_cache)?;
    let end = Instant::now() + START;
    loop {
        match client::status(&config.state) {
            Ok(status) if status.daemon.pid == child.id() => return Ok(Running { status, already: false }),
            _ => {}
        }
        if let Some(status) = child.try_wait()? {
            bail!("the daemon ended ({status}): {}", log::end(&config.state));
        }
        if Instant::now() > end {
            let _ = child.kill();
            let _ = child.wait();
            bail!("the daemon did not answer within {} s: {}", START.as_secs(), log::end(&config.state));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn spawn(config: &Config, arguments: &[OsString], job_cache: Option<&JobCache>) -> anyhow::Result<Child> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&config.state)
        .with_context(|| config.state.display().to_string())?;
    let path = log::path(&config.state);
    log::make_room(&path);
    let out = log::open(&path).with_context(|| path.display().to_string())?;
    let program = std::env::current_exe().context("which program hubcap is cannot be found out")?;
    let mut command = Command::new(program);
    command.arg("serve").arg("--background").args(arguments);
    command.env_clear().envs(environment::kept());
    // The daemon inherits no pipe of the step: a step ends when its pipes are closed.
    command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
    let Some(job_cache) = job_cache else { return Ok(command.spawn()?) };
    let mut child = command.arg("--job-cache").stdin(Stdio::piped()).spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // A daemon that has ended already says why itself.
        let _ = input.write_all(&job_cache.to_bytes());
    }
    Ok(child)
}

/// Stops the daemon that answers here, and waits for its end; kills it when it has not ended after 20 s.
///
/// # Errors
/// When it is another user's: one that says it is the daemon may be anything.
pub(crate) fn stop(daemon: UCred) -> anyhow::Result<()> {
    if mistrusts(daemon.uid()) {
        bail!("{}", run::is_strangers(daemon.uid()));
    }
    let pid = daemon.pid().and_then(Pid::from_raw).context("its process cannot be seen from here")?;
    kill_process(pid, Signal::TERM).with_context(|| format!("the daemon {pid} cannot be stopped"))?;
    let end = Instant::now() + END;
    while is_running(pid) {
        if Instant::now() > end {
            let _ = kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
