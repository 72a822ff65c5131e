//! Which dockerd runs here, and which files it reads.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use hubcap_oci::Registry;
use rustix::process::Pid;

use super::api;
use super::context::Environment;
use super::info::Info;
use crate::certs_dir;
use crate::error::Error;
use crate::file::read_text;
use crate::paths;
use crate::process::{arguments, flag, is_trusted, maker, name};

/// Where a dockerd is, as far as a user says it; the rest is found out.
#[derive(Debug, Clone, Default)]
pub struct Docker {
    /// `unix:///var/run/docker.sock`
    pub host: Option<String>,
    /// Its `daemon.json`.
    pub daemon_json: Option<PathBuf>,
    /// Its `certs.d`.
    pub certs_dir: Option<PathBuf>,
}

/// A dockerd that was found, running or not.
#[derive(Debug)]
pub struct Dockerd {
    pub(super) socket: PathBuf,
    pub(super) daemon_json: PathBuf,
    pub(super) certs_dir: PathBuf,
    /// Where its `daemon.json` is was said by the user.
    pub(super) is_file_given: bool,
    pub(super) pid: Option<Pid>,
    /// Mirrors were given as flags, which dockerd does not take together with the file's.
    pub(super) mirrors_by_flag: bool,
    /// Proxies were given as flags.
    pub(super) proxy_by_flag: bool,
    /// Its `/info`, or why there is none.
    pub(super) running: Result<Info, String>,
}

impl Docker {
    /// The same; at `host` where the user does not say it.
    #[must_use]
    pub fn or_host(mut self, host: Option<&str>) -> Self {
        self.host = self.host.or_else(|| host.map(str::to_owned));
        self
    }

    /// Finds it, and what it reads; everything that the user says is taken as said.
    ///
    /// # Errors
    /// [`Error::Client`] for one that is not on a socket of this machine, and for another user's that names its file itself. One that does not run is no error.
    pub fn find(&self) -> Result<Dockerd, Error> {
        let socket = socket(self.host.as_deref())?;
        let asked = Info::ask(&socket);
        let pid = asked.is_ok().then(|| pid(&socket)).flatten();
        let arguments = pid.map(arguments).unwrap_or_default();
        let rootless = match &asked {
            Ok(info) => info.is_rootless(),
            // One that does not run where a user's own would be.
            Err(_) => std::env::var_os("XDG_RUNTIME_DIR").is_some_and(|dir| socket.starts_with(dir)),
        };
        let etc = if rootless { home_config()?.join("docker") } else { PathBuf::from("/etc/docker") };
        let by_flag = flag(&arguments, "--config-file").map(PathBuf::from);
        if self.daemon_json.is_none() && by_flag.is_some() && !pid.is_some_and(is_trusted) {
            return Err(Error::Client(format!(
                "dockerd on {} is another user's process, and says itself which file is its own (--config-file); --daemon-json \
                 says which one is meant",
                socket.display()
            )));
        }
        let daemon_json = self.daemon_json.clone().or(by_flag);
        Ok(Dockerd {
            is_file_given: self.daemon_json.is_some(),
            daemon_json: daemon_json.unwrap_or_else(|| etc.join("daemon.json")),
            certs_dir: self.certs_dir.clone().unwrap_or_else(|| etc.join("certs.d")),
            mirrors_by_flag: flag(&arguments, "--registry-mirror").is_some(),
            proxy_by_flag: flag(&arguments, "--http-proxy").is_some()
                || flag(&arguments, "--https-proxy").is_some(),
            pid,
            running: asked.map_err(|error| format!("no dockerd answers on {}: {error}", socket.display())),
            socket,
        })
    }
}

impl Dockerd {
    /// Its version, or why it is not known.
    pub fn version(&self) -> Result<&str, &str> {
        self.running.as_ref().map(|info| info.server_version.as_str()).map_err(String::as_str)
    }

    /// Whether `docker pull` reads `hosts.toml`, as it does with containerd's image store.
    pub fn has_containerd_store(&self) -> bool {
        self.running.as_ref().is_ok_and(Info::has_containerd_store)
    }

    /// Whether it can be told to read its files again: its process is known, or it does not run and reads them at its start.
    pub fn can_reload(&self) -> bool {
        self.pid.is_some() || self.running.is_err()
    }

    /// How many containers stop when it restarts; `None` for none.
    pub fn stops_at_restart(&self) -> Option<u32> {
        self.running.as_ref().ok().and_then(Info::stops_at_restart)
    }

    /// Docker Hub's mirrors, as it has them now.
    pub fn mirrors(&self) -> &[String] {
        self.running.as_ref().map(Info::mirrors).unwrap_or_default()
    }

    /// A registry's `hosts.toml`, which may not be there.
    pub fn hosts_toml(&self, registry: &Registry) -> PathBuf {
        certs_dir::hosts_toml(&certs_dir::directory(&self.certs_dir, registry))
    }

    /// Its proxy for HTTPS as it runs, as `127.0.0.1:5480`, without a login.
    pub fn proxy(&self) -> Option<&str> {
        self.running.as_ref().ok()?.proxy()
    }

    /// The proxy that it would use for a mirror at this address, without a login. Go never uses one for loopback.
    pub fn proxy_before(&self, mirror: IpAddr) -> Option<String> {
        self.running.as_ref().ok().filter(|_| !mirror.is_loopback())?.proxy_before(mirror)
    }

    /// Where it answers: `unix:///var/run/docker.sock`.
    pub(super) fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// Its `daemon.json`, as the journal names it.
    pub fn resolved_daemon_json(&self) -> PathBuf {
        paths::resolved(self.daemon_json.clone())
    }

    /// Its `daemon.json`.
    pub fn daemon_json(&self) -> &Path {
        &self.daemon_json
    }
}

/// From `--docker-host`, as Docker's own client finds it, or where one is.
fn socket(given: Option<&str>) -> Result<PathBuf, Error> {
    let host = match given {
        Some(host) => Some(host.to_owned()),
        None => Environment::of_this_process().host()?,
    };
    if let Some(host) = host {
        let path = host.strip_prefix("unix://").map(PathBuf::from);
        return path.ok_or_else(|| {
            Error::Client(format!(
                "dockerd at {host:?} is not on this machine's sockets: only unix:// can be wired; --docker-host says \
                 which one is meant"
            ))
        });
    }
    let system = PathBuf::from("/var/run/docker.sock");
    let own = std::env::var_os("XDG_RUNTIME_DIR").map(|dir| PathBuf::from(dir).join("docker.sock"));
    Ok(own.filter(|own| own.exists() && api::connect(&system).is_err()).unwrap_or(system))
}

fn home_config() -> Result<PathBuf, Error> {
    let xdg = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config"));
    xdg.or_else(home).ok_or_else(|| Error::Client("neither HOME nor XDG_CONFIG_HOME is set".into()))
}

/// The process behind the socket, whatever its name is: whoever made the socket, else whoever has written itself down
/// beside it.
fn pid(socket: &Path) -> Option<Pid> {
    let maker = maker(socket);
    // With systemd's socket activation the maker is systemd, the machine's or the user's.
    let beside = || {
        let files = [socket.with_extension("pid"), PathBuf::from("/var/run/docker.pid")];
        files.iter().find_map(|file| {
            let pid = read_text(file).ok()?.trim().parse().ok().and_then(Pid::from_raw)?;
            name(pid).is_some_and(|name| name == "dockerd").then_some(pid)
        })
    };
    maker
        .filter(|pid| name(*pid).is_some_and(|name| name != "systemd" && pid.as_raw_nonzero().get() != 1))
        .or_else(beside)
}
