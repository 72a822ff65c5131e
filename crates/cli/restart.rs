//! dockerd restarted, where that is needed and `--restart` or `--restart-command` says so. The one place for `setup`, `unset`,
//! `up` and `down`.

use hubcap_clients::{Client as _, Docker, Dockerd, Journal, Proxy, Restart};

use crate::args::{DockerFlags, RestartFlags};
use crate::clients::print_restored;
use crate::settings::Config;
use crate::show::changes;
use crate::show::strangers::say;

/// How dockerd will be restarted, known before anything is changed; `None` where that is not needed or not wanted.
///
/// # Errors
/// When it is wanted, and how is not known.
pub(crate) fn plan(
    docker: &Dockerd,
    flags: &RestartFlags,
    is_needed: bool,
) -> anyhow::Result<Option<Restart>> {
    if !flags.is_wanted() || docker.version().is_err() {
        return Ok(None);
    }
    if !is_needed {
        say!("dockerd needs no restart");
        return Ok(None);
    }
    let restart = docker.how_to_restart(flags.restart_command.as_deref())?;
    if let Some(count) = docker.stops_at_restart() {
        say!("{count} containers stop when dockerd restarts: it has no live-restore");
    }
    Ok(Some(restart))
}

/// Says that dockerd has to be restarted, and how.
pub(crate) fn print_how(docker: &Dockerd) {
    if docker.version().is_ok() {
        say!("to have it take effect: {} (or --restart does it here)", docker.restart_command());
    }
}

/// Restores dockerd's files, and restarts it where it would go on to use hubcap's proxy, or an image store that hubcap has asked
/// for; nothing to do is no error.
///
/// # Errors
/// When a file cannot be restored, or dockerd does not come back. Then its files are restored.
pub(crate) fn restore_dockerd(
    config: &Config,
    docker: &DockerFlags,
    flags: &RestartFlags,
) -> anyhow::Result<()> {
    let mut journal = Journal::open(&config.state, Docker::NAME)?;
    if journal.is_empty() {
        return Ok(());
    }
    let client = docker.client().or_host(journal.host());
    let proxy = Proxy::address(&journal);
    let found = client.find().ok();
    let uses_proxy = |docker: &&Dockerd| proxy.is_some() && docker.proxy() == proxy.as_deref();
    let was_switched = found.as_ref().is_some_and(|docker| docker.was_switched(&journal));
    let is_needed = |docker: &Dockerd| uses_proxy(&docker) || was_switched || !docker.can_reload();
    let restart = match &found {
        Some(docker) => plan(docker, flags, is_needed(docker))?,
        None => None,
    };
    let undone = client.undo(&mut journal);
    match (&found, &restart) {
        (Some(docker), Some(restart)) => {
            docker.restart(restart, &journal)?;
            say!("dockerd is restarted");
            match undone {
                Ok(changes) => changes::print_done(&changes),
                // What dockerd could not be told of, it has read now.
                Err(_) if journal.is_empty() => {}
                Err(error) => return Err(error.into()),
            }
        }
        _ => changes::print_done(&undone?),
    }
    if let Some(docker) = found.as_ref().filter(|_| restart.is_none()) {
        if uses_proxy(&docker) {
            say!("dockerd still uses hubcap's proxy, until it is restarted");
        }
        if was_switched {
            say!("dockerd still has containerd's image store, until it is restarted");
        }
        if uses_proxy(&docker) || was_switched {
            print_how(docker);
        }
    }
    print_restored(&client);
    Ok(())
}
