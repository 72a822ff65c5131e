//! dockerd's own proxy for HTTPS, for the registries that it has no mirrors for: all that is not on its exceptions goes
//! through hubcap's `--proxy-listen`, which answers for these registries and tunnels the rest.
//!
//! dockerd reads the setting when it starts, and never again: `proxies` of `daemon.json` since 23.0, before that its
//! environment, which systemd's drop-in gives it. A proxy that is gone breaks all of its pulls, which mirrors do not.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use hubcap_oci::Registry;
use serde_json::json;
use serde_json::value::RawValue;

use super::facts::Feature;
use super::find::Dockerd;
use crate::authority::Authority;
use crate::certs_dir::directory;
use crate::change::{Plan, Planned};
use crate::error::Error;
use crate::file_kind::FileKind;
use crate::format::HEADER;
use crate::format::daemon_json::{self, DaemonJson};
use crate::journal::Journal;
use crate::paths;

const DROP_IN: &str = "/etc/systemd/system/docker.service.d/hubcap-proxy.conf";
/// What goes without the proxy: loopback, and Docker Hub, whose mirror is enough.
pub(super) const WITHOUT: &str = "localhost,127.0.0.0/8,::1,.docker.io,.docker.com";

/// hubcap as a proxy.
#[derive(Debug, Clone)]
pub struct Proxy {
    /// Plain HTTP.
    pub address: SocketAddr,
    /// The registries that it answers for.
    pub registries: Vec<Registry>,
    /// The local CA's certificate, which dockerd is to trust for them.
    pub ca: Authority,
    /// systemd's drop-in for dockerd; its usual place where this is not said.
    pub drop_in: Option<PathBuf>,
}

impl Dockerd {
    /// The plan with the proxy beside the mirrors.
    ///
    /// # Errors
    /// [`Error::Client`] when dockerd's version is not known, [`Error::NotUnderstood`] when it has a proxy of its own.
    pub fn with_proxy(&self, journal: &Journal, proxy: &Proxy, mut plan: Plan) -> Result<Plan, Error> {
        let ca = proxy.ca.pem()?;
        for registry in &proxy.registries {
            // Every `.crt` there is trusted, so a user's own stays beside ours.
            let dir = directory(&self.certs_dir, registry);
            let theirs = journal.original(&dir.join("ca.crt"), FileKind::Certificate)?.is_some();
            let path = dir.join(if theirs { "hubcap.crt" } else { "ca.crt" });
            plan.push(journal.plan(path, FileKind::Certificate, |_| Ok(ca.map(str::to_owned)))?);
        }
        self.version().map_err(|why| {
            Error::Client(format!("{why}; where its proxy is set depends on its version, so start it first"))
        })?;
        if self.has(Feature::ProxiesInDaemonJson) {
            return self.put_into_daemon_json(journal, proxy, plan);
        }
        plan.push(drop_in(journal, proxy)?);
        Ok(plan)
    }

    fn put_into_daemon_json(&self, journal: &Journal, proxy: &Proxy, plan: Plan) -> Result<Plan, Error> {
        let path = paths::followed(self.daemon_json.clone())?;
        if self.proxy_by_flag {
            let why =
                "dockerd was started with --http-proxy or --https-proxy, and takes them from one place only";
            return Err(Error::not_understood(&path, why));
        }
        let original = journal.original(&path, FileKind::DaemonJson)?;
        if DaemonJson::parse(&path, original.as_deref())?.proxies().is_some() {
            let why =
                "it has proxies of its own, and hubcap's would stand in their place; use mirrors instead";
            return Err(Error::not_understood(&path, why));
        }
        let url = format!("http://{}", proxy.address);
        let value = serde_json::value::to_raw_value(&json!({"https-proxy": url, "no-proxy": WITHOUT})).ok();
        self.with_daemon_json(journal, plan, |json| Ok(json.with_proxies(value)))
    }
}

impl Proxy {
    /// Whether hubcap has set a proxy, which only a restart of dockerd changes.
    pub fn is_set(journal: &Journal) -> bool {
        let json = journal.record_of_kind(FileKind::DaemonJson);
        journal.record_of_kind(FileKind::Own).is_some()
            || json.is_some_and(|record| our_proxies(journal, &record.path).is_some())
    }
}

impl Proxy {
    /// Where the proxy is that hubcap has set, as `127.0.0.1:5480`; `None` where it has set none.
    pub fn address(journal: &Journal) -> Option<String> {
        let in_json = || {
            let json = journal.record_of_kind(FileKind::DaemonJson)?;
            let proxies = our_proxies(journal, &json.path)?;
            let proxies: serde_json::Value = serde_json::from_str(proxies.get()).ok()?;
            Some(proxies["https-proxy"].as_str()?.strip_prefix("http://")?.to_owned())
        };
        let in_drop_in = || {
            let environment = Self::environment(journal);
            let (_, url) = environment.into_iter().find(|(name, _)| name == "HTTPS_PROXY")?;
            Some(url.strip_prefix("http://")?.to_owned())
        };
        in_json().or_else(in_drop_in)
    }

