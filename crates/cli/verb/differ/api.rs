//! containerd's service Diff: its messages, as far as hubcap reads them (api/services/diff/v1/diff.proto).

use std::collections::HashMap;

use prost::Message;

/// The path of the call that applies a layer.
pub(super) const APPLY: &str = "/containerd.services.diff.v1.Diff/Apply";

#[derive(Clone, PartialEq, Message)]
pub(super) struct ApplyRequest {
    /// The layer.
    #[prost(message, optional, tag = "1")]
    pub(super) diff: Option<Descriptor>,
    /// Where it goes.
    #[prost(message, repeated, tag = "2")]
    pub(super) mounts: Vec<Mount>,
    /// What programs that decrypt need.
    #[prost(map = "string, message", tag = "3")]
    pub(super) payloads: HashMap<String, Any>,
    #[prost(bool, tag = "4")]
    pub(super) sync_fs: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ApplyResponse {
    /// The layer, inflated: its digest is the DiffID.
    #[prost(message, optional, tag = "1")]
    pub(super) applied: Option<Descriptor>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Descriptor {
    #[prost(string, tag = "1")]
    pub(super) media_type: String,
    #[prost(string, tag = "2")]
    pub(super) digest: String,
    #[prost(int64, tag = "3")]
    pub(super) size: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Mount {
    /// The file system, for example "overlay".
    #[prost(string, tag = "1")]
    pub(super) kind: String,
    #[prost(string, tag = "2")]
    pub(super) source: String,
    #[prost(string, tag = "3")]
    pub(super) target: String,
    #[prost(string, repeated, tag = "4")]
    pub(super) options: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Any {}
