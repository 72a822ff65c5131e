//! The proof that a dockerd asks hubcap: a real pull.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use hubcap_clients::Dockerd;

/// Has dockerd pull an image that only hubcap has, under a new tag: so dockerd has to ask, and only hubcap can
/// have answered.
///
/// # Errors
/// When dockerd cannot pull it, with what it says.
pub(crate) fn pull(docker: &Dockerd) -> anyhow::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    docker
        .pull_and_remove(hubcap_proxy::PROBE_IMAGE, &format!("t{}", now.as_nanos()))
        .context("dockerd is configured, but does not ask hubcap")
}