    /// The registries that dockerd trusts hubcap's CA for, which are those that it is to pull from through the proxy.
    pub fn registries(journal: &Journal) -> Vec<Registry> {
        let is_ours = |path: &&Path| ["ca.crt", "hubcap.crt"].iter().any(|name| path.ends_with(name));
        let names = journal.paths().filter(is_ours).filter_map(|path| path.parent()?.file_name()?.to_str());
        // hubcap's own address has a certificate there, too, unless it is on loopback.
        let names = names.filter(|name| name.parse::<SocketAddr>().is_err());
        names.filter_map(|name| name.parse().ok()).collect()
    }

    /// The variables that systemd's drop-in gives a dockerd before 23; none where there is no drop-in.
    pub(super) fn environment(journal: &Journal) -> Vec<(String, String)> {
        let text = journal.record_of_kind(FileKind::Own).and_then(|record| record.after.as_deref());
        let lines = text.unwrap_or_default().lines();
        let variables =
            lines.filter_map(|line| line.strip_prefix("Environment=\"")?.strip_suffix('"')?.split_once('='));
        variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

/// The proxies of this `daemon.json` that hubcap wrote.
pub(super) fn our_proxies(journal: &Journal, path: &Path) -> Option<Box<RawValue>> {
    let record = journal.record(path)?;
    daemon_json::our_proxies(path, record.before.as_deref(), record.after.as_deref())
}

/// systemd's file that sets dockerd's environment.
fn drop_in(journal: &Journal, proxy: &Proxy) -> Result<Planned, Error> {
    let path = proxy.drop_in.clone().unwrap_or_else(|| DROP_IN.into());
    let text = format!(
        "{HEADER}[Service]\nEnvironment=\"HTTPS_PROXY=http://{}\"\nEnvironment=\"NO_PROXY={WITHOUT}\"\n",
        proxy.address
    );
    journal.plan(path, FileKind::Own, |_| Ok(Some(text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::info::Info;
    use crate::mirror::{Mirror, Registries};

    const PEM: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    const JSON: &str = "{\n  \"debug\": true\n}\n";

    struct Place {
        dir: tempfile::TempDir,
        docker: Dockerd,
        mirror: Mirror,
        proxy: Proxy,
    }

    impl Place {
        fn new(version: &str, json: &str) -> Self {
            let dir = tempfile::tempdir().expect("a directory");
            let at = |name: &str| dir.path().join(name);
            std::fs::write(at("daemon.json"), json).expect("written");
            std::fs::write(at("ca.pem"), PEM).expect("written");
            let docker = Dockerd {
                is_file_given: false,
                // Nobody is there to be told.
                socket: at("docker.sock"),
                daemon_json: at("daemon.json"),
                certs_dir: at("certs.d"),
                pid: None,
                mirrors_by_flag: false,
                proxy_by_flag: false,
                running: Ok(Info::of_version(version)),
            };
            let mirror =
                Mirror::new("127.0.0.1:5443".parse().expect("an address"), Authority::read(at("ca.pem")));
            let proxy = Proxy {
                address: "127.0.0.1:5480".parse().expect("an address"),
                registries: vec!["ghcr.io".parse().expect("a name")],
                ca: mirror.ca.clone(),
                drop_in: Some(at("docker.service.d/hubcap.conf")),
            };
            Self { dir, docker, mirror, proxy }
        }

        fn plan(&self, journal: &Journal, proxy: bool) -> Result<Plan, Error> {
            let registries = Registries::from(vec![Registry::docker_hub()]);
            let plan = self.docker.plan(journal, &self.mirror, &registries)?;
            if proxy { self.docker.with_proxy(journal, &self.proxy, plan) } else { Ok(plan) }
        }

        fn read(&self, name: &str) -> Option<String> {
            std::fs::read_to_string(self.dir.path().join(name)).ok()
        }

        fn journal(&self) -> Journal {
            Journal::open(&self.dir.path().join("state"), "docker").expect("a journal")
        }

        fn unset(&self) {
            let mut journal = self.journal();
            let changes = journal.plan_undo().expect("planned");
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
        assert_eq!(place.read("certs.d/ghcr.io/ca.crt").as_deref(), Some(PEM));
        assert!(place.read("docker.service.d/hubcap.conf").is_none() && Proxy::is_set(&journal));
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
        assert_eq!(place.read("certs.d/ghcr.io/hubcap.crt").as_deref(), Some(PEM));
        journal.undo(&journal.plan_undo().expect("planned")).expect("undone");
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
        assert!(Proxy::is_set(&journal));
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
