//! containerd that unpacks with hubcap's differ, from `up` to `down` or from `setup` to `unset`: the one place for all of them, and
//! for what `doctor` says.
//!
//! While containerd asks the differ, somebody must listen: without that every pull fails. So the differ comes first and goes last.
//! What containerd reads of it after `up` is gone after a reboot, as the differ is; after `setup` systemd listens again by then.
//!
//! - [`process`]: the differ, as a process of root's. [`machine`]: the differ as a service of systemd's.

pub(crate) mod machine;
pub(crate) mod process;

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail};
use hubcap_clients::{Change, DifferService, Docker, Dockerd, Journal, Lasting, Planned, Restart, Unpacker};

use crate::daemon::holders::{self, Holders};
use crate::proof;
use crate::settings::Config;
use crate::show::changes;
use crate::show::strangers::say;

/// What its journal and its holders call it.
pub(crate) const NAME: &str = "unpack";
/// How long dockerd may take to find a restarted containerd, and a layer of an earlier proof to be gone.
const PROOF: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(200);

/// Whether containerd was given the differ, and can ask it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It asks the differ.
    Wired,
    /// It asks the differ, and nobody listens: every pull fails.
    Dead,
    /// It was, before the last boot.
    Past,
}

/// What would be changed.
///
/// # Errors
/// The reason why containerd cannot be given the differ.
pub(crate) fn plan(config: &Config, docker: &Docker) -> anyhow::Result<Vec<Change>> {
    let journal = Journal::open(&config.state, NAME)?;
    if DifferService::of(&journal)?.is_some() {
        return Ok(Vec::new());
    }
    let plan = docker.find()?.unpacker()?.plan(&journal, Lasting::UntilReboot)?;
    Ok(plan.into_iter().map(|planned| planned.change).collect())
}

/// Starts the differ, has dockerd's containerd ask it, and proves that with a pull. Where that fails, everything is as it was.
///
/// # Errors
/// The reason why containerd goes on to unpack by itself.
pub(crate) fn wire(config: &Config, docker: &Docker, command: Option<&str>) -> anyhow::Result<()> {
    let dockerd = docker.find()?;
    let containerd = dockerd.unpacker()?;
    let mut journal = Journal::open(&config.state, NAME)?;
    if journal.is_empty() && process::is_held() {
        bail!("another hubcap's differ listens on {}", hubcap_clients::DIFFER_SOCKET);
    }
    if let Some(service) = DifferService::of(&journal)? {
        say!("`hubcap setup containerd --unpack` has given containerd the differ");
        let since = SystemTime::now();
        return prove_by_pull(&dockerd, || machine::applied(&service, since));
    }
    let applied = || process::applied(&config.state);
    let plan = containerd.plan(&journal, Lasting::UntilReboot)?;
    let restart = containerd.how_to_restart(command)?;
    process::ensure(&config.state)?;
    if plan.iter().all(|planned| planned.change.is_empty()) && prove_by_pull(&dockerd, applied).is_ok() {
        say!("containerd unpacks with hubcap's differ already");
        return Ok(());
    }
    // dockerd may need some time to find containerd again.
    let prove = || within(|| prove_by_pull(&docker.find()?, applied));
    let Err(why) = wired(&mut journal, (&containerd, &restart), &plan, prove) else { return Ok(()) };
    let undone = unwire(config, command).and_then(|()| process::end());
    Err(match undone {
        Ok(()) => why.context("everything is as it was, after"),
        Err(undone) => why.context(format!("and it could not be undone ({undone:#})")),
    })
}

/// Has a containerd ask the differ, which listens already, and proves it.
fn wired(
    journal: &mut Journal,
    (containerd, restart): (&Unpacker, &Restart),
    plan: &[Planned],
    prove: impl Fn() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    journal.set_host(containerd.socket().display().to_string());
    journal.apply(plan)?;
    changes::print_done(plan.iter().map(|planned| &planned.change));
    containerd.restart(restart)?;
    say!("containerd is restarted");
    prove()
}

