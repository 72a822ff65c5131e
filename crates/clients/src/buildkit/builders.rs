//! buildx's builders, each with the configuration that it was made with (buildx, `store/nodegroup.go`).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::find::buildx;
use crate::file;

/// A builder that buildx knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Builder {
    /// Its name.
    pub name: String,
    driver: String,
    /// Whether its container is in the host's network.
    pub host_network: bool,
    /// Its `buildkitd.toml`; empty when it has none.
    pub config: String,
}

impl Builder {
    /// Whether it has a BuildKit of its own; the driver `docker` has dockerd's.
    pub fn has_own_buildkit(&self) -> bool {
        self.driver != "docker"
    }

    /// Whether its BuildKit is in a container of a dockerd.
    pub(super) fn is_in_container(&self) -> bool {
        self.driver == "docker-container"
    }

    #[cfg(test)]
    pub(super) fn of(text: impl AsRef<str>) -> Self {
        parse(text.as_ref().as_bytes()).expect("a builder")
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Instance {
    name: String,
    driver: String,
    nodes: Vec<Node>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Node {
    driver_opts: Option<BTreeMap<String, String>>,
    /// By name, in base64.
    files: Option<BTreeMap<String, String>>,
}

/// All of them. What cannot be read is passed over: it is buildx's own matter.
pub fn builders() -> Vec<Builder> {
    let Ok(dir) = buildx() else { return Vec::new() };
    let entries = std::fs::read_dir(dir.join("instances")).into_iter().flatten().flatten();
    let mut found: Vec<Builder> =
        entries.filter_map(|entry| parse(&file::regular(&entry.path()).ok()?)).collect();
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found
}

fn parse(bytes: &[u8]) -> Option<Builder> {
    let Instance { name, driver, nodes } = serde_json::from_slice(bytes).ok()?;
    let option = |node: &Node| node.driver_opts.as_ref().and_then(|options| options.get("network").cloned());
    let host_network = !nodes.is_empty() && nodes.iter().all(|node| option(node).as_deref() == Some("host"));
    let files = nodes.iter().filter_map(|node| node.files.as_ref()?.get("buildkitd.toml"));
    let texts = files.filter_map(|file| String::from_utf8(STANDARD.decode(file).ok()?).ok());
    Some(Builder { name, driver, host_network, config: texts.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_builder_tells_its_network_and_its_configuration() {
        let text = format!(
            r#"{{"Name":"ci","Driver":"docker-container","Nodes":[{{"Name":"ci0","Endpoint":"unix:///var/run/docker.sock",
            "DriverOpts":{{"network":"host"}},"Files":{{"buildkitd.toml":"{}"}}}}],"Dynamic":false}}"#,
            STANDARD.encode("debug = true\n")
        );
        let builder = parse(text.as_bytes()).expect("a builder");
        assert!(builder.host_network && builder.has_own_buildkit());
        assert_eq!(builder.config, "debug = true\n");
        let plain = parse(br#"{"Name":"a","Driver":"docker","Nodes":[{"DriverOpts":null,"Files":null}]}"#)
            .expect("a builder");
        assert!(!plain.host_network && !plain.has_own_buildkit() && plain.config.is_empty());
        assert_eq!(parse(b"{"), None);
    }
}
