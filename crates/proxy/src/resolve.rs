//! Which registry's repository a request means: the one place for that.

use hubcap_cache::Cache;
use hubcap_oci::{Registry, Repository, Target};

/// What a request told of its registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Selector {
    /// `?ns=`, as containerd says it.
    Namespace(String),
    /// Nothing: dockerd's mirrors, which are Docker Hub's.
    Default,
}

/// A request's meaning.
pub(crate) struct Resolver {
    pub(crate) default_registry: Registry,
}

/// The request names a registry that is none, or that nobody allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unknown(pub(crate) String);

impl Resolver {
    /// The target; an error for a registry that is not configured, so that no request can lead hubcap anywhere.
    pub(crate) fn resolve(
        &self,
        selector: &Selector,
        repository: &Repository,
        cache: &Cache,
    ) -> Result<Target, Unknown> {
        let registry = match selector {
            Selector::Default => self.default_registry.clone(),
            Selector::Namespace(name) => {
                name.parse::<Registry>().map_err(|error| Unknown(error.to_string()))?
            }
        };
        if !cache.knows(&registry) {
            return Err(Unknown(hubcap_cache::Error::UnknownRegistry(registry).to_string()));
        }
        Ok(Target { repository: full_name(&registry, repository), registry })
    }
}

/// Docker Hub's official images live under `library/`, which not every client adds.
fn full_name(registry: &Registry, repository: &Repository) -> Repository {
    if registry.is_docker_hub() && !repository.as_str().contains('/') {
        format!("library/{repository}").parse().unwrap_or_else(|_| repository.clone())
    } else {
        repository.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_docker_hubs_short_names_are_filled_up() {
        let full = |registry: &str, name: &str| {
            let (registry, name) = (registry.parse().expect("a registry"), name.parse().expect("a name"));
            full_name(&registry, &name).to_string()
        };
        assert_eq!(full("docker.io", "alpine"), "library/alpine");
        assert_eq!(full("docker.io", "a/b/c"), "a/b/c");
        assert_eq!(full("ghcr.io", "alpine"), "alpine");
    }
}
