//! containerd, with `ctr --hosts-dir`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::{OTHER, REPOSITORY, Site, said, tree};
use crate::support::PATIENCE;
use crate::support::programs::{Running, modern, program, succeed};

/// A containerd with everything of its own.
pub(super) struct Containerd {
    pub(super) socket: PathBuf,
    ctr: fn() -> Command,
    _process: Running,
}

/// containerd 1.6.
pub(super) fn of_debian(dir: &Path) -> Containerd {
    Containerd::start(dir, program("containerd"), || program("ctr"))
}

/// containerd of today, where it is unpacked.
pub(super) fn of_today(dir: &Path) -> Option<Containerd> {
    let ctr = || modern("ctr").expect("as containerd");
    Some(Containerd::start(dir, modern("containerd")?, ctr))
}

impl Containerd {
    /// Starts `containerd`, of which `ctr` is the client.
    pub(super) fn start(dir: &Path, mut containerd: Command, ctr: fn() -> Command) -> Self {
        let (config, socket) = (dir.join("config.toml"), dir.join("containerd.sock"));
        let text = format!(
            "version = 2\nroot = \"{0}/root\"\nstate = \"{0}/run\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = \"{1}\"\n[plugins.\"io.containerd.internal.v1.opt\"]\npath = \"{0}/opt\"\n",
            dir.display(),
            socket.display()
        );
        std::fs::write(&config, text).expect("a file");
        let log = std::fs::File::create(dir.join("containerd.log")).expect("a log");
        let both = (log.try_clone().expect("a log"), log);
        let child = containerd.arg("--config").arg(&config).stdout(both.0).stderr(both.1).spawn();
        let containerd = Self { socket, ctr, _process: Running(child.expect("containerd starts")) };
        let end = Instant::now() + PATIENCE;
        while !containerd.ctr(&["version"]).output().is_ok_and(|output| output.status.success()) {
            let log = || std::fs::read_to_string(dir.join("containerd.log")).unwrap_or_default();
            assert!(Instant::now() < end, "containerd does not answer: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
        containerd
    }

    pub(super) fn ctr(&self, words: &[&str]) -> Command {
        let mut command = (self.ctr)();
        command.arg("--address").arg(&self.socket).args(["--namespace", "it"]).args(words);
        command
    }

    /// Pulls, tells the digest, and removes every content again.
    fn pull(&self, image: &str, hosts: &str) -> String {
        succeed(&mut self.ctr(&["images", "pull", "--snapshotter", "native", "--hosts-dir", hosts, image]));
        let listed = succeed(&mut self.ctr(&["images", "ls", &format!("name=={image}")]));
        let digest = listed.split_whitespace().find(|word| word.starts_with("sha256:"));
        let digest = digest.unwrap_or_else(|| panic!("no digest: {listed}")).to_owned();
        succeed(&mut self.ctr(&["images", "rm", "--sync", image]));
        assert_eq!(succeed(&mut self.ctr(&["content", "ls", "--quiet"])), "", "the contents really go");
        digest
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_containerd_has_already_are_asked_after_hubcap_and_come_back() {
    let site = Site::start("oci");
    let containerd = of_debian(&site.dir("containerd"));
    let (certs, config) = (site.dir("certs.d"), site.place.dir.path().join("containerd/config.toml"));
    // Somebody's own, which is asked after hubcap, and which nobody answers.
    let own = certs.join("docker.io/hosts.toml");
    std::fs::create_dir(own.parent().expect("a parent")).expect("a directory");
    std::fs::write(&own, "# ours\n[host.\"http://127.0.0.1:9\"]\n  capabilities = [\"pull\", \"resolve\"]")
        .expect("written");
    let before = tree(&certs);

    let (hosts, toml) = (certs.to_str().expect("text"), config.to_str().expect("text"));
    let at = ["--certs-dir", hosts, "--containerd-config", toml];
    let printed = site.hubcap(&[&["setup", "containerd", "--print"], &at[..]].concat());
    assert!(printed.contains(&format!("+++ b{}", own.display())) && printed.contains("+[host."), "{printed}");
    assert_eq!(tree(&certs), before, "--print changes nothing");

    let said = site.hubcap(&[&["setup", "containerd"], &at[..]].concat());
    assert!(said.contains("--hosts-dir") && said.contains("config_path = "), "{said}");
    let wired = tree(&certs);
    assert!(
        wired.contains_key(&certs.join(OTHER).join("hosts.toml")),
        "every registry that hubcap knows: {said}"
    );
    site.hubcap(&[&["setup", "containerd"], &at[..]].concat());
    assert_eq!(tree(&certs), wired, "twice is once");

    let images = [format!("docker.io/{REPOSITORY}"), format!("{OTHER}/{REPOSITORY}")];
    let [hubs, others] = images.map(|image| containerd.pull(&image, hosts));
    assert_ne!(hubs, others, "two registries' images of one name are two");

    site.hubcap(&["unset", "containerd"]);
    assert_eq!(tree(&certs), before, "every file, mode and directory is as it was");
    assert!(site.hubcap(&["unset", "containerd"]).contains("nothing to do"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_file_covers_every_registry_and_what_cannot_be_merged_is_left_alone() {
    let site = Site::start("oci");
    let containerd = of_debian(&site.dir("containerd"));
    let certs = site.dir("certs.d");
    let hosts = certs.to_str().expect("text");
    site.hubcap(&["setup", "containerd", "--all", "docker.io", "--certs-dir", hosts]);
    assert!(certs.join("_default/hosts.toml").exists() && !certs.join(OTHER).exists());
    containerd.pull(&format!("{OTHER}/{REPOSITORY}"), hosts);
    site.hubcap(&["unset", "containerd"]);
    assert!(tree(&certs).is_empty());

    let theirs = certs.join("docker.io/hosts.toml");
    std::fs::create_dir(theirs.parent().expect("a parent")).expect("a directory");
    std::fs::write(&theirs, "server = \"https://a\"\nhost = 1 2\n").expect("written");
    let before = tree(&certs);
    let refused = site.run(&["setup", "containerd", "--certs-dir", hosts]);
    assert_eq!(refused.status.code(), Some(1));
    let why = said(&refused);
    assert!(why.contains(theirs.to_str().expect("text")) && why.contains("line 2"), "{why}");
    assert_eq!(tree(&certs), before);
}
