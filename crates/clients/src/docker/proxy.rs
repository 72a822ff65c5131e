//! dockerd's own proxy for HTTPS, for the registries that it has no mirrors for: all that is not on its exceptions goes
//! through hubcap's `--proxy-listen`, which answers for these registries and tunnels the rest.
//!
//! dockerd reads the setting when it starts, and never again: `proxies` of `daemon.json` since 23.0, before that its
//! environment, which systemd's drop-in gives it. A proxy that is gone breaks all of its pulls, which mirrors do not.

use std::net::SocketAddr;
use std::path::PathBuf;

use hubcap_oci::Registry;
use serde_json::json;

use super::Docker;
use super::daemon_json::DaemonJson;
use crate::change::Planned;
use crate::hosts_toml::{HEADER, directory};
use crate::journal::Journal;
use crate::{Change, Error, file};

pub(super) const PROXIES: &str = "proxies";
const DROP_IN: &str = "/etc/systemd/system/docker.service.d/hubcap-proxy.conf";
/// Loopback, and Docker Hub, whose mirror is enough: what needs no proxy must not depend on one.
const WITHOUT: &str = "localhost,127.0.0.0/8,::1,.docker.io,.docker.com";

/// hubcap as a proxy.
#[derive(Debug, Clone)]
pub struct Proxy {
    /// Plain HTTP.
    pub address: SocketAddr,
    /// The registries that it answers for.
    pub registries: Vec<Registry>,
    /// The local CA's certificate, which dockerd is to trust for them.
    pub ca: PathBuf,
    /// systemd's drop-in for dockerd; its usual place where this is not said.
    pub drop_in: Option<PathBuf>,
}

impl Docker {
    /// A plan with the proxy beside the mirrors.
    ///
    /// # Errors
    /// [`Error::Client`] when dockerd's version is not known, [`Error::NotUnderstood`] when it has a proxy of its own.
    pub fn with_proxy(
        &self,
        journal: &Journal,
        proxy: &Proxy,
        mut plan: Vec<Planned>,
    ) -> Result<Vec<Planned>, Error> {
        let ca = file::read(&proxy.ca)?;
        for registry in &proxy.registries {
            // Every `.crt` there is trusted, so a user's own stays beside ours.
            let dir = self.certs_dir.join(directory(registry));
            let theirs = journal.original(&dir.join("ca.crt"), |now| Ok(Some(now)))?.is_some();
            let path = dir.join(if theirs { "hubcap.crt" } else { "ca.crt" });
            let original = journal.original(&path, |_| Ok(None))?;
            plan.push((Change::of(path, ca.clone())?, original));
        }
        let version = self.version().map_err(|why| {
            Error::Client(format!("{why}; where its proxy is set depends on its version, so start it first"))
        })?;
        let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        if major.is_some_and(|major| major >= 23) {
            self.put_into_daemon_json(journal, proxy, &mut plan)?;
        } else {
            plan.push(drop_in(journal, proxy)?);
        }
        Ok(plan)
    }

    fn put_into_daemon_json(
        &self,
        journal: &Journal,
        proxy: &Proxy,
        plan: &mut Vec<Planned>,
    ) -> Result<(), Error> {
        let path = file::resolved(self.daemon_json.clone());
        let refused = |why: &str| Err(Error::NotUnderstood { path: path.clone(), why: why.into() });
        if self.proxy_by_flag {
            return refused(
                "dockerd was started with --http-proxy or --https-proxy, and takes them from one place only",
            );
        }
        let original = journal.original(&path, |now| self.without(journal, &now).map(Some))?;
        if DaemonJson::parse(&path, original.as_deref())?.get(PROXIES).is_some() {
            return refused(
                "it has proxies of its own, and hubcap's would stand in their place; use mirrors instead",
            );
        }
        let at = plan.iter().position(|(change, _)| change.path == path);
        let then = at.map_or(original.clone(), |at| plan[at].0.then.clone());
        let url = format!("http://{}", proxy.address);
        let value = json!({"https-proxy": url, "no-proxy": WITHOUT});
        let value = serde_json::value::to_raw_value(&value).ok();
        let text = DaemonJson::parse(&path, then.as_deref())?.with(PROXIES, value);
        let planned = (Change::of(path, Some(text))?, original);
        match at {
            Some(at) => plan[at] = planned,
            None => plan.push(planned),
        }
        Ok(())
    }

    /// Whether hubcap has set a proxy, which only a restart of dockerd changes.
    pub fn has_proxy_of(&self, journal: &Journal) -> bool {
        let json = self.kept_proxies(journal).is_some();
        json || journal.paths().any(|path| path.extension().is_some_and(|kind| kind == "conf"))
    }

    /// The proxies of `daemon.json` that hubcap wrote.
    pub(super) fn kept_proxies(&self, journal: &Journal) -> Option<Box<serde_json::value::RawValue>> {
        let (before, after) = journal.kept(&self.daemon_json)?;
        let proxies =
            |text| DaemonJson::parse(&self.daemon_json, text).ok()?.get(PROXIES).map(ToOwned::to_owned);
        proxies(after).filter(|_| proxies(before).is_none())
    }
}

