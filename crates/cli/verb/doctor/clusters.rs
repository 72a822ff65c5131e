//! The nodes of kind, k3d and minikube. Nothing is said where there are none.

use hubcap_clients::{Cluster, Mirror, Node, Nodes};

use super::finding::{Finding, State};
use super::subject::Subject;
use crate::daemon::address;

pub(super) fn look(subject: &Subject) -> Vec<Finding> {
    Cluster::ALL.into_iter().flat_map(|cluster| one(subject, cluster)).collect()
}

fn one(subject: &Subject, cluster: Cluster) -> Vec<Finding> {
    let about = cluster.name();
    let known = match Nodes::open(&subject.found.config.state, cluster) {
        Ok(known) => known,
        Err(error) => return vec![Finding::new(State::Broken, about, error.to_string())],
    };
    let nodes = match Node::all(cluster) {
        Ok(nodes) => nodes,
        // Without a dockerd there are no nodes.
        Err(_) if known.is_empty() => return Vec::new(),
        Err(error) => return vec![Finding::new(State::Note, about, error.to_string())],
    };
    let mut found = Vec::new();
    for node in nodes {
        let name = &node.name;
        let setup = || subject.command(&format!("setup {about}"));
        found.push(match asks(subject, &known, &node) {
            Ok(None) => Finding::new(State::Past, about, format!("pulls of the node {name}")).remedy(setup()),
            Ok(Some(true)) if subject.answers.is_ok() => {
                Finding::new(State::Through, about, format!("pulls of the node {name}"))
            }
            // The daemon's own finding says that.
            Ok(Some(true)) => continue,
            Ok(Some(false)) => {
                let says = format!("the files in the node {name} do not name hubcap as it runs now");
                Finding::new(State::Broken, about, says).remedy(setup())
            }
            Err(error) => Finding::new(State::Broken, about, error.to_string()),
        });
    }
    found
}

/// Whether a node asks hubcap where it listens on the node's network; `None` for a node that was never configured.
fn asks(subject: &Subject, known: &Nodes, node: &Node) -> Result<Option<bool>, hubcap_clients::Error> {
    let on = |mirror: &Mirror| {
        node.gateways.iter().find_map(|gateway| address::bridge(&subject.found, Some(*gateway), &mirror.ca))
    };
    match subject.mirror.as_ref().and_then(on) {
        Some(mirror) => known.asks(node, &mirror),
        None => Ok(known.has(node).then_some(false)),
    }
}
