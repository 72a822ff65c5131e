//! A node of a cluster: a container, its networks, and its files.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::docker;
use super::tool::Cluster;
use crate::error::Error;

/// The exit code by which a script says that there is no such file.
const NO_FILE: i32 = 44;
/// Prints a file.
const READ: &str = "[ -e \"$1\" ] || exit 44; cat \"$1\"";
/// Replaces a file by what comes on standard input, which is so long, in one step. Its owner and mode stay. One that is
/// mounted can only be written into.
const WRITE: &str = "set -e; mkdir -p \"$(dirname \"$1\")\"; file=$(readlink -f \"$1\"); new=$file.hubcap-new; umask 022; \
     rm -f \"$new\"; if [ -e \"$file\" ]; then cp -p \"$file\" \"$new\"; fi; cat >\"$new\"; \
     if [ \"$(wc -c <\"$new\")\" -ne \"$2\" ]; then rm -f \"$new\"; echo broken off >&2; exit 1; fi; \
     mv -f \"$new\" \"$file\" 2>/dev/null || { cat \"$new\" >\"$file\"; rm -f \"$new\"; }";
/// Removes a file.
const REMOVE: &str = "rm -f \"$1\" \"$1.hubcap-new\"";
/// Prints the directories above a file that are not there, the innermost first.
const MISSING: &str =
    "dir=$(dirname \"$1\"); while [ ! -e \"$dir\" ]; do echo \"$dir\"; dir=$(dirname \"$dir\"); done";
/// Removes directories that are empty.
const REMOVE_EMPTY: &str = "for dir; do rmdir \"$dir\" 2>/dev/null || true; done";

/// A node that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The container's number, which no other one ever has.
    pub(super) id: String,
    /// Its name, for example kind-control-plane.
    pub name: String,
    /// This machine's address in each of its networks.
    pub gateways: Vec<Ipv4Addr>,
}

