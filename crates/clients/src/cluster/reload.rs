//! The dockerd in a node: its `daemon.json`, which it reads when it is told to.

use std::time::{Duration, Instant};

use super::node::Node;
use crate::change::Change;
use crate::error::Error;
use crate::format::daemon_json::{DaemonJson, is_same};

/// How long dockerd may take to read its file again.
const RELOAD: Duration = Duration::from_secs(10);

/// Changes the file, has dockerd read it, and waits until it has the mirrors that are in it.
///
/// # Errors
/// [`Error::Client`] when dockerd does not take it, as one that was started with `--registry-mirror`.
pub(super) fn daemon_json(node: &Node, change: &Change) -> Result<(), Error> {
    let wanted = DaemonJson::parse(&change.path, change.wanted.as_deref())?;
    let mirrors = wanted.mirrors(&change.path)?;
    let mut told = Ok(());
    if mirrors.is_none() {
        // Without the key dockerd keeps the mirrors that it has.
        node.replace(&change.path, Some(&wanted.with_mirrors(Some(&[])).to_string()))?;
        told = reload(node, &[]);
    }
    // The file is changed whatever dockerd does: it is what dockerd reads at its next start.
    node.replace(&change.path, change.wanted.as_deref())?;
    told.and_then(|()| reload(node, &mirrors.unwrap_or_default()))
}

fn reload(node: &Node, mirrors: &[String]) -> Result<(), Error> {
    let not_taken = |why: String| {
        Error::Client(format!(
            "dockerd in the node {} does not take daemon.json ({why}). If the cluster was made with --registry-mirror, make it \
             without",
            node.name
        ))
    };
    node.tell(&["systemctl", "reload", "docker"]).map_err(not_taken)?;
    let end = Instant::now() + RELOAD;
    loop {
        let told = node.tell(&["docker", "info", "--format", "{{json .RegistryConfig.Mirrors}}"]);
        let now = told.and_then(|told| {
            serde_json::from_str::<Option<Vec<String>>>(&told).map_err(|error| error.to_string())
        });
        let why = match now.map(Option::unwrap_or_default) {
            Ok(now) if now.len() == mirrors.len() && now.iter().zip(mirrors).all(|(a, b)| is_same(a, b)) => {
                return Ok(());
            }
            Ok(now) => format!("its mirrors are {now:?}"),
            Err(why) => why,
        };
        if Instant::now() > end {
            return Err(not_taken(why));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
