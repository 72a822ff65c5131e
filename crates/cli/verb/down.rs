//! `hubcap down`: gives up what this job or user holds, restores the files that no other holder needs, stops the daemon with
//! the last holder, and reports the time and bytes saved.

mod stays;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use hubcap_admin::{Daemon, Status};
use hubcap_cache::carry::{PackEnd, Saved};
use hubcap_clients::{Cluster, Docker, Journal, Nodes, mistrusts};
use hubcap_store::Layout;
use tokio::net::unix::UCred;

use crate::args::Down;
use crate::clients;
use crate::daemon::holders::{Holders, Who};
use crate::daemon::run::{self, Run};
use crate::daemon::{client, find, process};
use crate::job::report::Report;
use crate::job::worth::Steps;
use crate::job::{carry, github, pulls, speed, summary, workspace};
use crate::settings::Config;
use crate::show::progress::bytes;
use crate::show::strangers::say;
use crate::show::{changes, removals, unpacking};
use crate::{restart, unpacker};

/// How long `down` waits for an archive that is still being restored: a store that is saved before it is whole would hold less
/// than was there.
const RESTORED: Duration = Duration::from_secs(60);

/// Takes every step, whatever becomes of the others. In a GitHub job a failure is a warning.
pub(crate) fn run(config: &Config, flags: &Down) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let mut failures = Failures::default();
    let found = match find::daemon(config) {
        Err(error) if error.is::<find::Several>() => return Err(error),
        // It may hang. What was changed for it is put back all the same.
        Err(error) => {
            failures.note("the daemon still runs", Err(error));
            config.clone()
        }
        Ok(found) => found.config,
    };
    let config = &found;
    let mut holders = open(config, flags)?;
    // Known before the files are restored, which forgets it.
    let journal = Journal::open(&config.state, Docker::NAME).ok();
    let dockerd = flags.docker.client().or_host(journal.as_ref().and_then(Journal::host));
    let journal = journal.filter(|journal| !journal.is_empty());
    let (run, writer) = Run::known(&config.state).ok().flatten().unzip();
    // Before a restart, after which dockerd has forgotten its pulls.
    let running = journal.and_then(|journal| Some((dockerd.find().ok()?, journal)));
    let unpacking = running
        .as_ref()
        .and_then(|(dockerd, journal)| unpacking::told(dockerd, unpacker::is_wired(config), journal));
    let since = run.as_ref().map(Run::since);
    let pulled = running.zip(since).map(|((dockerd, _), since)| dockerd.pulled(since)).unwrap_or_default();
    let had_own = holders.release(&Who::of_this_process()).is_some();
    failures.note("what this job held is not given up", holders.save());
    failures.note("containerd is not as it was", unwire(config, flags, &holders));
    failures.note("dockerd is not as it was", restore_dockerd(config, flags, &holders));
    for client in hubcap_clients::all().iter().filter(|client| client.name() != Docker::NAME) {
        let restored = clients::restore_unless_held(config, &**client, &holders);
        failures.note("a client's files are not as they were", restored);
    }
    for cluster in Cluster::ALL.into_iter().filter(|cluster| holders.of_client(cluster.name()).is_empty()) {
        failures.note("a node's files are not as they were", restore_nodes(config, cluster));
    }
    let (status, peer) = client::settled(&config.state, RESTORED).unzip();
    // Whoever it is, or wrote it: root ends nothing, and removes nothing, because another user says so.
    let is_run_ours = !writer.is_some_and(mistrusts);
    let stranger = peer.map(|peer| peer.uid()).or(writer).filter(|user| mistrusts(*user));
    let daemon = status.as_ref().map(|status| &status.daemon);
    let log = client::requests(&config.state).unwrap_or_default();
    let stays = if flags.force { None } else { stays::why(&dockerd, daemon.and(run.as_ref()), &holders) };
    let mut carried = None;
    match &stays {
        Some(why) => {
            say!("the daemon goes on: {why}; `hubcap down --force` ends it all the same");
            // A `down` that had nothing to give up has done nothing.
            failures.any |= !had_own;
        }
        None => {
            carried = daemon.and_then(|_| save_carried(&config.state, &mut failures));
            failures.note("the daemon still runs", stop(peer));
        }
    }
    let store = if stranger.is_some() { config.store.clone() } else { store(config, daemon, run.as_ref()) };
    let mut is_trimmed = false;
    let run_here = run.as_ref().filter(|run| run.store == store && is_run_ours);
    if let Some(run) = run_here
        && stays.is_none()
        && carried.is_none()
        && flags.trims(&store)
        && store.exists()
    {
        let trimmed = trim(config, run, flags.keep_private);
        is_trimmed = trimmed.is_ok();
        failures.note("the store is not trimmed", trimmed);
    }
    // What is in GitHub's cache already needs no store.
    let is_carried = carried.is_none() && flags.is_carried(&store) && !flags.keep_private;
    if let (Some(user), None, true) = (stranger, peer, is_carried) {
        let why = anyhow::anyhow!("{}", run::is_strangers(user));
        failures.note("the store of the last run is left as it is", Err(why));
    }
    let is_carried = is_carried && stranger.is_none();
    let mut is_left = false;
    if is_carried && !is_trimmed && stays.is_none() && store.exists() {
        let removed = carry::remove_private(config, &store);
        is_left = removed.is_err();
        failures.note("what is private is not removed", removed);
    }
    let before = match (carried, &flags.since, run_here) {
        (Some(is_new), ..) => Before::Carried { is_new },
        (None, Some(key), _) => Before::Key(key),
        (None, None, Some(run)) => run.key.as_deref().map_or(Before::Unknown, Before::Key),
        (None, None, None) => Before::NoRun,
    };
    let meter = status.as_ref().map(|status| status.meter.clone()).unwrap_or_default();
    let speeds = speed::remembered(&store, &meter);
    // Whatever failed before, and wherever the store is: without a key, nothing is saved.
    let why_not = if stranger.is_some() {
        Some("it is another user's")
    } else if flags.keep_private {
        None
    } else if is_carried && stays.is_some() {
        Some("the daemon goes on with it")
    } else if is_left || Layout::at(&store).has_private() {
        Some(
            "not all that is in it is known to be for everybody: private images, or what is half written or damaged",
        )
    } else {
        None
    };
    match why_not {
        Some(why) if is_carried && stays.is_none() => {
            failures.note("the store has no key, so that it is not saved", Err(anyhow::anyhow!(why)));
            github::output("changed", "false");
        }
        Some(why) => {
            say!("the store has no key, so that it is not saved: {why}");
            report_changed(&before, None);
        }
        None => failures.note("the store has no key, so that it is not saved", report_key(&store, &before)),
    }
    if let Some(status) = &status
        && let Some(key) = missed(status)
    {
        github::warning(&format!(
            "the job began with {key}, and nothing that it pulled was there: its images are not those that earlier jobs under this \
             key have saved. Give jobs with other images another key"
        ));
    }
    github::output("store", &store.display().to_string());
    if let Some(status) = status {
        github::output("hits", &log.hits().to_string());
        let (forgotten, pulls) = (log.forgotten, pulls::pulls(log, &pulled));
        let report = Report { meter: status.meter, pulls, forgotten, speeds, unpacking };
        failures.note("there is no summary", tell(&report, flags, began));
    }
    if let Some(run) = run
        && stays.is_none()
        && is_run_ours
    {
        Run { ended: true, ..run }.write(&config.state);
    }
    Ok(if failures.any && !github::is_job() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The holders that may keep the daemon.
fn open(config: &Config, flags: &Down) -> anyhow::Result<Holders> {
    if flags.force { Holders::open_without_any(&config.state) } else { Holders::open(&config.state) }
}

/// Has containerd unpack by itself again, unless a holder needs the differ, or nothing is to be restarted.
fn unwire(config: &Config, flags: &Down, holders: &Holders) -> anyhow::Result<()> {
    let is_wired = unpacker::is_wired(config);
    if flags.no_restart && is_wired {
        say!("containerd goes on to unpack with hubcap's differ; `hubcap down` ends that");
        return Ok(());
    }
    unpacker::unwire_unless_held(config, holders, flags.containerd.restart_containerd.as_deref())
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
/// something new; `None` where nothing is carried so, or it failed. The job goes on whatever it is.
fn save_carried(state: &Path, failures: &mut Failures) -> Option<bool> {
    let saved = match client::save(state) {
        Ok(saved) => saved?,
        Err(error) => {
            failures.note("nothing is saved for later jobs", Err(error));
            return None;
        }
    };
    let Saved { uploaded, left, failed, pack } = saved;
    let is_new = uploaded > 0 || matches!(pack, PackEnd::Saved { .. });
    if uploaded > 0 {
        say!("uploaded {} while the job ran", bytes(uploaded));
    }
    if left > 0 {
        say!("{left} large contents are left for a later job to upload");
    }
    // Where the pack failed as well, that says enough.
    if let Some(why) = failed.filter(|_| !matches!(pack, PackEnd::Failed(_))) {
        say!("a large content is not saved for later jobs: {why}");
    }
    match pack {
        PackEnd::Saved { key, bytes: size } => say!("saved {key}, {}", bytes(size)),
        PackEnd::Unchanged => say!("nothing has changed for later jobs"),
        PackEnd::Empty => say!("nothing was pulled that later jobs may have"),
        PackEnd::Failed(why) => say!("nothing is saved for later jobs: {why}"),
    }
    Some(is_new)
}

/// The pack that a job began with, where it pulled and the pack names nothing of that: its images are unknown there. One whose
/// large contents are not saved yet, or are gone, is known.
fn missed(status: &Status) -> Option<&str> {
    let has_fetched = status.meter.repositories.values().any(|one| one.fetched > 0);
    status.carried.as_deref().filter(|_| has_fetched && !status.carried_asked)
}

fn stop(daemon: Option<UCred>) -> anyhow::Result<()> {
    match daemon {
        Some(daemon) => process::stop(daemon).map(|()| say!("the daemon is stopped")),
        None => {
            say!("no daemon runs");
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

/// What is known of the store before this job.
enum Before<'a> {
    /// Its key.
    Key(&'a str),
    /// Its key could not be computed: whatever it has now counts as changed.
    Unknown,
    /// No daemon has run on it, so hubcap has changed nothing.
    NoRun,
    /// It began empty: contents are carried without it, and this says whether later jobs find new ones.
    Carried { is_new: bool },
}

/// Says which key the store has now, and whether there is something new.
fn report_key(store: &Path, before: &Before<'_>) -> anyhow::Result<()> {
    let key = Layout::at(store).key();
    if let Ok(key) = &key {
        say!("key {key}");
        github::output("key", key);
    }
    report_changed(before, key.as_deref().ok());
    Ok(key.map(drop)?)
}

/// Says whether there is something new for later jobs, in a store that has this key now, or none.
fn report_changed(before: &Before<'_>, now: Option<&str>) {
    let changed = match (before, now) {
        (Before::Carried { is_new }, _) => *is_new,
        (Before::Key(before), Some(now)) => now != *before,
        (Before::Unknown, Some(_)) => true,
        (Before::NoRun, _) | (_, None) => false,
    };
    say!("changed {changed}");
    github::output("changed", if changed { "true" } else { "false" });
}

/// Tells the time and bytes saved: on the job's page, otherwise on standard output. The action does it later, when it has saved the
/// store.
fn tell(report: &Report, flags: &Down, began: Instant) -> anyhow::Result<()> {
    say!("bytes saved {}", report.saved());
    for name in ["bytes", "bytes-saved"] {
        github::output(name, &report.saved().to_string());
    }
    if let Some(path) = &flags.report {
        return report.write(path);
    }
    let steps = Steps { start: None, end: began.elapsed().as_secs_f64() };
    if let Some(lines) = summary::publish(report, steps).filter(|_| !flags.quiet) {
        print!("\n{lines}");
    }
    Ok(())
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
        let is_in = |workspace: OsString| workspace::is_in(store, Path::new(&workspace));
        self.trim.unwrap_or_else(|| workspace.is_some_and(is_in))
    }
}
