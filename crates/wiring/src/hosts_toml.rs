//! `hosts.toml`: how containerd, and dockerd 28 and later, are told of a registry's mirrors. It is read at each pull.

use hubcap_oci::Registry;

use crate::Mirror;

/// The first line of every file that is wholly ours.
pub(crate) const HEADER: &str = "# Written by hubcap, which removes it again: hubcap unset\n";

/// A registry's file. There is no `server` line, so that the registry itself is asked where the mirror cannot help.
///
/// `dial_timeout` is known to containerd 2.1 and later; others pass over it.
pub fn hosts_toml(mirror: &Mirror) -> String {
    let (url, ca) = (mirror.url(), mirror.ca.display().to_string());
    format!(
        "{HEADER}[host.\"{url}\"]\n  capabilities = [\"pull\", \"resolve\"]\n  ca = {}\n  dial_timeout = \"1s\"\n",
        quoted(&ca)
    )
}

/// The directory of a registry in `certs.d`.
pub fn directory(registry: &Registry) -> String {
    registry.to_string()
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    // JSON's escapes are TOML's, for everything that a path can have.
    serde_json::Value::from(text).to_string()
}
