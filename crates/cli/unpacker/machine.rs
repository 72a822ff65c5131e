//! `setup containerd --unpack`: the machine's containerd unpacks with the differ, also after a reboot, until `unset`.

use std::time::SystemTime;

use anyhow::{Context as _, bail};
use hubcap_clients::{Change, DIFFER_SOCKET, DifferService, Journal, Lasting, Unpacker, is_installed};

use super::{NAME, State, asks_differ, process, remove_service, state, unwire, wired, within};
use crate::settings::Config;
use crate::show::changes;
use crate::show::strangers::say;

/// What would be changed.
///
/// # Errors
/// The reason why containerd cannot be given the differ.
pub(crate) fn plan(config: &Config) -> anyhow::Result<Vec<Change>> {
    let service = DifferService::new(&process::program()?)?;
    let journal = Journal::open(&config.state, NAME)?;
    let mut plan = service.plan(&journal)?;
    plan.extend(Unpacker::of_machine()?.plan(&journal, Lasting::AcrossReboots)?);
    Ok(plan.into_iter().map(|planned| planned.change).collect())
}

/// Has systemd hold the socket, has the machine's containerd ask the differ, and proves that with an image. Where that fails,
/// everything is as it was. Returns whether it was not so before.
///
/// # Errors
/// The reason why containerd goes on to unpack by itself.
pub(crate) fn wire(config: &Config, command: Option<&str>) -> anyhow::Result<bool> {
    let service = DifferService::new(&process::program()?)?;
    let containerd = Unpacker::of_machine()?;
    let mut journal = Journal::open(&config.state, NAME)?;
    let was_there = DifferService::of(&journal)?.is_some();
    match state(&journal) {
        None if process::is_held() => bail!("another hubcap's differ listens on {DIFFER_SOCKET}"),
        Some(State::Past) if !was_there => {
            unwire(config, command)?;
            journal = Journal::open(&config.state, NAME)?;
        }
        Some(_) if !was_there => {
            bail!("`hubcap up --unpack` has given containerd the differ; end that first: `hubcap down`")
        }
        _ => {}
    }
    let units = service.plan(&journal)?;
    let plan = containerd.plan(&journal, Lasting::AcrossReboots)?;
    let restart = containerd.how_to_restart(command)?;
    let has_changes = units.iter().chain(&plan).any(|planned| !planned.change.is_empty());
    if !has_changes && process::is_held() && service.is_enabled() && prove_once(&service, &containerd).is_ok()
    {
        say!("containerd unpacks with hubcap's differ already");
        return Ok(false);
    }
    let started = journal.apply(&units).map_err(anyhow::Error::from).and_then(|_| {
        changes::print_done(units.iter().map(|planned| &planned.change));
        service.start()?;
        if !process::is_held() {
            bail!("systemd does not listen on {DIFFER_SOCKET}");
        }
        Ok(())
    });
    let done = started.and_then(|()| {
        wired(&mut journal, (&containerd, &restart), &plan, || within(|| prove_once(&service, &containerd)))
    });
    let Err(why) = done else {
        say!(
            "systemd runs {} for it. Put a new hubcap in its place, then systemctl restart hubcap-differ.service",
            service.program().display()
        );
        return Ok(!was_there);
    };
    let has_touched = journal.paths().any(|path| Lasting::of_drop_in(path).is_some());
    let undone = match has_touched {
        true => unwire(config, command),
        // containerd has not been touched.
        false => remove_service(&mut journal, &service),
    };
    Err(match undone {
        Ok(()) => why.context("containerd unpacks by itself, and everything is as it was, after"),
        Err(undone) => why.context(format!("and it could not be undone ({undone:#})")),
    })
}

/// How many layers the service has applied since then.
pub(super) fn applied(service: &DifferService, since: SystemTime) -> usize {
    process::applied_by(&service.log(since))
}

/// Has containerd unpack an image until the differ was asked. Without `ctr` there is no such image.
fn prove_once(service: &DifferService, containerd: &Unpacker) -> anyhow::Result<()> {
    if !is_installed("ctr") {
        say!("not proved with an image: ctr, which comes with containerd, is not installed");
        return Ok(());
    }
    let since = SystemTime::now();
    let mark = since.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let unpack = || containerd.unpack_image(&mark.to_string()).context("containerd does not unpack");
    if !asks_differ(|| applied(service, since), unpack)? {
        bail!("containerd unpacks, and does not ask the differ");
    }
    say!("containerd unpacks with hubcap's differ: proved with an image");
    Ok(())
}
