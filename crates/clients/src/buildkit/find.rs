//! Which files builders are made from.

use std::path::{Path, PathBuf};

use super::facts::{DEFAULT, PLUGINS, SYSTEM};
use crate::error::Error;
use crate::process::{docker_config, is_installed, path_variable};

/// BuildKit's own builders.
#[derive(Debug, Clone, Default)]
pub struct Buildkit {
    /// The files that a user names; none for the usual ones.
    pub configs: Vec<PathBuf>,
}

impl Buildkit {
    /// The files that the user names; else buildx's own for new builders, and buildkitd's where its directory is.
    pub(super) fn find(&self) -> Result<Vec<PathBuf>, Error> {
        if !self.configs.is_empty() {
            return Ok(self.configs.clone());
        }
        let mut configs = vec![buildx()?.join(DEFAULT)];
        let system = Path::new(SYSTEM);
        if system.parent().is_some_and(Path::exists) {
            configs.push(system.to_owned());
        }
        Ok(configs)
    }
}

/// Whether buildx is installed: as a plugin of Docker's client, or by itself.
pub(super) fn has_buildx() -> bool {
    let own = docker_config().map(|docker| docker.join("cli-plugins"));
    let dirs = own.into_iter().chain(PLUGINS.map(PathBuf::from));
    dirs.into_iter().any(|dir| dir.join("docker-buildx").is_file()) || is_installed("buildx")
}

/// Where buildx keeps its builders (buildx, `util/confutil`).
///
/// # Errors
/// [`Error::Client`] when there is no home directory to find it in.
pub(super) fn buildx() -> Result<PathBuf, Error> {
    path_variable("BUILDX_CONFIG").or_else(|| docker_config().map(|docker| docker.join("buildx"))).ok_or_else(
        || {
            Error::Client(
                "HOME is not set, so buildx's files are not found; name one with --buildkitd-toml".into(),
            )
        },
    )
}