/// A container, as `docker inspect` tells of it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    id: String,
    name: String,
    config: Config,
    network_settings: NetworkSettings,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NetworkSettings {
    networks: Option<BTreeMap<String, Network>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Network {
    gateway: String,
}

impl Node {
    /// The nodes of a tool's clusters that run.
    ///
    /// # Errors
    /// [`Error::Client`] when Docker's client is not there, or fails.
    pub fn all(cluster: Cluster) -> Result<Vec<Self>, Error> {
        let ids = ids(cluster, &[])?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let words: Vec<&str> = ["inspect"].into_iter().chain(ids.iter().map(String::as_str)).collect();
        parse(cluster, &docker::tell(&words)?)
    }

    /// The containers of a tool's clusters, also those that are stopped.
    pub(super) fn ids_of_all(cluster: Cluster) -> Result<Vec<String>, Error> {
        ids(cluster, &["--all"])
    }

    /// What a command in the node prints; the error is what it says.
    pub(super) fn tell(&self, command: &[&str]) -> Result<String, String> {
        let words: Vec<&str> = ["exec", &self.id].into_iter().chain(command.iter().copied()).collect();
        docker::run(&words, None).map_err(|error| error.to_string()).and_then(|output| docker::text(&output))
    }

    /// A file's text; `None` when there is no such file.
    pub(super) fn read(&self, path: &Path) -> Result<Option<String>, Error> {
        self.script(READ, &[path], None)
    }

    /// Replaces a file in one step. `None` removes it.
    pub(super) fn replace(&self, path: &Path, text: Option<&str>) -> Result<(), Error> {
        match text {
            Some(text) => {
                let length = PathBuf::from(text.len().to_string());
                self.script(WRITE, &[path, &length], Some(text)).map(drop)
            }
            None => self.script(REMOVE, &[path], None).map(drop),
        }
    }

    /// The directories above a file that are not there yet.
    pub(super) fn missing_directories(&self, path: &Path) -> Result<Vec<PathBuf>, Error> {
        let missing = self.script(MISSING, &[path], None)?.unwrap_or_default();
        Ok(missing.lines().map(PathBuf::from).collect())
    }

    /// Removes those of these directories that are empty, the innermost first.
    pub(super) fn remove_empty_directories(&self, mut made: Vec<PathBuf>) -> Result<(), Error> {
        made.sort_by_key(|dir| std::cmp::Reverse(dir.components().count()));
        made.dedup();
        let made: Vec<&Path> = made.iter().map(PathBuf::as_path).collect();
        if made.is_empty() { Ok(()) } else { self.script(REMOVE_EMPTY, &made, None).map(drop) }
    }

    /// Runs a script of the shell, of which the first argument is a file. `None` when it says that the file is not there.
    fn script(
        &self,
        script: &str,
        arguments: &[&Path],
        stdin: Option<&str>,
    ) -> Result<Option<String>, Error> {
        let mut words = vec!["exec", "--interactive", &self.id, "sh", "-c", script, "sh"];
        words.extend(arguments.iter().filter_map(|path| path.to_str()));
        let output = docker::run(&words, stdin.map(str::as_bytes))?;
        if output.status.code() == Some(NO_FILE) {
            return Ok(None);
        }
        docker::text(&output).map(Some).map_err(|why| {
            let path = arguments.first().unwrap_or(&Path::new("")).display();
            Error::Client(format!("{path} in the node {}: {why}", self.name))
        })
    }
}

fn ids(cluster: Cluster, more: &[&str]) -> Result<Vec<String>, Error> {
    let filter = format!("label={}", cluster.label());
    let words = [&["ps", "--quiet", "--no-trunc", "--filter", &filter], more].concat();
    Ok(docker::tell(&words)?.split_whitespace().map(str::to_owned).collect())
}

/// The nodes among the containers of `docker inspect`, by name.
fn parse(cluster: Cluster, told: &str) -> Result<Vec<Node>, Error> {
    let containers: Vec<Container> = serde_json::from_str(told)
        .map_err(|error| Error::Client(format!("docker inspect is not understood: {error}")))?;
    let is_node = |one: &Container| cluster.has_node(one.config.labels.as_ref().unwrap_or(&BTreeMap::new()));
    let nodes = containers.into_iter().filter(is_node).map(|one| {
        let networks = one.network_settings.networks.unwrap_or_default();
        Node {
            id: one.id,
            name: one.name.trim_start_matches('/').to_owned(),
            gateways: networks.values().filter_map(|network| network.gateway.parse().ok()).collect(),
        }
    });
    let mut nodes: Vec<Node> = nodes.collect();
    nodes.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(nodes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(name: &str, labels: &str) -> String {
        format!(
            r#"{{"Id":"id-{name}","Name":"/{name}","Config":{{"Labels":{labels}}},"NetworkSettings":{{"Networks":{{
            "none":{{"Gateway":""}},"kind":{{"Gateway":"172.18.0.1","IPAddress":"172.18.0.2"}}}}}}}}"#
        )
    }

    #[test]
    fn load_balancers_and_registries_are_no_nodes() {
        for (cluster, label, [node, other]) in [
            (Cluster::Kind, "io.x-k8s.kind.role", ["worker", "external-load-balancer"]),
            (Cluster::Kind, "io.x-k8s.kind.role", ["control-plane", "external-etcd"]),
            (Cluster::K3d, "k3d.role", ["server", "loadbalancer"]),
            (Cluster::K3d, "k3d.role", ["agent", "registry"]),
        ] {
            let [one, two] = [node, other].map(|role| container(role, &format!(r#"{{"{label}":"{role}"}}"#)));
            let nodes =
                parse(cluster, &format!("[{one},{two},{}]", container("bare", "null"))).expect("JSON");
            assert_eq!(nodes.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), [node]);
            assert_eq!(nodes[0].gateways, [Ipv4Addr::new(172, 18, 0, 1)]);
        }
    }
}
