//! dockerd: `daemon.json` for its own pulls of Docker Hub's images, and `certs.d/docker.io/hosts.toml` beside it.
//!
//! Both, because a loopback mirror in `daemon.json` alone makes dockerd 28 and later stop verifying Docker Hub's own
//! certificate where containerd's resolver is used (`docker build`, and pulls since dockerd 29).

mod api;
mod daemon_json;
mod find;
mod proxy;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hubcap_oci::Registry;
use rustix::process::Pid;

use crate::change::Planned;
use crate::hosts_toml::{self, Registries, without_ours};
use crate::journal::Journal;
use crate::{Change, Error, Mirror, file};
use proxy::PROXIES;
pub use proxy::Proxy;

use daemon_json::DaemonJson;
use find::Info;

/// How long dockerd may take to read its file again.
const RELOAD: Duration = Duration::from_secs(10);

/// Where a dockerd is, as far as a user says it; the rest is found out.
#[derive(Debug, Clone, Default)]
pub struct DockerAt {
    /// `unix:///var/run/docker.sock`
    pub host: Option<String>,
    /// Its `daemon.json`.
    pub daemon_json: Option<PathBuf>,
    /// Its `certs.d`.
    pub certs_dir: Option<PathBuf>,
}

impl DockerAt {
    /// The same; at `host` where it is not said.
    #[must_use]
    pub fn or_host(mut self, host: Option<&str>) -> Self {
        self.host = self.host.or_else(|| host.map(str::to_owned));
        self
    }
}

/// A dockerd, running or not.
#[derive(Debug)]
pub struct Docker {
    socket: PathBuf,
    daemon_json: PathBuf,
    certs_dir: PathBuf,
    pid: Option<Pid>,
    /// Mirrors were given as flags, which dockerd does not take together with the file's.
    mirrors_by_flag: bool,
    /// The same of its proxies.
    proxy_by_flag: bool,
    running: Result<Info, String>,
}

impl Docker {
    /// Finds it.
    ///
    /// # Errors
    /// [`Error::Client`] for one that is not on a socket of this machine. One that does not run is no error.
    pub fn find(at: &DockerAt) -> Result<Self, Error> {
        find::find(at)
    }

    /// Its version, or why it is not known.
    pub fn version(&self) -> Result<&str, &str> {
        self.running.as_ref().map(|info| info.server_version.as_str()).map_err(String::as_str)
    }

    /// Whether `docker pull` reads `hosts.toml`, as it does with containerd's image store.
    pub fn has_containerd_store(&self) -> bool {
        self.running.as_ref().is_ok_and(Info::has_containerd_store)
    }

    /// Docker Hub's mirrors, as it has them now.
    pub fn mirrors(&self) -> &[String] {
        self.running.as_ref().map(Info::mirrors).unwrap_or_default()
    }

    /// A registry's `hosts.toml`, which may not be there.
    pub fn hosts_toml(&self, registry: &Registry) -> PathBuf {
        self.certs_dir.join(hosts_toml::directory(registry)).join(hosts_toml::FILE)
    }

    /// Its proxy for HTTPS as it runs, as `127.0.0.1:5480`, without a login.
    pub fn proxy(&self) -> Option<&str> {
        self.running.as_ref().ok()?.proxy()
    }

    /// The proxy that it would use for a mirror at this address, without a login. Go never uses one for loopback.
    pub fn proxy_before(&self, mirror: IpAddr) -> Option<String> {
        self.running.as_ref().ok().filter(|_| !mirror.is_loopback())?.proxy_before(mirror)
    }

    /// Its `daemon.json`.
    pub fn daemon_json(&self) -> &Path {
        &self.daemon_json
    }

    /// Its `certs.d`.
    pub fn certs_dir(&self) -> &Path {
        &self.certs_dir
    }

