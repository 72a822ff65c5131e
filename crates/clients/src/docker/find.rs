//! Which dockerd runs here, and which files it reads.

use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::process::Pid;
use serde::Deserialize;

use super::{Docker, DockerAt, api};
use crate::Error;

/// What `/info` says, as far as it is of use here.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Info {
    pub(crate) server_version: String,
    /// These are null where dockerd has nothing to say, as of the driver vfs.
    security_options: Option<Vec<String>>,
    driver_status: Option<Vec<(String, String)>>,
    registry_config: RegistryConfig,
    https_proxy: String,
    no_proxy: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RegistryConfig {
    mirrors: Option<Vec<String>>,
}

impl Info {
    /// Of a dockerd that nothing else is known of.
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

    /// Docker Hub's mirrors, each with a slash at its end.
    pub(crate) fn mirrors(&self) -> &[String] {
        self.registry_config.mirrors.as_deref().unwrap_or_default()
    }
}

/// Finds it, and what it reads; everything that `at` says is taken as said.
pub(crate) fn find(at: &DockerAt) -> Result<Docker, Error> {
    let socket = socket(at.host.as_deref())?;
    let asked = Info::ask(&socket);
    let pid = asked.is_ok().then(|| pid(&socket)).flatten();
    let arguments = pid.map(arguments).unwrap_or_default();
    let rootless = match &asked {
        Ok(info) => info.is_rootless(),
        // One that does not run where a user's own would be.
        Err(_) => std::env::var_os("XDG_RUNTIME_DIR").is_some_and(|dir| socket.starts_with(dir)),
    };
    let etc = if rootless { home_config()?.join("docker") } else { PathBuf::from("/etc/docker") };
    let flagged = |name: &str| {
        let mut rest = arguments.iter().skip_while(|argument| argument.split('=').next() != Some(name));
        let first = rest.next()?;
        first.split_once('=').map(|(_, value)| value.to_owned()).or_else(|| rest.next().cloned())
    };
    let daemon_json = at.daemon_json.clone().or_else(|| flagged("--config-file").map(PathBuf::from));
    Ok(Docker {
        daemon_json: daemon_json.unwrap_or_else(|| etc.join("daemon.json")),
        certs_dir: at.certs_dir.clone().unwrap_or_else(|| etc.join("certs.d")),
        mirrors_by_flag: flagged("--registry-mirror").is_some(),
        proxy_by_flag: ["--http-proxy", "--https-proxy"].into_iter().any(|flag| flagged(flag).is_some()),
        pid,
        running: asked.map_err(|error| format!("no dockerd answers on {}: {error}", socket.display())),
        socket,
    })
}

/// From `--docker-host`, `DOCKER_HOST`, or where one is.
fn socket(given: Option<&str>) -> Result<PathBuf, Error> {
    let from_environment = std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty());
    if let Some(host) = given.map(str::to_owned).or(from_environment) {
        let path = host.strip_prefix("unix://").map(PathBuf::from);
        return path.ok_or_else(|| {
            Error::Client(format!(
                "dockerd at {host:?} is not on this machine's sockets: only unix:// can be wired"
            ))
        });
    }
    let system = PathBuf::from("/var/run/docker.sock");
    let own = std::env::var_os("XDG_RUNTIME_DIR").map(|dir| PathBuf::from(dir).join("docker.sock"));
    Ok(own.filter(|own| own.exists() && UnixStream::connect(&system).is_err()).unwrap_or(system))
}

fn home_config() -> Result<PathBuf, Error> {
    let xdg = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config"));
    xdg.or_else(home).ok_or_else(|| Error::Client("neither HOME nor XDG_CONFIG_HOME is set".into()))
}

/// The process behind the socket: whoever made it, else whoever has written itself down beside it.
fn pid(socket: &Path) -> Option<Pid> {
    let stream = UnixStream::connect(socket).ok()?;
    let maker = rustix::net::sockopt::socket_peercred(&stream).ok().map(|credentials| credentials.pid);
    // With systemd's socket activation the maker is systemd.
    let beside = || {
        let files = [socket.with_extension("pid"), PathBuf::from("/var/run/docker.pid")];
        files.iter().find_map(|file| {
            let pid = std::fs::read_to_string(file).ok()?.trim().parse().ok().and_then(Pid::from_raw)?;
            is_dockerd(pid).then_some(pid)
        })
    };
    maker.filter(|pid| is_dockerd(*pid)).or_else(beside)
}

fn is_dockerd(pid: Pid) -> bool {
    let name = std::fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero()));
    name.is_ok_and(|name| name.trim() == "dockerd")
}

fn arguments(pid: Pid) -> Vec<String> {
    let bytes = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    bytes.split(|byte| *byte == 0).map(|one| String::from_utf8_lossy(one).into_owned()).collect()
}
