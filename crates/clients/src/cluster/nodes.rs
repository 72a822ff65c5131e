//! What hubcap has changed in the nodes of a tool's clusters. As the journal of a client of this machine, it is written
//! before the first file is, so that the files can be restored to the byte after a crash at any moment.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::node::Node;
use super::reload;
use super::runtime::Runtime;
use super::tool::Cluster;
use crate::another::Another;
use crate::change::{Change, Planned};
use crate::error::Error;
use crate::file_kind::FileKind;
use crate::journal::{FileRecord, disk, file_state};
use crate::mirror::{Mirror, Registries};

/// The nodes that hubcap has changed.
#[derive(Debug)]
pub struct Nodes {
    cluster: Cluster,
    path: PathBuf,
    contents: Contents,
}

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
struct Contents {
    nodes: Vec<NodeRecord>,
}

/// The files of one node.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct NodeRecord {
    id: String,
    name: String,
    files: Vec<FileRecord>,
}

/// What configuring one node changes.
#[derive(Debug)]
pub struct NodePlan {
    node: Node,
    planned: Vec<Planned>,
}

/// Changes of one node's files.
#[derive(Debug)]
pub struct InNode {
    /// The node's name.
    pub node: String,
    /// The changes.
    pub changes: Vec<Change>,
}

impl NodePlan {
    /// What it changes.
    pub fn changes(&self) -> InNode {
        let changes = self.planned.iter().map(|planned| planned.change.clone()).collect();
        InNode { node: self.node.name.clone(), changes }
    }
}

impl Nodes {
    /// Reads what is known, `STATE/wiring/CLUSTER.json`. No such file is nothing.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::NotUnderstood`] when it is damaged.
    pub fn open(state: &Path, cluster: Cluster) -> Result<Self, Error> {
        let path = disk::path(state, cluster.name());
        Ok(Self { cluster, contents: disk::read(&path)?, path })
    }

    /// Whether hubcap has changed no node.
    pub fn is_empty(&self) -> bool {
        self.contents.nodes.is_empty()
    }