    /// What configuring it would change.
    ///
    /// # Errors
    /// [`Error::NotUnderstood`] for a `daemon.json` that dockerd itself would not take, or whose mirrors are given as
    /// flags; [`Error::Io`] and [`Error::Rights`] when files cannot be read.
    pub fn plan(
        &self,
        journal: &Journal,
        mirror: &Mirror,
        registries: &Registries,
    ) -> Result<Vec<Planned>, Error> {
        let mut plan = hosts_toml::plan(&self.certs_dir, (journal, mirror), registries)?;
        if !mirror.address.ip().is_loopback() {
            // Elsewhere than on loopback dockerd checks the mirror's certificate.
            let path = self.certs_dir.join(mirror.address.to_string()).join("ca.crt");
            let original = journal.original(&path, |now| Ok(Some(now)))?;
            let ca = file::read(&mirror.ca)?;
            plan.push((Change::of(path, ca)?, original));
        }
        if registries.named.iter().any(Registry::is_docker_hub) {
            plan.push(self.plan_daemon_json(journal, mirror)?);
        }
        Ok(plan)
    }

    fn plan_daemon_json(&self, journal: &Journal, mirror: &Mirror) -> Result<Planned, Error> {
        let path = &self.daemon_json;
        if self.mirrors_by_flag {
            let why = "dockerd was started with --registry-mirror, and takes mirrors from one place only; move the flag's \
                       mirrors into this file"
                .into();
            return Err(Error::NotUnderstood { path: path.clone(), why });
        }
        let original = journal.original(path, |now| self.without(journal, &now).map(Some))?;
        let json = DaemonJson::parse(path, original.as_deref())?;
        let mut mirrors = json.mirrors(path)?.unwrap_or_default();
        if mirrors.iter().any(|one| one.trim_end_matches('/') == mirror.url()) {
            // A user has written it; so it is theirs.
            return Ok((Change::of(path.clone(), original.clone())?, original));
        }
        mirrors.insert(0, mirror.url());
        let mut text = json.with_mirrors(Some(&mirrors));
        if let Some(proxies) = self.kept_proxies(journal) {
            // Set before; dockerd would keep it until its restart, whatever is written here.
            text = DaemonJson::parse(path, Some(&text))?.with(PROXIES, Some(proxies));
        }
        Ok((Change::of(path.clone(), Some(text))?, original))
    }

    /// `daemon.json` without loopback mirrors over HTTPS and without our proxy, after somebody else has written to it.
    fn without(&self, journal: &Journal, now: &str) -> Result<String, Error> {
        let mut json = DaemonJson::parse(&self.daemon_json, Some(now))?;
        let ours = self
            .kept_proxies(journal)
            .is_some_and(|ours| json.get(PROXIES).is_some_and(|now| now.get() == ours.get()));
        if ours {
            json = DaemonJson::parse(&self.daemon_json, Some(&json.with(PROXIES, None)))?;
        }
        let Some(mut mirrors) = json.mirrors(&self.daemon_json)? else { return Ok(json.to_string()) };
        mirrors.retain(|one| !is_loopback(one));
        Ok(json.with_mirrors((!mirrors.is_empty()).then_some(&mirrors)))
    }

    /// Changes the files, has dockerd read them, and waits until it has.
    ///
    /// # Errors
    /// [`Error`]; everything is as it was then.
    pub fn configure(&self, journal: &mut Journal, mirror: &Mirror, plan: &[Planned]) -> Result<(), Error> {
        journal.set_host(format!("unix://{}", self.socket.display()));
        journal.apply(plan)?;
        let wanted = |mirrors: &[String]| mirrors.iter().any(|one| one.trim_end_matches('/') == mirror.url());
        let told = plan.iter().any(|(change, _)| change.path == file::resolved(self.daemon_json.clone()));
        if !told {
            return Ok(());
        }
        self.reload(wanted).or_else(|error| {
            self.undo(journal)?;
            Err(error)
        })
    }

    /// What taking everything back would change.
    ///
    /// # Errors
    /// As [`plan`](Self::plan).
    pub fn plan_undo(&self, journal: &Journal) -> Result<Vec<Change>, Error> {
        journal.plan_undo(|path, now| match path.extension() {
            Some(kind) if kind == "json" => self.without(journal, &now).map(Some),
            Some(kind) if kind == "toml" => without_ours(now),
            Some(kind) if kind == "conf" => Ok(None),
            _ => Ok(Some(now)),
        })
    }