/// Has containerd unpack by itself again, and ends the differ; nothing to do is no error.
///
/// # Errors
/// When a file cannot be restored, or containerd cannot be restarted. Then the differ goes on.
pub(crate) fn unwire(config: &Config, command: Option<&str>) -> anyhow::Result<()> {
    let mut journal = Journal::open(&config.state, NAME)?;
    if journal.is_empty() {
        return Ok(());
    }
    let service = DifferService::of(&journal)?;
    // A service goes on after a reboot, and one that has no part of containerd's any more has a restart that failed behind it.
    let is_past = service.is_none() && state(&journal) == Some(State::Past);
    let containerd = match journal.host() {
        // It has been started since, without hubcap's file.
        Some(socket) if !is_past => Unpacker::find(Path::new(socket))?,
        _ => None,
    };
    let restart = containerd.as_ref().map(|it| it.how_to_restart(command)).transpose()?;
    let mut changes = journal.plan_undo()?;
    changes.retain(|change| !DifferService::is_unit(&change.path));
    journal.undo(&changes)?;
    changes::print_done(&changes);
    if let (Some(containerd), Some(restart)) = (&containerd, &restart) {
        containerd.restart(restart).context(
            "containerd's files are as they were, and hubcap's differ goes on, which containerd may still ask",
        )?;
        say!("containerd is restarted, and unpacks by itself");
    }
    match service {
        Some(service) => remove_service(&mut journal, &service),
        None => process::end(),
    }
}

/// Ends the service, which containerd does not ask, and removes its units.
fn remove_service(journal: &mut Journal, service: &DifferService) -> anyhow::Result<()> {
    service.stop()?;
    let changes = journal.plan_undo()?;
    journal.undo(&changes)?;
    changes::print_done(&changes);
    DifferService::forgotten()?;
    // The directory of its socket is left.
    process::end()
}

/// Where nobody listens any more and every pull fails: has systemd listen again, or does as [`unwire`], whoever needs the differ.
pub(crate) fn mend(config: &Config, command: Option<&str>) -> anyhow::Result<()> {
    let journal = Journal::open(&config.state, NAME)?;
    match (state(&journal), DifferService::of(&journal)?) {
        (Some(State::Dead), Some(service)) => Ok(service.start()?),
        (Some(State::Dead), None) => unwire(config, command),
        _ => Ok(()),
    }
}

/// As [`unwire`], unless a holder needs the differ.
pub(crate) fn unwire_unless_held(
    config: &Config,
    holders: &Holders,
    command: Option<&str>,
) -> anyhow::Result<()> {
    let needing = holders.of_client(NAME);
    if needing.is_empty() {
        return unwire(config, command);
    }
    say!("containerd goes on to unpack with hubcap's differ: {} still needs it", holders::sentence(&needing));
    Ok(())
}

/// What has become of it; `None` where containerd was not given the differ.
pub(crate) fn state(journal: &Journal) -> Option<State> {
    let is_there = |path: &Path| Lasting::of_drop_in(path).is_some() && path.exists();
    match (journal.is_empty(), journal.paths().any(is_there), process::is_held()) {
        (true, ..) => None,
        (_, _, true) => Some(State::Wired),
        (_, true, false) => Some(State::Dead),
        (_, false, false) => Some(State::Past),
    }
}

/// Whether containerd unpacks with the differ now.
pub(crate) fn is_wired(config: &Config) -> bool {
    Journal::open(&config.state, NAME).is_ok_and(|journal| state(&journal) == Some(State::Wired))
}

/// Proves until it succeeds, for some time.
fn within(prove: impl Fn() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let end = Instant::now() + PROOF;
    loop {
        match prove() {
            Err(_) if Instant::now() < end => std::thread::sleep(PAUSE),
            proved => return proved,
        }
    }
}

/// Has dockerd pull, and looks whether the differ was asked. `applied` is how many layers that has applied.
fn prove_by_pull(dockerd: &Dockerd, applied: impl Fn() -> usize) -> anyhow::Result<()> {
    match asks_differ(applied, || proof::pull(dockerd))? {
        true => Ok(()),
        false => bail!("dockerd pulls, and its containerd does not ask the differ"),
    }
}

/// Whether the differ has applied a layer of what is unpacked.
fn asks_differ(
    applied: impl Fn() -> usize,
    unpack: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<bool> {
    let before = applied();
    unpack()?;
    Ok(applied() != before)
}