    /// Why nothing of it is left in any node; `None` where something is, and where that is not known.
    pub fn ended(&self) -> Option<&'static str> {
        if self.is_empty() {
            return Some("its files are as they were");
        }
        let ids = Node::ids_of_all(self.cluster).ok()?;
        let is_there = |record: &NodeRecord| ids.contains(&record.id);
        (!self.contents.nodes.iter().any(is_there)).then_some("its nodes are gone")
    }

    /// What configuring a node would change. The node reaches the mirror by one of its gateways.
    ///
    /// # Errors
    /// [`Error::Client`] for a node that hubcap does not know how to configure, or cannot reach;
    /// [`Error::NotUnderstood`] for a file that cannot be merged with.
    pub fn plan(&self, node: Node, mirror: &Mirror, registries: &Registries) -> Result<NodePlan, Error> {
        let known = self.record(&node.id).map(|record| record.files.as_slice()).unwrap_or_default();
        let mut planned = Vec::new();
        for wanted in Runtime::of(&node, self.cluster)?.wanted(mirror, registries)? {
            let current = node.read(&wanted.path)?;
            let original = match known.iter().find(|record| record.path == wanted.path) {
                Some(record) => record.original(wanted.kind, current.clone())?,
                None => current.clone(),
            };
            let original = original.and_then(|text| wanted.kind.without_marked(text));
            let text = wanted.text(original.as_deref())?;
            let change = Change { path: wanted.path, current, wanted: text };
            planned.push(Planned { change, original, kind: wanted.kind });
        }
        Ok(NodePlan { node, planned })
    }

    /// Another hubcap that a plan would take a node away from.
    pub fn another(&self, plan: &NodePlan, mirror: &Mirror) -> Option<Another> {
        let is_new = self.record(&plan.node.id).is_none();
        let mut changes = plan.planned.iter().map(|planned| &planned.change).filter(|_| is_new);
        changes.find_map(|change| Another::in_file(change, mirror))
    }

    /// Configures the nodes.
    ///
    /// # Errors
    /// [`Error`]; all nodes are as they were before, an earlier `setup` with it.
    pub fn apply(&mut self, plans: &[NodePlan]) -> Result<(), Error> {
        let before = self.contents.clone();
        let mut made = Vec::new();
        for plan in plans {
            made.push(self.announce(plan)?);
        }
        self.write()?;
        let steps = plans.iter().flat_map(|plan| plan.planned.iter().map(|planned| (&plan.node, planned)));
        let mut done: Vec<(&Node, &Planned)> = Vec::new();
        for (node, planned) in steps {
            if let Err(error) = put(node, planned.kind, &planned.change) {
                // Whatever it has left; its own failure would be the same one.
                let _ = put(node, planned.kind, &back(&planned.change));
                for (node, planned) in done.into_iter().rev() {
                    let Planned { change, kind, .. } = planned;
                    put(node, *kind, &back(change))?;
                }
                for (plan, made) in plans.iter().zip(made) {
                    plan.node.remove_empty_directories(made)?;
                }
                self.contents = before;
                self.write()?;
                return Err(error);
            }
            done.push((node, planned));
        }
        plans.iter().for_each(|plan| self.settle(plan));
        self.write()
    }

    /// What restoring the nodes would change.
    ///
    /// # Errors
    /// [`Error`] of the first node whose files cannot be restored.
    pub fn plan_undo(&self) -> Result<Vec<InNode>, Error> {
        let nodes = Node::all(self.cluster)?;
        let running = |record: &NodeRecord| nodes.iter().find(|node| node.id == record.id).cloned();
        let there = self.contents.nodes.iter().filter_map(|record| Some((record, running(record)?)));
        there
            .map(|(record, node)| {
                let changes = record.undoing(&node)?.into_iter().map(|(_, change)| change).collect();
                Ok(InNode { node: node.name, changes })
            })
            .collect()
    }

    /// Restores the nodes' files to the byte, and returns what that changed. Nodes that are gone are forgotten.
    ///
    /// # Errors
    /// [`Error`] of the first node whose files cannot be restored; the others' are, and it can be tried again.
    pub fn undo(&mut self) -> Result<Vec<InNode>, Error> {
        let (ids, nodes) = (Node::ids_of_all(self.cluster)?, Node::all(self.cluster)?);
        let (mut done, mut failed) = (Vec::new(), None);
        let records = std::mem::take(&mut self.contents.nodes);
        for record in records.into_iter().filter(|record| ids.contains(&record.id)) {
            match record.undo(nodes.iter().find(|node| node.id == record.id)) {
                Ok(in_node) => done.push(in_node),
                Err(error) => {
                    self.contents.nodes.push(record);
                    failed = failed.or(Some(error));
                }
            }
        }
        self.write()?;
        failed.map_or(Ok(done), Err)
    }

    /// Whether hubcap has configured a node.
    pub fn has(&self, node: &Node) -> bool {
        self.record(&node.id).is_some()
    }

    /// Whether a node asks the mirror, as its files are now; `None` for one that was never configured.
    ///
    /// # Errors
    /// [`Error`] when a file cannot be read.
    pub fn asks(&self, node: &Node, mirror: &Mirror) -> Result<Option<bool>, Error> {
        let Some(record) = self.record(&node.id) else { return Ok(None) };
        let authority = mirror.ca.pem()?;
        let ca = record.files.iter().find(|file| file.kind == Some(FileKind::Certificate));
        let ca = ca.map_or_else(PathBuf::new, |file| file.path.clone());
        let in_node = Mirror { address: mirror.address, ca: mirror.ca.at(ca) };
        for file in &record.files {
            let now = node.read(&file.path)?;
            let kind = file.kind.unwrap_or(FileKind::HostsToml);
            if !file_state(file, kind, now.as_deref(), (&in_node, authority)).works() {
                return Ok(Some(false));
            }
        }
        Ok(Some(true))
    }

    fn record(&self, id: &str) -> Option<&NodeRecord> {
        self.contents.nodes.iter().find(|record| record.id == id)
    }

    /// Puts into the record what will be changed; the directories that are made for it.
    fn announce(&mut self, NodePlan { node, planned }: &NodePlan) -> Result<Vec<PathBuf>, Error> {
        let at = self.contents.nodes.iter().position(|record| record.id == node.id);
        let known = at.map(|at| self.contents.nodes.remove(at).files);
        let (mut files, mut new) = (known.unwrap_or_default(), Vec::new());
        for planned in planned {
            let at = files.iter().position(|record| record.path == planned.change.path);
            let known = at.map(|at| files.remove(at));
            let made = match &known {
                Some(known) => known.made.clone(),
                None => node.missing_directories(&planned.change.path)?,
            };
            new.extend(made.iter().filter(|_| known.is_none()).cloned());
            files.extend(FileRecord::planned(planned, known.as_ref(), made));
        }
        self.contents.nodes.push(NodeRecord { id: node.id.clone(), name: node.name.clone(), files });
        Ok(new)
    }

    /// The planned files are as they were to become. Others may still be as an earlier plan has left them when it was killed.
    fn settle(&mut self, NodePlan { node, planned }: &NodePlan) {
        let is_planned = |file: &FileRecord| planned.iter().any(|planned| planned.change.path == file.path);
        for record in self.contents.nodes.iter_mut().filter(|record| record.id == node.id) {
            record.files.iter_mut().filter(|file| is_planned(file)).for_each(|file| file.earlier.clear());
            record.files.retain(FileRecord::is_ours);
        }
    }

    fn write(&self) -> Result<(), Error> {
        disk::write(&self.path, (!self.is_empty()).then_some(&self.contents))
    }
}

impl NodeRecord {
    /// Restores the files of the node; `None` is one that does not run.
    fn undo(&self, node: Option<&Node>) -> Result<InNode, Error> {
        let Some(node) = node else {
            let name = &self.name;
            return Err(Error::Client(format!(
                "the node {name} does not run, so its files are not restored: `docker start {name}`, or delete its cluster"
            )));
        };
        let changes = self.undoing(node)?;
        changes.iter().try_for_each(|(kind, change)| put(node, *kind, change))?;
        node.remove_empty_directories(self.files.iter().flat_map(|file| file.made.clone()).collect())?;
        Ok(InNode {
            node: node.name.clone(),
            changes: changes.into_iter().map(|(_, change)| change).collect(),
        })
    }

    /// What that changes, the files that were written last first.
    fn undoing(&self, node: &Node) -> Result<Vec<(FileKind, Change)>, Error> {
        let changes = self.files.iter().rev().map(|file| {
            let (kind, current) = (file.kind.unwrap_or(FileKind::HostsToml), node.read(&file.path)?);
            let wanted = file.original(kind, current.clone())?;
            Ok((kind, Change { path: file.path.clone(), current, wanted }))
        });
        changes.collect()
    }
}

/// The change back to what a file was before.
fn back(Change { path, current, wanted }: &Change) -> Change {
    Change { path: path.clone(), current: wanted.clone(), wanted: current.clone() }
}

/// Changes a file of a node, and has its dockerd, if it has one, read it.
fn put(node: &Node, kind: FileKind, change: &Change) -> Result<(), Error> {
    match kind {
        _ if change.is_empty() => Ok(()),
        FileKind::DaemonJson => reload::daemon_json(node, change),
        _ => node.replace(&change.path, change.wanted.as_deref()),
    }
}
