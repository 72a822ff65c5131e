//! What BuildKit reads. It is the same in all versions.
//!
//! | what | source |
//! |---|---|
//! | it speaks plain HTTP to a mirror on loopback, unless the mirror has a table that says `http = false` | BuildKit, util/resolver/resolver.go, `fillInsecureOpts` |
//! | buildkitd reads its file when it starts; buildx copies it into a builder when it makes the builder | buildx, store/nodegroup.go |
//! | buildx takes `buildkitd.default.toml` of its directory for new builders | buildx, util/confutil |
//! | Docker's client looks for its plugins in these directories | docker/cli, cli-plugins/manager |
//! | a builder in a container has a loopback of its own, unless it is in the host's network | buildx, driver/docker-container |

/// The file of a buildkitd of one's own.
pub(super) const SYSTEM: &str = "/etc/buildkit/buildkitd.toml";
/// The file in buildx's directory for new builders.
pub(super) const DEFAULT: &str = "buildkitd.default.toml";

/// Where Docker's client finds its plugins, beside the user's own directory.
pub(super) const PLUGINS: [&str; 4] = [
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
];
