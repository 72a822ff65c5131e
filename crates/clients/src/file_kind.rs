//! The kinds of clients' files. A file's kind decides how hubcap's part is taken out of it when someone else has changed
//! the file since; it is written into the journal.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::format::{buildkitd_toml, containerd_toml, daemon_json, hosts_toml, is_ours};

/// What kind of file a client's file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileKind {
    /// dockerd's `daemon.json`: keys of others stay.
    DaemonJson,
    /// A registry's `hosts.toml`: hosts of others stay.
    HostsToml,
    /// BuildKit's `buildkitd.toml`: tables of others stay.
    BuildkitdToml,
    /// containerd's `config.toml`: everything but one import stays.
    ContainerdToml,
    /// A file that hubcap alone writes. It is removed, whatever is in it.
    Own,
    /// The CA's certificate under a name that a user may take, too. What someone else has put there stays.
    Certificate,
}

impl FileKind {
    /// The kind of a file in a journal that does not name it: an earlier hubcap decided by the client and the extension.
    pub(crate) fn of_older_journal(client: &str, path: &Path) -> Self {
        match (client, path.extension().and_then(|extension| extension.to_str())) {
            ("podman", _) => Self::Own,
            ("buildkit", _) => Self::BuildkitdToml,
            ("containerd", _) | (_, Some("toml")) => Self::HostsToml,
            (_, Some("json")) => Self::DaemonJson,
            (_, Some("conf")) => Self::Own,
            _ => Self::Certificate,
        }
    }

    /// The file without hubcap's part, where someone has changed it since hubcap wrote `after` in place of `before`.
    /// `None` when there was no file, and nothing of others is left.
    pub(crate) fn without_ours(
        self,
        path: &Path,
        before: Option<&str>,
        after: &str,
        now: String,
    ) -> Result<Option<String>, Error> {
        match self {
            Self::DaemonJson => daemon_json::without_ours(path, before, after, &now),
            // An empty file of a user stays one.
            Self::HostsToml => Ok(hosts_toml::without_ours(after, &now).or(before.map(|_| String::new()))),
            Self::BuildkitdToml => buildkitd_toml::without_ours(path, before, after, now),
            Self::ContainerdToml => containerd_toml::without_import(path, before, now),
            Self::Own => Ok(before.map(str::to_owned)),
            Self::Certificate => Ok(Some(now)),
        }
    }

    /// The file without what hubcap has marked as its own, where no journal tells of it: a lost journal does not make
    /// hubcap's part someone else's.
    pub(crate) fn without_marked(self, text: String) -> Option<String> {
        match self {
            Self::HostsToml => hosts_toml::without_marked(&text),
            Self::Own if is_ours(&text) => None,
            _ => Some(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_an_older_journal_has_its_kind_by_client_and_extension() {
        for (client, path, kind) in [
            ("docker", "/etc/docker/daemon.json", FileKind::DaemonJson),
            ("docker", "/etc/docker/certs.d/ghcr.io/hosts.toml", FileKind::HostsToml),
            ("docker", "/etc/docker/certs.d/ghcr.io/ca.crt", FileKind::Certificate),
            ("docker", "/etc/systemd/system/docker.service.d/hubcap-proxy.conf", FileKind::Own),
            ("containerd", "/etc/containerd/certs.d/ghcr.io/hosts.toml", FileKind::HostsToml),
            ("buildkit", "/home/a/builder.conf", FileKind::BuildkitdToml),
            ("podman", "/etc/containers/registries.conf.d/zz-hubcap.conf", FileKind::Own),
            ("podman", "/etc/containers/certs.d/127.0.0.1:5443/hubcap.crt", FileKind::Own),
        ] {
            assert_eq!(FileKind::of_older_journal(client, Path::new(path)), kind, "{client} {path}");
        }
    }
}
