//! The GitHub job that hubcap runs in: what it tells hubcap, and what hubcap tells it.

pub(crate) mod carry;
pub(crate) mod github;
pub(crate) mod speed;
pub(crate) mod summary;
pub(crate) mod workspace;
