//! The nodes of kind, k3d and minikube: each is told of the address that hubcap has in the node's own network.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::bail;
use hubcap_clients::{Cluster, Mirror, Node, NodePlan, Nodes, Registries};

use crate::args::UnsetFlags;
use crate::clients::refuse_another;
use crate::daemon::address;
use crate::daemon::find::Found;
use crate::daemon::holders::{Holders, Who};
use crate::settings::Config;
use crate::show::changes;
use crate::show::strangers::say;

/// Configures the nodes that run. `mirror` is hubcap on this machine.
pub(crate) fn configure(
    found: &Found,
    cluster: Cluster,
    (mirror, registries): (&Mirror, &Registries),
    unchecked: bool,
) -> anyhow::Result<ExitCode> {
    let reached = reached(found, cluster, mirror)?;
    let addresses: BTreeSet<SocketAddr> = reached.iter().map(|(_, mirror)| mirror.address).collect();
    let mut ca = mirror.ca.clone();
    for address in addresses {
        ca = address::verified(found, Mirror { address, ca }, unchecked)?.ca;
    }
    let state = &found.config.state;
    let mut holders = Holders::open_to_hold(state)?;
    let mut nodes = Nodes::open(state, cluster)?;
    let mut plans = Vec::new();
    for (node, mirror) in reached {
        let mirror = Mirror { ca: ca.clone(), ..mirror };
        let plan = nodes.plan(node, &mirror, registries)?;
        refuse_another(nodes.another(&plan, &mirror))?;
        plans.push(plan);
    }
    nodes.apply(&plans)?;
    holders.hold(&Who::Setup(cluster.name().into()), Some(cluster.name()))?;
    plans.iter().map(NodePlan::changes).for_each(|in_node| changes::print_done_in(&in_node));
    say!(
        "{} of {} now ask hubcap first; run this again when nodes are added",
        nodes_in_words(plans.len()),
        cluster.name()
    );
    Ok(ExitCode::SUCCESS)
}

/// Prints what configuring the nodes would change.
pub(crate) fn print(
    found: &Found,
    cluster: Cluster,
    (mirror, registries): (&Mirror, &Registries),
) -> anyhow::Result<ExitCode> {
    let nodes = Nodes::open(&found.config.state, cluster)?;
    for (node, mirror) in reached(found, cluster, mirror)? {
        changes::print_diff_in(&nodes.plan(node, &mirror, registries)?.changes());
    }
    Ok(ExitCode::SUCCESS)
}

/// Restores the nodes' files, or prints what that would change.
pub(crate) fn unset(config: &Config, flags: &UnsetFlags, cluster: Cluster) -> anyhow::Result<ExitCode> {
    let mut nodes = Nodes::open(&config.state, cluster)?;
    if nodes.is_empty() {
        say!("{} is not set up from {}: nothing to do", cluster.name(), config.state.display());
        return Ok(ExitCode::SUCCESS);
    }
    if flags.print {
        nodes.plan_undo()?.iter().for_each(changes::print_diff_in);
        return Ok(ExitCode::SUCCESS);
    }
    let mut holders = Holders::open(&config.state)?;
    let restored = nodes.undo()?;
    holders.release(&Who::Setup(cluster.name().into()));
    holders.save()?;
    restored.iter().for_each(changes::print_done_in);
    say!("the files in the nodes of {} are as they were", cluster.name());
    Ok(ExitCode::SUCCESS)
}

/// The nodes that run, each with hubcap as the node reaches it.
///
/// # Errors
/// When there is no node, or hubcap does not listen on the network of one.
fn reached(found: &Found, cluster: Cluster, mirror: &Mirror) -> anyhow::Result<Vec<(Node, Mirror)>> {
    let nodes = Node::all(cluster)?;
    if nodes.is_empty() {
        bail!(
            "no node of {} runs in the dockerd that `docker ps` asks: `{}` first",
            cluster.name(),
            cluster.create()
        );
    }
    let mut reached = Vec::new();
    for node in nodes {
        let on = node.gateways.iter().find_map(|gateway| address::bridge(found, Some(*gateway), &mirror.ca));
        match on {
            Some(mirror) => reached.push((node, mirror)),
            None => bail!("{}", not_listening(found, &node, mirror)),
        }
    }
    Ok(reached)
}

fn not_listening(found: &Found, node: &Node, mirror: &Mirror) -> String {
    let Some(gateway) = node.gateways.first() else {
        return format!("the node {} has no network with a gateway, so it does not reach hubcap", node.name);
    };
    let listen = format!("--bridge-listen {gateway}:{}", mirror.address.port());
    let others = found.status.as_ref().map(|status| status.daemon.bridges.as_slice()).unwrap_or_default();
    let others: String = others.iter().map(|other| format!(" --bridge-listen {other}")).collect();
    format!(
        "hubcap does not listen on {gateway}, where the node {} reaches this machine: start hubcap with {listen}{others}",
        node.name
    )
}

fn nodes_in_words(count: usize) -> String {
    if count == 1 { "the node".to_owned() } else { format!("the {count} nodes") }
}
