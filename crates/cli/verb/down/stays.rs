//! Why the daemon is not stopped: something still needs it.

use hubcap_clients::{Docker, reachable};

use crate::daemon::holders::{self, Holders, Who};
use crate::daemon::run::Run;

/// The reason, and what ends it; `None` when nothing needs the daemon. `run` is the daemon's, if one runs.
pub(super) fn why(docker: &Docker, run: Option<&Run>, holders: &Holders) -> Option<String> {
    let run = run?;
    let all = holders.all();
    if !all.is_empty() {
        return Some(format!("{} still needs it{}", holders::sentence(&all), how_setups_end(&all)));
    }
    if run.service {
        return Some("systemd runs it, and `systemctl stop` ends it".into());
    }
    let proxy = reachable(run.proxy_listen?).to_string();
    let docker = docker.find().ok()?;
    (docker.proxy() == Some(&proxy)).then(|| {
        format!(
            "dockerd sends its pulls through the proxy {proxy} until it is restarted, and without hubcap they would fail. \
             Restart dockerd ({}), then run `hubcap down` again, or run it with --restart",
            docker.restart_command()
        )
    })
}

/// ` (hubcap unset docker ends that)`, where setups are among them.
fn how_setups_end(holders: &[&Who]) -> String {
    let unsets: Vec<String> = holders
        .iter()
        .filter_map(|who| match who {
            Who::Setup(client) => Some(format!("`hubcap unset {client}`")),
            _ => None,
        })
        .collect();
    if unsets.is_empty() { String::new() } else { format!(" ({} ends that)", unsets.join(", ")) }
}
