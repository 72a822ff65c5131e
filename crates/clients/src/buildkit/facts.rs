//! What BuildKit reads. It is the same in all versions.
//!
//! | what | source |
//! |---|---|
//! | it speaks plain HTTP to a mirror on loopback, unless the mirror has a table that says `http = false` | BuildKit, util/resolver/resolver.go, `fillInsecureOpts` |
//! | buildkitd reads its file when it starts; buildx copies it into a builder when it makes the builder | buildx, store/nodegroup.go |
//! | buildx takes `buildkitd.default.toml` of its directory for new builders | buildx, util/confutil |
//! | a builder in a container has a loopback of its own, unless it is in the host's network | buildx, driver/docker-container |

use crate::mirror::Mirror;

/// The file of a buildkitd of one's own.
pub(super) const SYSTEM: &str = "/etc/buildkit/buildkitd.toml";
/// The file in buildx's directory for new builders.
pub(super) const DEFAULT: &str = "buildkitd.default.toml";

/// What its users have to know, in sentences.
pub(super) fn notes(mirror: &Mirror) -> Vec<String> {
    let mut notes = vec![
        "Builders read it when they are made: make existing ones anew (docker buildx rm NAME; docker buildx create \
         ...), and restart a buildkitd of your own."
            .to_owned(),
    ];
    if mirror.address.ip().is_loopback() {
        notes.push(
            "A builder in a container reaches this machine's loopback only in the host's network: docker buildx \
             create --driver-opt network=host."
                .to_owned(),
        );
    }
    notes
}
