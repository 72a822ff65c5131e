//! What dockerd says of itself.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::api;

/// What `/info` says, as far as it is of use here.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Info {
    pub(crate) server_version: String,
    /// The name of its machine.
    pub(crate) name: String,
    /// These are null where dockerd has nothing to say, as of the driver vfs.
    security_options: Option<Vec<String>>,
    driver_status: Option<Vec<(String, String)>>,
    /// The storage driver, or containerd's snapshotter.
    pub(crate) driver: String,
    /// Since dockerd 27.
    containerd: Option<ContainerdInfo>,
    registry_config: RegistryConfig,
    https_proxy: String,
    no_proxy: String,
    containers_running: u32,
    live_restore_enabled: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RegistryConfig {
    mirrors: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ContainerdInfo {
    address: PathBuf,
}

impl Info {
    /// That of a dockerd of which only the version is known.
    #[cfg(test)]
    pub(crate) fn of_version(version: &str) -> Self {
        Self { server_version: version.into(), ..Self::default() }
    }

    /// Asks dockerd.
    pub(crate) fn ask(socket: &Path) -> std::io::Result<Self> {
        let answer = api::ask(socket, "GET", "/info")?;
        serde_json::from_str(&answer.body)
            .map_err(|_| std::io::Error::other("what answers there is not dockerd"))
    }

    pub(crate) fn is_rootless(&self) -> bool {
        self.security_options.iter().flatten().any(|option| option == "name=rootless")
    }

    /// Whether images are in containerd's store, the default of new installations since dockerd 29.
    pub(crate) fn has_containerd_store(&self) -> bool {
        self.driver_status
            .iter()
            .flatten()
            .any(|(name, value)| name == "driver-type" && value.contains("snapshotter"))
    }

    /// The socket of its containerd, as far as it says.
    pub(crate) fn containerd(&self) -> Option<&Path> {
        self.containerd.as_ref().map(|containerd| containerd.address.as_path())
    }

    /// Its proxy for HTTPS, unless the address is one of those that go without.
    pub(crate) fn proxy_before(&self, address: IpAddr) -> Option<String> {
        let address = address.to_string();
        let without = self.no_proxy.split(',').any(|one| one.trim() == address || one.trim() == "*");
        self.proxy().filter(|_| !without).map(str::to_owned)
    }

    /// Its proxy for HTTPS, without a login.
    pub(crate) fn proxy(&self) -> Option<&str> {
        // A login is before the last '@', a scheme before that.
        let proxy = self.https_proxy.rsplit('@').next().unwrap_or_default();
        Some(proxy.strip_prefix("http://").unwrap_or(proxy)).filter(|proxy| !proxy.is_empty())
    }

    /// How many containers stop when it does; `None` for none.
    pub(crate) fn stops_at_restart(&self) -> Option<u32> {
        Some(self.containers_running).filter(|count| *count > 0 && !self.live_restore_enabled)
    }

    /// Docker Hub's mirrors, each with a slash at its end.
    pub(crate) fn mirrors(&self) -> &[String] {
        self.registry_config.mirrors.as_deref().unwrap_or_default()
    }
}
