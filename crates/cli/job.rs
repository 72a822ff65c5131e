//! The GitHub job that hubcap runs in: its workspace, what hubcap reports to it, and the store for the next job.

pub(crate) mod build_context;
pub(crate) mod cache;
pub(crate) mod carry;
pub(crate) mod github;
pub(crate) mod plain;
pub(crate) mod pulls;
pub(crate) mod report;
pub(crate) mod speed;
pub(crate) mod summary;
pub(crate) mod workspace;
pub(crate) mod worth;
