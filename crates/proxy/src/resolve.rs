//! Which registry's repository a request means: the one place for that.

use hubcap_oci::{Registry, Repository, Target};

/// How a request came to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Via {
    /// As to a mirror.
    Mirror,
    /// Through a CONNECT to this registry, which the client takes us for.
    Connect(Registry),
}

/// What a request told of its registry, in the order in which it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Selector {
    /// The authority of the CONNECT that it came through.
    Connect(Registry),
    /// `?ns=`, as containerd says it.
    Namespace(String),
    /// The first part of the path, where it is a registry's name, as podman's mirrors have it; else nothing, which is
    /// what dockerd's mirrors, Docker Hub's, are told.
    Path,
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
        selector: &Selector,
        repository: &Repository,
        allowed: impl Fn(&Registry) -> bool,
    ) -> Result<Target, Unknown> {
        let (registry, repository) = match selector {
            Selector::Connect(registry) => (registry.clone(), repository.clone()),
            Selector::Namespace(name) => {
                let registry = name.parse::<Registry>().map_err(|error| Unknown(error.to_string()))?;
                (registry, repository.clone())
            }
            Selector::Path => match in_path(repository, &allowed) {
                Some(found) => found,
                None => (self.default_registry.clone(), repository.clone()),
            },
        };
        if !allowed(&registry) {
            return Err(Unknown(hubcap_cache::Error::UnknownRegistry(registry).to_string()));
        }
        Ok(Target { repository: full_name(&registry, repository), registry })
    }
}

/// A registry and its repository, from `ghcr.io/org/image` or `registry.example_5000/image`. A first part without a
/// '.' may be the name of somebody at Docker Hub: with a port it is a registry only when it is an allowed one.
fn in_path(repository: &Repository, allowed: impl Fn(&Registry) -> bool) -> Option<(Registry, Repository)> {
    let (first, rest) = repository.as_str().split_once('/')?;
    let registry = Registry::from_path_segment(first)?;
    let (host, _) = registry.host_and_port();
    let named = host.contains('.') || host == "localhost" || allowed(&registry);
    named.then(|| rest.parse().ok()).flatten().map(|repository| (registry, repository))
}

/// Docker Hub's official images live under `library/`, which not every client adds.
fn full_name(registry: &Registry, repository: Repository) -> Repository {
    if registry.is_docker_hub() && !repository.as_str().contains('/') {
        format!("library/{repository}").parse().unwrap_or(repository)
    } else {
        repository
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(selector: &Selector, name: &str) -> Result<String, Unknown> {
        let allowed = ["docker.io", "ghcr.io", "registry:5000", "localhost:5000", "localhost"];
        let resolver = Resolver { default_registry: Registry::docker_hub() };
        let target = resolver.resolve(selector, &name.parse().expect("a name"), |registry| {
            allowed.contains(&registry.as_str())
        });
        target.map(|target| target.to_string())
    }

    #[test]
    fn one_image_is_one_target_however_it_is_named() {
        let (namespace, path) = (|name: &str| Selector::Namespace(name.into()), Selector::Path);
        for (selector, name) in [
            (path.clone(), "alpine"),
            (path.clone(), "library/alpine"),
            (path.clone(), "docker.io/alpine"),
            (path.clone(), "registry-1.docker.io/library/alpine"),
            (namespace("docker.io"), "alpine"),
            (namespace("INDEX.docker.io:443"), "library/alpine"),
            (Selector::Connect(Registry::docker_hub()), "library/alpine"),
        ] {
            assert_eq!(
                resolve(&selector, name).as_deref(),
                Ok("docker.io/library/alpine"),
                "{selector:?} {name}"
            );
        }
        for (selector, name) in [
            (path, "ghcr.io/alpine"),
            (namespace("GHCR.IO"), "alpine"),
            (Selector::Connect("ghcr.io".parse().expect("a registry")), "alpine"),
        ] {
            assert_eq!(resolve(&selector, name).as_deref(), Ok("ghcr.io/alpine"), "{selector:?} {name}");
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
            assert_eq!(resolve(&Selector::Path, name).as_deref(), Ok(target));
        }
        // What was named before counts, and the path is the repository's then.
        let ns = Selector::Namespace("docker.io".into());
        assert_eq!(resolve(&ns, "ghcr.io/a").as_deref(), Ok("docker.io/ghcr.io/a"));
        let connect = Selector::Connect("ghcr.io".parse().expect("a registry"));
        assert_eq!(resolve(&connect, "docker.io/a").as_deref(), Ok("ghcr.io/docker.io/a"));
    }

    #[test]
    fn what_nobody_allowed_is_refused_with_the_way_to_allow_it() {
        for (selector, name, named) in [
            (Selector::Path, "evil.example/a", "--upstream evil.example "),
            (Selector::Path, "evil.example_8080/a", "--upstream evil.example:8080 "),
            (Selector::Path, "169.254.169.254/latest/meta-data", "169.254.169.254"),
            (Selector::Path, "ghcr.io_8080/a", "ghcr.io:8080"),
            (Selector::Namespace("127.0.0.1:22".into()), "a", "127.0.0.1:22"),
            (Selector::Namespace("ghcr.io@evil.example".into()), "a", "invalid registry"),
            (Selector::Namespace("ghcr.io/../evil".into()), "a", "invalid registry"),
            (Selector::Namespace("http://ghcr.io".into()), "a", "invalid registry"),
            (Selector::Namespace("[::1]:80".into()), "a", "invalid registry"),
            (Selector::Namespace(String::new()), "a", "invalid registry"),
        ] {
            let Unknown(why) = resolve(&selector, name).expect_err(name);
            assert!(why.contains(named), "{why}");
        }
    }
}
