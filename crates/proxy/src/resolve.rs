//! Which registry's repository a request means: the one place for that.

use hubcap_oci::{Registry, Repository, Target};

/// Where a request names its registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Selector<'a> {
    /// In the CONNECT that it came through.
    Connect(&'a Registry),
    /// In `?ns=`, as containerd writes it.
    Namespace(&'a str),
    /// In the first part of its path, as podman writes it; or nowhere, as dockerd asks its mirrors of Docker Hub.
    Path,
}

impl<'a> Selector<'a> {
    /// The place that counts: a CONNECT before `?ns=` before the path.
    pub(crate) fn new(connected: Option<&'a Registry>, namespace: Option<&'a str>) -> Self {
        match (connected, namespace) {
            (Some(registry), _) => Self::Connect(registry),
            (None, Some(name)) => Self::Namespace(name),
            (None, None) => Self::Path,
        }
    }

    /// The `?ns=` that counted, to be told back.
    pub(crate) const fn namespace(self) -> Option<&'a str> {
        match self {
            Self::Namespace(name) => Some(name),
            Self::Connect(_) | Self::Path => None,
        }
    }
}

/// A request's meaning.
pub(crate) struct Resolver {
    pub(crate) default_registry: Registry,
}

/// The request names a registry that is none, or that nobody allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unknown(pub(crate) String);

impl Resolver {
    /// The target; an error for a registry that nobody `allowed`, so that no request can lead hubcap anywhere.
    pub(crate) fn resolve(
        &self,
        selector: Selector<'_>,
        repository: &Repository,
        allowed: impl Fn(&Registry) -> bool,
    ) -> Result<Target, Unknown> {
        let (registry, repository) = match selector {
            Selector::Connect(registry) => (registry.clone(), repository.clone()),
            Selector::Namespace(name) => {
                let registry = name.parse::<Registry>().map_err(|error| Unknown(error.to_string()))?;
                (registry, repository.clone())
            }
            Selector::Path => in_path(repository, &allowed)
                .unwrap_or_else(|| (self.default_registry.clone(), repository.clone())),
        };
        if !allowed(&registry) {
            return Err(Unknown(hubcap_cache::Error::UnknownRegistry(registry).to_string()));
        }
        Ok(Target::new(registry, repository))
    }
}

/// A registry and its repository, from `ghcr.io/org/image` or `registry.example_5000/image`. A first part without a
/// '.' may be the name of a user of Docker Hub: with a port it is a registry only when it is an allowed one.
fn in_path(repository: &Repository, allowed: impl Fn(&Registry) -> bool) -> Option<(Registry, Repository)> {
    let (first, rest) = repository.as_str().split_once('/')?;
    let registry = Registry::from_path_segment(first)?;
    let (host, _) = registry.host_and_port();
    let named = host.contains('.') || host == "localhost" || allowed(&registry);
    named.then(|| rest.parse().ok()).flatten().map(|repository| (registry, repository))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(selector: Selector<'_>, name: &str) -> Result<String, Unknown> {
        let allowed = ["docker.io", "ghcr.io", "registry:5000", "localhost:5000", "localhost"];
        let resolver = Resolver { default_registry: Registry::docker_hub() };
        let target = resolver.resolve(selector, &name.parse().expect("a name"), |registry| {
            allowed.contains(&registry.as_str())
        });
        target.map(|target| target.to_string())
    }

    #[test]
    fn one_image_is_one_target_however_it_is_named() {
        let (hub, ghcr) = (Registry::docker_hub(), "ghcr.io".parse().expect("a registry"));
        for (selector, name) in [
            (Selector::Path, "alpine"),
            (Selector::Path, "library/alpine"),
            (Selector::Path, "docker.io/alpine"),
            (Selector::Path, "registry-1.docker.io/library/alpine"),
            (Selector::Namespace("docker.io"), "alpine"),
            (Selector::Namespace("INDEX.docker.io:443"), "library/alpine"),
            (Selector::Connect(&hub), "library/alpine"),
        ] {
            assert_eq!(
                resolve(selector, name).as_deref(),
                Ok("docker.io/library/alpine"),
                "{selector:?} {name}"
            );
        }
        for (selector, name) in [
            (Selector::Path, "ghcr.io/alpine"),
            (Selector::Namespace("GHCR.IO"), "alpine"),
            (Selector::Connect(&ghcr), "alpine"),
        ] {
            assert_eq!(resolve(selector, name).as_deref(), Ok("ghcr.io/alpine"), "{selector:?} {name}");
        }
    }

    #[test]
    fn the_first_part_of_a_path_is_a_registry_when_it_can_be_no_name_at_docker_hub() {
        for (name, target) in [
            ("registry_5000/a", "registry:5000/a"),
            ("localhost_5000/a/b", "localhost:5000/a/b"),
            ("localhost/a", "localhost/a"),
            ("somebody_5000/a", "docker.io/somebody_5000/a"),
            ("somebody/a", "docker.io/somebody/a"),
            ("ghcr.io", "docker.io/library/ghcr.io"),
            ("somebody/ghcr.io/a", "docker.io/somebody/ghcr.io/a"),
            ("ghcr.io/ghcr.io/a", "ghcr.io/ghcr.io/a"),
        ] {
            assert_eq!(resolve(Selector::Path, name).as_deref(), Ok(target));
        }
    }

    #[test]
    fn a_connect_counts_before_ns_and_ns_before_the_path() {
        let ghcr = "ghcr.io".parse().expect("a registry");
        for (connected, namespace, target) in [
            (None, None, "ghcr.io/a"),
            (None, Some("docker.io"), "docker.io/ghcr.io/a"),
            (Some(&ghcr), None, "ghcr.io/ghcr.io/a"),
            (Some(&ghcr), Some("docker.io"), "ghcr.io/ghcr.io/a"),
        ] {
            assert_eq!(resolve(Selector::new(connected, namespace), "ghcr.io/a").as_deref(), Ok(target));
        }
    }

    #[test]
    fn only_the_ns_that_counted_is_told_back() {
        let ghcr = "ghcr.io".parse().expect("a registry");
        assert_eq!(Selector::new(None, Some("ghcr.io")).namespace(), Some("ghcr.io"));
        assert_eq!(Selector::new(Some(&ghcr), Some("ghcr.io")).namespace(), None);
    }

    #[test]
    fn what_nobody_allowed_is_refused_with_the_way_to_allow_it() {
        for (selector, name, named) in [
            (Selector::Path, "evil.example/a", "--upstream evil.example "),
            (Selector::Path, "evil.example_8080/a", "--upstream evil.example:8080 "),
            (Selector::Path, "169.254.169.254/latest/meta-data", "169.254.169.254"),
            (Selector::Path, "ghcr.io_8080/a", "ghcr.io:8080"),
            (Selector::Namespace("127.0.0.1:22"), "a", "127.0.0.1:22"),
            (Selector::Namespace("ghcr.io@evil.example"), "a", "invalid registry"),
            (Selector::Namespace("ghcr.io/../evil"), "a", "invalid registry"),
            (Selector::Namespace("http://ghcr.io"), "a", "invalid registry"),
            (Selector::Namespace("[::1]:80"), "a", "invalid registry"),
            (Selector::Namespace(""), "a", "invalid registry"),
        ] {
            let Unknown(why) = resolve(selector, name).expect_err(name);
            assert!(why.contains(named), "{why}");
        }
    }
}
