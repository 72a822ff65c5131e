//! `hubcap down`: gives up what this job or user holds, restores the files that no other holder needs, stops the daemon with
//! the last holder, and reports the time and bytes saved.

mod stays;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use hubcap_admin::{Daemon, Status};
use hubcap_cache::RepositoryStats;
use hubcap_cache::carry::{PackEnd, Saved};
use hubcap_clients::{Cluster, Docker, Journal, Nodes};
use hubcap_store::Layout;

use crate::args::Down;
use crate::clients;
use crate::daemon::holders::{Holders, Who};
use crate::daemon::run::Run;
use crate::daemon::{client, find, process};
use crate::job::summary::Summary;
use crate::job::{carry, github, speed};
use crate::restart;
use crate::settings::Config;
use crate::show::progress::bytes;
use crate::show::{changes, removals, unpacking};

/// How long `down` waits for an archive that is still being restored: a store that is saved before it is whole would hold less
/// than was there.
const RESTORED: Duration = Duration::from_secs(60);

/// Takes every step, whatever becomes of the others. In a GitHub job a failure is a warning.
pub(crate) fn run(config: &Config, flags: &Down) -> anyhow::Result<ExitCode> {
    let config = &find::daemon(config)?.config;
    let mut failures = Failures::default();
    let mut holders = open(config, flags)?;
    // Known before the files are restored, which forgets it.
    let journal = Journal::open(&config.state, Docker::NAME).ok();
    let dockerd = flags.docker.client().or_host(journal.as_ref().and_then(Journal::host));
    let is_set_up = journal.is_some_and(|journal| !journal.is_empty());
    let unpacking = if is_set_up { dockerd.find().ok().as_ref().and_then(unpacking::told) } else { None };
    let had_own = holders.release(&Who::of_this_process()).is_some();
    failures.note("what this job held is not given up", holders.save());
    failures.note("dockerd is not as it was", restore_dockerd(config, flags, &holders));
    for client in hubcap_clients::all().iter().filter(|client| client.name() != Docker::NAME) {
        let restored = clients::restore_unless_held(config, &**client, &holders);
        failures.note("a client's files are not as they were", restored);
    }
    for cluster in Cluster::ALL.into_iter().filter(|cluster| holders.of_client(cluster.name()).is_empty()) {
        failures.note("a node's files are not as they were", restore_nodes(config, cluster));
    }
    let status = client::settled(&config.state, RESTORED);
    let daemon = status.as_ref().map(|status| &status.daemon);
    let run = Run::read(&config.state).ok().flatten();
    let stays = if flags.force { None } else { stays::why(&dockerd, daemon.and(run.as_ref()), &holders) };
    let mut carried = None;
    match &stays {
        Some(why) => {
            println!("the daemon goes on: {why}; `hubcap down --force` ends it all the same");
            // A `down` that had nothing to give up has done nothing.
            failures.any |= !had_own;
        }
        None => {
            carried = daemon.and_then(|_| save_carried(&config.state));
            failures.note("the daemon still runs", stop(daemon));
        }
    }
    let store = store(config, daemon, run.as_ref());
    let run_here = run.as_ref().filter(|run| run.store == store);
    if let Some(run) = run_here
        && stays.is_none()
        && carried.is_none()
        && flags.trims(&store)
        && store.exists()
    {
        failures.note("the store is not trimmed", trim(config, run, flags.keep_private));
    }
    // What is in GitHub's cache already needs no store.
    let is_carried = carried.is_none() && flags.is_carried(&store) && !flags.keep_private;
    if is_carried && stays.is_none() && store.exists() {
        failures.note("what is private is not removed", carry::remove_private(config, &store));
    }
    let key_before = flags.since.as_ref().or(run_here.and_then(|run| run.key.as_ref()));
    // Whatever failed before: without a key, nothing is saved.
    let told = match is_carried && Layout::at(&store).has_private() {
        true => Err(anyhow::anyhow!("what registries give only to a login is still in it")),
        false => report_key(&store, key_before),
    };
    failures.note("the store has no key, so that it is not saved", told);
    if let Some(status) = &status
        && let Some(key) = missed(status)
    {
        github::warning(&format!(
            "the job began with {key}, and nothing that it pulled was there: its images are not those that earlier jobs under this \
             key have saved. Give jobs with other images another key"
        ));
    }
    if let Some(changed) = carried {
        github::output("changed", if changed { "true" } else { "false" });
    }
    github::output("store", &store.display().to_string());
    if let Some(status) = &status {
        report_savings(&store, (status, unpacking), flags);
    }
    if let Some(run) = run
        && stays.is_none()
    {
        Run { ended: true, ..run }.write(&config.state);
    }
    Ok(if failures.any && !github::is_job() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The holders that may keep the daemon.
fn open(config: &Config, flags: &Down) -> anyhow::Result<Holders> {
    if flags.force { Holders::open_without_any(&config.state) } else { Holders::open(&config.state) }
}

/// Restores dockerd's files, unless a holder needs them.
fn restore_dockerd(config: &Config, flags: &Down, holders: &Holders) -> anyhow::Result<()> {
    if clients::is_held(&flags.docker.client(), holders) {
        return Ok(());
    }
    restart::restore_dockerd(config, &flags.docker, &flags.restart)
}

/// Restores the files in the nodes of a tool's clusters; nothing to do is no error.
fn restore_nodes(config: &Config, cluster: Cluster) -> anyhow::Result<()> {
    let mut nodes = Nodes::open(&config.state, cluster)?;
    if !nodes.is_empty() {
        nodes.undo()?.iter().for_each(changes::print_done_in);
    }
    Ok(())
}

/// Steps that failed; each is a warning.
#[derive(Default)]
struct Failures {
    any: bool,
}

impl Failures {
    fn note(&mut self, what: &str, done: anyhow::Result<()>) {
        if let Err(error) = done {
            self.any = true;
            github::warning(&format!("{what}: {error:#}"));
        }
    }
}

/// Has the daemon save what later jobs will find in GitHub's cache, and tells what became of that. Returns whether there is
/// something new; `None` where nothing is carried so. The job goes on whatever it is.
fn save_carried(state: &Path) -> Option<bool> {
    let Saved { uploaded, left, pack } = client::save(state).ok()??;
    let is_new = uploaded > 0 || matches!(pack, PackEnd::Saved { .. });
    if uploaded > 0 {
        println!("uploaded {} while the job ran", bytes(uploaded));
    }
    if left > 0 {
        println!("{left} large contents are left for a later job to upload");
    }
    match pack {
        PackEnd::Saved { key, bytes: size } => println!("saved {key}, {}", bytes(size)),
        PackEnd::Unchanged => println!("nothing has changed for later jobs"),
        PackEnd::Empty => println!("nothing was pulled that later jobs may have"),
        PackEnd::Failed(why) => println!("nothing is saved for later jobs: {why}"),
    }
    Some(is_new)
}

/// The pack that a job began with, where it pulled and nothing of that was there, but for what is as good as nothing.
fn missed(status: &Status) -> Option<&str> {
    let all = |count: fn(&RepositoryStats) -> u64| status.meter.repositories.values().map(count).sum::<u64>();
    let has_missed = all(|one| one.fetched) > 100 * all(RepositoryStats::saved);
    status.carried.as_deref().filter(|_| has_missed)
}

fn stop(daemon: Option<&Daemon>) -> anyhow::Result<()> {
    match daemon {
        Some(daemon) => process::stop(daemon).map(|()| println!("the daemon is stopped")),
        None => {
            println!("no daemon runs");
            Ok(())
        }
    }
}

/// The store of this job: the daemon knows it best, then what it wrote of its run, then the settings.
fn store(config: &Config, daemon: Option<&Daemon>, run: Option<&Run>) -> PathBuf {
    let of_daemon = daemon.map(|daemon| &daemon.store).or(run.map(|run| &run.store));
    of_daemon.unwrap_or(&config.store).clone()
}

fn trim(config: &Config, run: &Run, keep_private: bool) -> anyhow::Result<()> {
    let trimmed = carry::trim(config, run, keep_private)?;
    Ok(removals::print(&trimmed.removals, trimmed.size, false)?)
}

/// Says which key the store has now, and whether it is another one than `before`.
fn report_key(store: &Path, before: Option<&String>) -> anyhow::Result<()> {
    let key = Layout::at(store).key();
    if let Ok(key) = &key {
        println!("key {key}");
        github::output("key", key);
    }
    let changed = key.as_ref().is_ok_and(|now| Some(now) != before);
    println!("changed {changed}");
    github::output("changed", if changed { "true" } else { "false" });
    Ok(key.map(drop)?)
}

/// Reports the time and bytes saved, and how dockerd unpacked what it pulled: on the job's page, else on standard output.
fn report_savings(store: &Path, (status, unpacking): (&Status, Option<String>), flags: &Down) {
    let speeds = speed::remembered(store, &status.meter);
    let summary = Summary::new(&status.meter, &speeds, flags.restored_in);
    println!("bytes saved {}", summary.saved());
    github::output("bytes-saved", &summary.saved().to_string());
    let mut markdown = summary.markdown();
    markdown.extend(unpacking.map(|told| format!("\n{told}.\n")));
    if !github::summary(&markdown) && !flags.quiet {
        println!("\n{markdown}");
    }
}

impl Down {
    /// Whether the store is carried to the next job, as far as that is known: one of which that is said, or one in a job's
    /// workspace.
    fn is_carried(&self, store: &Path) -> bool {
        self.trim.is_some() || self.trims(store)
    }

    /// Whether the store is trimmed: where nothing is said, a store in a job's workspace, which the next job gets.
    fn trims(&self, store: &Path) -> bool {
        let workspace = std::env::var_os("GITHUB_WORKSPACE").filter(|workspace| !workspace.is_empty());
        self.trim.unwrap_or_else(|| workspace.is_some_and(|workspace| store.starts_with(workspace)))
    }
}