fn drop_in(journal: &Journal, proxy: &Proxy) -> Result<Planned, Error> {
    let path = proxy.drop_in.clone().unwrap_or_else(|| DROP_IN.into());
    let text = format!(
        "{HEADER}[Service]\nEnvironment=\"HTTPS_PROXY=http://{}\"\nEnvironment=\"NO_PROXY={WITHOUT}\"\n",
        proxy.address
    );
    let original = journal.original(&path, |_| Ok(None))?.filter(|text| !text.starts_with(HEADER));
    Ok((Change::of(path, Some(text))?, original))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::find::Info;
    use crate::{Client, Mirror, Registries};

    const JSON: &str = "{\n  \"debug\": true\n}\n";

    struct Place {
        dir: tempfile::TempDir,
        docker: Docker,
        mirror: Mirror,
        proxy: Proxy,
    }

    impl Place {
        fn new(version: &str, json: &str) -> Self {
            let dir = tempfile::tempdir().expect("a directory");
            let at = |name: &str| dir.path().join(name);
            std::fs::write(at("daemon.json"), json).expect("written");
            std::fs::write(at("ca.pem"), "a certificate\n").expect("written");
            let docker = Docker {
                // Nobody is there to be told.
                socket: at("docker.sock"),
                daemon_json: at("daemon.json"),
                certs_dir: at("certs.d"),
                pid: None,
                mirrors_by_flag: false,
                proxy_by_flag: false,
                running: Ok(Info::of_version(version)),
            };
            let mirror = Mirror::new("127.0.0.1:5443".parse().expect("an address"), at("ca.pem"));
            let proxy = Proxy {
                address: "127.0.0.1:5480".parse().expect("an address"),
                registries: vec!["ghcr.io".parse().expect("a name")],
                ca: at("ca.pem"),
                drop_in: Some(at("docker.service.d/hubcap.conf")),
            };
            Self { dir, docker, mirror, proxy }
        }

        fn plan(&self, journal: &Journal, proxy: bool) -> Result<Vec<Planned>, Error> {
            let registries = Registries::from(vec![Registry::docker_hub()]);
            let plan = self.docker.plan(journal, &self.mirror, &registries)?;
            if proxy { self.docker.with_proxy(journal, &self.proxy, plan) } else { Ok(plan) }
        }

        fn read(&self, name: &str) -> Option<String> {
            std::fs::read_to_string(self.dir.path().join(name)).ok()
        }

        fn journal(&self) -> Journal {
            Journal::open(&self.dir.path().join("state"), Client::Docker).expect("a journal")
        }

        fn unset(&self) {
            let mut journal = self.journal();
            let changes = self.docker.plan_undo(&journal).expect("planned");
            journal.undo(&changes).expect("undone");
            assert_eq!(self.read("daemon.json").as_deref(), Some(JSON));
            assert!(
                !self.dir.path().join("certs.d").exists()
                    && !self.dir.path().join("docker.service.d").exists()
            );
        }
    }

    #[test]
    fn dockerd_23_and_later_has_it_in_daemon_json_beside_the_mirror_and_keeps_it_until_unset() {
        let place = Place::new("27.5.1", JSON);
        let mut journal = place.journal();
        journal.apply(&place.plan(&journal, true).expect("planned")).expect("made");
        let json = place.read("daemon.json").expect("there");
        assert!(json.contains("\"registry-mirrors\": [\"https://127.0.0.1:5443\"]"), "{json}");
        assert!(
            json.contains("\"https-proxy\":\"http://127.0.0.1:5480\"") && json.contains("::1,.docker.io"),
            "{json}"
        );
        assert_eq!(place.read("certs.d/ghcr.io/ca.crt").as_deref(), Some("a certificate\n"));
        assert!(place.read("docker.service.d/hubcap.conf").is_none() && place.docker.has_proxy_of(&journal));
        journal.apply(&place.plan(&journal, false).expect("planned")).expect("made");
        assert_eq!(place.read("daemon.json"), Some(json), "a plain setup leaves it");
        place.unset();
    }

    #[test]
    fn a_users_own_certificate_of_a_registry_stays_beside_ours() {
        let place = Place::new("27.5.1", JSON);
        let dir = place.dir.path().join("certs.d/ghcr.io");
        std::fs::create_dir_all(&dir).expect("made");
        std::fs::write(dir.join("ca.crt"), "theirs").expect("written");
        let mut journal = place.journal();
        journal.apply(&place.plan(&journal, true).expect("planned")).expect("made");
        assert_eq!(place.read("certs.d/ghcr.io/ca.crt").as_deref(), Some("theirs"));
        assert_eq!(place.read("certs.d/ghcr.io/hubcap.crt").as_deref(), Some("a certificate\n"));
        journal.undo(&place.docker.plan_undo(&journal).expect("planned")).expect("undone");
        assert!(dir.join("ca.crt").exists() && !dir.join("hubcap.crt").exists());
    }

    #[test]
    fn dockerd_before_23_has_it_in_systemds_drop_in() {
        let place = Place::new("20.10.24+dfsg1", JSON);
        let mut journal = place.journal();
        journal.apply(&place.plan(&journal, true).expect("planned")).expect("made");
        let text = place.read("docker.service.d/hubcap.conf").expect("there");
        assert!(text.contains("[Service]\nEnvironment=\"HTTPS_PROXY=http://127.0.0.1:5480\"\n"), "{text}");
        assert!(
            !place.read("daemon.json").expect("there").contains("proxies"),
            "it would not start with that"
        );
        assert!(place.docker.has_proxy_of(&journal));
        place.unset();
    }

    #[test]
    fn a_proxy_of_dockerds_own_is_left_alone() {
        let json = "{\"proxies\": {\"https-proxy\": \"http://me:secret@office\"}}";
        let place = Place::new("28.0.4", json);
        let error = place.plan(&place.journal(), true).expect_err("two proxies").to_string();
        assert!(error.contains("proxies of its own") && !error.contains("secret"), "{error}");
    }
}