    /// Takes everything back, to the byte, and has dockerd forget the mirror.
    ///
    /// # Errors
    /// [`Error`]; it can be tried again.
    pub fn undo(&self, journal: &mut Journal) -> Result<(), Error> {
        let changes = self.plan_undo(journal)?;
        let json = changes.iter().find(|change| change.path.extension().is_some_and(|kind| kind == "json"));
        if let Some(change) = json.filter(|change| !change.is_empty()) {
            let before = DaemonJson::parse(&change.path, change.then.as_deref())?;
            let mirrors = before.mirrors(&change.path)?;
            if mirrors.is_none() && self.running.is_ok() {
                // Without the key dockerd keeps the mirrors that it has, so it is told of an empty list first.
                file::replace(&change.path, Some(&before.with_mirrors(Some(&[]))))?;
                self.reload(|now| !now.iter().any(|one| is_loopback(one)))?;
            }
        }
        let reload = json.is_some_and(|change| !change.is_empty());
        journal.undo(&changes)?;
        if reload && self.running.is_ok() { self.reload(|_| true) } else { Ok(()) }
    }

    /// Has dockerd read `daemon.json` again, and waits until its mirrors are as they should be. One that does not run
    /// reads it at its start.
    fn reload(&self, as_wanted: impl Fn(&[String]) -> bool) -> Result<(), Error> {
        if self.running.is_err() {
            return Ok(());
        }
        let Some(pid) = self.pid else {
            let socket = self.socket.display();
            return Err(Error::Client(format!(
                "which process dockerd on {socket} is could not be found out"
            )));
        };
        file::hang_up(pid)?;
        let end = Instant::now() + RELOAD;
        while !Info::ask(&self.socket).is_ok_and(|info| as_wanted(info.mirrors())) {
            if Instant::now() > end {
                let path = self.daemon_json.display();
                return Err(Error::Client(format!(
                    "dockerd did not take {path}; `journalctl -u docker` says why"
                )));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Restarts dockerd through systemd, which stops its containers unless it has live-restore; waits until it answers.
    ///
    /// # Errors
    /// [`Error::Client`] with what systemctl says.
    pub fn restart(&self) -> Result<(), Error> {
        file::systemctl(&["daemon-reload"])?;
        file::systemctl(&["restart", "docker"])?;
        let end = Instant::now() + RELOAD;
        while Info::ask(&self.socket).is_err() {
            if Instant::now() > end {
                let socket = self.socket.display();
                return Err(Error::Client(format!("dockerd does not answer on {socket} after its restart")));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Has dockerd pull an image, and removes it again.
    ///
    /// # Errors
    /// [`Error::Client`] with what dockerd says.
    pub fn pull_and_remove(&self, repository: &str, tag: &str) -> Result<(), Error> {
        let failed = |why: &dyn std::fmt::Display| {
            Error::Client(format!("dockerd could not pull {repository}:{tag}: {why}"))
        };
        let pull = format!("/images/create?fromImage={repository}&tag={tag}");
        let answer = api::ask(&self.socket, "POST", &pull).map_err(|error| failed(&error))?;
        let told = answer.body.lines().rev().find_map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            let error = line.get("error").or_else(|| line.get("message"))?;
            error.as_str().map(str::to_owned)
        });
        if answer.status != 200 || told.is_some() {
            return Err(failed(&told.unwrap_or_else(|| format!("it answered {}", answer.status))));
        }
        // What stays is an image without content, so this is not worth an error.
        let _ = api::ask(&self.socket, "DELETE", &format!("/images/{repository}:{tag}?force=1"));
        Ok(())
    }
}

fn is_loopback(mirror: &str) -> bool {
    ["https://127.", "https://localhost", "https://[::1]"].iter().any(|start| mirror.starts_with(start))
}
