//! What a user of BuildKit has to know after its files were written.

use super::builders::Builder;
use crate::mirror::Mirror;

/// What its users have to know, in sentences.
pub(super) fn notes(mirror: &Mirror, builders: &[Builder]) -> Vec<String> {
    let mut notes = vec![
        "Builders read it when they are made, and a buildkitd of your own when it starts: restart that one."
            .to_owned(),
    ];
    let address = mirror.address.to_string();
    let made_before = builders.iter().filter(|one| one.is_in_container() && !one.config.contains(&address));
    notes.extend(made_before.map(|builder| {
        let Builder { name, host_network, .. } = builder;
        let network = if *host_network { " --driver-opt network=host" } else { "" };
        format!(
            "The builder {name} was made before and goes past hubcap. Make it anew: docker buildx rm {name}; docker buildx \
             create --name {name}{network}, with the options that you gave it."
        )
    }));
    if mirror.address.ip().is_loopback() {
        notes.push(
            "A builder in a container reaches this machine's loopback only in the host's network: docker buildx \
             create --driver-opt network=host."
                .to_owned(),
        );
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::Authority;

    #[test]
    fn a_builder_that_was_made_before_is_named_with_the_command_that_makes_it_anew() {
        let builder = |name: &str, config: &str| {
            Builder::of(format!(
                r#"{{"Name":"{name}","Driver":"docker-container","Nodes":[{{"DriverOpts":{{"network":"host"}},"Files":{{
                "buildkitd.toml":"{config}"}}}}]}}"#
            ))
        };
        // `mirrors = ["172.17.0.1:5443"]`
        let new = builder("new", "bWlycm9ycyA9IFsiMTcyLjE3LjAuMTo1NDQzIl0=");
        let mirror =
            Mirror::new("172.17.0.1:5443".parse().expect("an address"), Authority::read("/ca.pem".into()));
        let notes = notes(&mirror, &[new, builder("old", "")]);
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(
            notes[1]
                .contains("docker buildx rm old; docker buildx create --name old --driver-opt network=host")
        );
    }
}
