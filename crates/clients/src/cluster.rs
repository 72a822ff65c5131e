//! Clusters of Kubernetes whose nodes are containers of dockerd. Each node pulls by itself, so hubcap's files go into each.
//!
//! - [`tool`]: kind, k3d and minikube, and how their nodes are known.
//! - [`node`]: a node, and its files. [`docker`]: Docker's client, by which it is reached.
//! - [`runtime`]: what pulls in a node, and which of its files are written with what.
//! - [`reload`]: the dockerd of a node, which is told of a changed file.
//! - [`nodes`]: what was changed in which node, with which the files are restored.

mod docker;
mod node;
mod nodes;
mod reload;
mod runtime;
mod tool;

pub use node::Node;
pub use nodes::{InNode, NodePlan, Nodes};
pub use tool::Cluster;
