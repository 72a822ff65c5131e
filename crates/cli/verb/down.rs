//! `hubcap down`: gives up what this job or user holds, restores the files that no other holder needs, stops the daemon with
//! the last holder, and reports the time and bytes saved.

mod stays;
mod store;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use hubcap_admin::{Daemon, Status};
use hubcap_cache::carry::{PackEnd, Saved};
use hubcap_clients::{Cluster, Docker, Journal, Nodes, mistrusts};
use tokio::net::unix::UCred;

use crate::args::Down;
use crate::clients;
use crate::daemon::holders::{Holders, Who};
use crate::daemon::run::Run;
use crate::daemon::{client, find, process};
use crate::job::report::Report;
use crate::job::worth::Steps;
use crate::job::{github, pulls, speed, summary};
use crate::settings::Config;
use crate::show::progress::bytes;
use crate::show::strangers::say;
use crate::show::{changes, unpacking};
use crate::{restart, unpacker};

use self::store::{Ending, Held};

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
    // Whoever wrote it, or answers: root ends nothing, and removes nothing, because another user says so.
    let run = run.filter(|_| !writer.is_some_and(mistrusts));
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
    let held = match (stranger, &stays) {
        (Some(user), _) => Held::Stranger { user, runs: peer.is_some() },
        (None, Some(_)) => Held::Daemon,
        (None, None) => Held::Nobody,
    };
    let run_here = run.as_ref().filter(|run| run.store == store);
    let ending = Ending { config, flags, store, run: run_here, held, carried };
    ending.settle(&mut failures);
    let meter = status.as_ref().map(|status| status.meter.clone()).unwrap_or_default();
    let speeds = speed::remembered(&ending.store, &meter);
    if let Some(status) = &status
        && let Some(key) = missed(status)
    {
        github::warning(&format!(
            "the job began with {key}, and nothing that it pulled was there: its images are not those that earlier jobs under this \
             key have saved. Give jobs with other images another key"
        ));
    }
    github::output("store", &ending.store.display().to_string());
    if let Some(status) = status {
        github::output("hits", &log.hits().to_string());
        let (forgotten, pulls) = (log.forgotten, pulls::pulls(log, &pulled));
        let report = Report { meter: status.meter, pulls, forgotten, speeds, unpacking };
        failures.note("there is no summary", tell(&report, flags, began));
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
        say!("\n{}", lines.trim_end());
    }
    Ok(())
}
