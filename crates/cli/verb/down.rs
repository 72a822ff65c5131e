//! `hubcap down`: dockerd as it was, the daemon stopped, and an account of what the cache was worth.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use hubcap_clients::{Client, Docker, Journal};
use hubcap_store::Layout;

use crate::admin::{Status, client};
use crate::args::Down;
use crate::daemon::process;
use crate::daemon::run::Run;
use crate::job::{self, github, speed};
use crate::settings::Config;
use crate::show::removals;
use crate::verb::setup;

use crate::job::summary::Account;

/// How long an archive that still comes in is waited for.
const RESTORED: Duration = Duration::from_secs(60);

/// Does every part of it, whatever becomes of the others.
pub(crate) fn run(config: &Config, flags: &Down) -> anyhow::Result<ExitCode> {
    let mut failed = false;
    let mut tried = |what: &str, done: anyhow::Result<()>| {
        if let Err(error) = done {
            failed = true;
            github::warning(&format!("{what}: {error:#}"));
        }
    };
    tried("dockerd is not as it was", unwire(config, flags));
    for client in Client::ALL.into_iter().filter(|client| *client != Client::Docker) {
        tried("a client's files are not as they were", setup::clients::undo(config, client));
    }
    let status = restored(&config.state);
    tried(
        "the daemon still runs",
        process::stop(&config.state).map(|stopped| {
            println!("{}", if stopped { "the daemon is stopped" } else { "no daemon runs" });
        }),
    );
    let run = Run::read(&config.state).ok().flatten();
    // The daemon knows best which store it had.
    let store = status.as_ref().map(|status| &status.store).or(run.as_ref().map(|run| &run.store));
    let store = store.unwrap_or(&config.store).clone();
    if let Some(run) = run.as_ref().filter(|run| run.store == store && flags.trims(&store) && store.exists())
    {
        tried("the store is not trimmed", carry(config, run, flags.keep_private));
    }
    let key = Layout::at(&store).key();
    let then = run.as_ref().filter(|run| run.store == store).and_then(|run| run.key.as_ref());
    let then = flags.since.as_ref().or(then);
    let changed = match (&key, then) {
        (Ok(now), Some(then)) => now != then,
        (Ok(_), None) => true,
        (Err(_), _) => false,
    };
    match &key {
        Ok(key) => {
            println!("key {key}");
            github::output("key", key);
        }
        Err(error) => tried("the store has no key", Err(anyhow::anyhow!("{error}"))),
    }
    println!("changed {changed}");
    github::output("changed", if changed { "true" } else { "false" });
    github::output("store", &store.display().to_string());
    if let Some(status) = status {
        let speeds = speed::remembered(&store, &status);
        let account = Account::new(&status, &speeds, flags.restored_in);
        println!("bytes saved {}", account.saved());
        github::output("bytes-saved", &account.saved().to_string());
        let page = account.page();
        if !github::summary(&page) && !flags.quiet {
            println!("\n{page}");
        }
    }
    if let Some(run) = run {
        Run { ended: true, ..run }.write(&config.state);
    }
    Ok(if failed && !github::is_job() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn carry(config: &Config, run: &Run, keep_private: bool) -> anyhow::Result<()> {
    let trimmed = job::carry::trim(config, run, keep_private)?;
    Ok(removals::print(&trimmed.removals, trimmed.size, false)?)
}

/// How the daemon is, when the archive that it takes in has come to its end: what is saved of a store that is not whole
/// would be less than what was there.
fn restored(state: &Path) -> Option<Status> {
    let end = Instant::now() + RESTORED;
    loop {
        let status = client::status(state).ok()?;
        if !status.restoring || Instant::now() > end {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

impl Down {
    /// A store in a job's workspace is carried to the next one; others are kept as they are.
    fn trims(&self, store: &Path) -> bool {
        let workspace = std::env::var_os("GITHUB_WORKSPACE").filter(|workspace| !workspace.is_empty());
        self.trim.unwrap_or_else(|| workspace.is_some_and(|workspace| store.starts_with(workspace)))
    }
}

fn unwire(config: &Config, flags: &Down) -> anyhow::Result<()> {
    let mut journal = Journal::open(&config.state, Client::Docker)?;
    if journal.is_empty() {
        return Ok(());
    }
    let docker = Docker::find(&flags.docker.at().or_host(journal.host()))?;
    let changes = docker.plan_undo(&journal)?;
    docker.undo(&mut journal)?;
    setup::tell(&changes);
    println!("dockerd's files are as they were");
    Ok(())
}
