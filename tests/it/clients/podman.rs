//! podman 4.3, as root of a machine whose `/etc/containers` is the test's own: each command runs in
//! a mount namespace, so the tester's files are neither read nor written.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use super::{OTHER, REPOSITORY, Site, Tree, tree};
use crate::support::programs::{program, succeed};

/// A machine's `/etc/containers` and a home directory.
pub(super) struct Machine {
    etc: PathBuf,
    home: PathBuf,
    storage: PathBuf,
    real: [(PathBuf, Tree); 2],
}

impl Machine {
    pub(super) fn new(site: &Site) -> Self {
        let etc = site.dir("etc-containers");
        std::fs::write(etc.join("policy.json"), r#"{"default": [{"type": "insecureAcceptAnything"}]}"#)
            .expect("written");
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let real = [PathBuf::from("/etc/containers"), home.join(".config/containers")];
        Self {
            etc,
            home: site.dir("home"),
            storage: site.dir("storage"),
            real: real.map(|dir| (dir.clone(), tree(&dir))),
        }
    }

    /// A command on this machine.
    pub(super) fn on(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = crate::support::programs::program("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c"]);
        command.arg("mount --bind \"$1\" /etc/containers && shift && exec \"$@\"").arg("sh").arg(&self.etc);
        command.arg(program).env_clear().env("HOME", &self.home).env("TMPDIR", &self.storage);
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
    }

    pub(super) fn hubcap(&self, site: &Site, words: &[&str]) -> String {
        let mut command = self.on(env!("CARGO_BIN_EXE_hubcap"));
        succeed(
            command.args(words).arg("--state").arg(site.place.state()).arg("--store").arg(site.place.store()),
        )
    }

    /// podman or buildah.
    fn run(&self, name: &str, words: &[&str]) -> String {
        drop(program(name));
        let mut command = self.on(name);
        command.arg("--root").arg(self.storage.join("root")).arg("--runroot").arg(self.storage.join("run"));
        succeed(command.args(["--storage-driver", "vfs"]).args(words)).trim().to_owned()
    }

    /// Pulls with podman, tells the digest, and removes the image again.
    fn pull(&self, image: &str) -> String {
        self.run("podman", &["pull", "--quiet", image]);
        let digest = self.run("podman", &["image", "inspect", "--format", "{{.Digest}}", image]);
        self.run("podman", &["rmi", "--force", image]);
        digest
    }

    pub(super) fn assert_the_testers_own_files_are_untouched(&self) {
        for (dir, before) in &self.real {
            assert_eq!(&tree(dir), before, "{}", dir.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_name_is_pulled_from_docker_hub_through_hubcap() {
    let site = Site::start("oci");
    let machine = Machine::new(&site);
    let before = tree(&machine.etc);
    let printed = machine.hubcap(&site, &["setup", "podman", "--print"]);
    assert!(printed.contains("+++ b/etc/containers/registries.conf.d/zz-hubcap.conf"), "{printed}");
    assert_eq!(tree(&machine.etc), before, "--print changes nothing");
    machine.hubcap(&site, &["setup", "podman", "docker.io", OTHER]);
    let wired = tree(&machine.etc);
    machine.hubcap(&site, &["setup", "podman", "docker.io", OTHER]);
    assert_eq!(tree(&machine.etc), wired, "twice is once");

    let full = machine.pull(&format!("docker.io/{REPOSITORY}"));
    assert_eq!(machine.pull("docker.io/it:1"), full, "a short name is Docker Hub's library/");
    assert_eq!(site.blobs_served(), 4, "three layers and the configuration, once each");

    machine.hubcap(&site, &["unset", "podman"]);
    assert_eq!(tree(&machine.etc), before, "every file, mode and directory is as it was");
    machine.assert_the_testers_own_files_are_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_knows_that_a_users_files_stand_in_place_of_those_that_hubcap_wrote() {
    let site = Site::start("v2s2");
    let machine = Machine::new(&site);
    machine.hubcap(&site, &["setup", "podman", "docker.io"]);
    let doctor = || {
        let mut command = machine.on(env!("CARGO_BIN_EXE_hubcap"));
        command
            .args(["doctor", "--docker-host", "unix:///nowhere.sock"])
            .arg("--state")
            .arg(site.place.state());
        super::said(&command.output().expect("it starts"))
    };
    assert!(doctor().contains("through hubcap  podman      podman, buildah and skopeo with"), "{}", doctor());
    let own = machine.home.join(".config/containers");
    std::fs::create_dir_all(&own).expect("a directory");
    std::fs::write(own.join("registries.conf"), "# mine\n").expect("written");
    let said = doctor();
    assert!(
        said.contains("not through it  podman      podman, buildah and skopeo: this user's files stand"),
        "{said}"
    );
    assert!(
        said.contains("-> hubcap unset podman --state ") && said.contains("; hubcap setup podman --state "),
        "{said}"
    );
    machine.hubcap(&site, &["unset", "podman"]);
    machine.hubcap(&site, &["setup", "podman"]);
    assert!(doctor().contains("through hubcap  podman      podman, buildah and skopeo with"), "{}", doctor());
    machine.hubcap(&site, &["unset", "podman"]);
    machine.assert_the_testers_own_files_are_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_a_registries_conf_of_ones_own_has_hubcap_beside_it_and_keeps_ones_mirrors() {
    let site = Site::start("v2s2");
    let machine = Machine::new(&site);
    let own = machine.home.join(".config/containers");
    std::fs::create_dir_all(&own).expect("a directory");
    let theirs = "[[registry]]\nlocation = \"docker.io\"\n[[registry.mirror]]\nlocation = \"127.0.0.1:9\"\n";
    std::fs::write(own.join("registries.conf"), theirs).expect("written");
    let (before, etc) = (tree(&own), tree(&machine.etc));
    machine.hubcap(&site, &["setup", "podman", "docker.io"]);
    assert_eq!(tree(&machine.etc), etc, "the machine's files are not even read then");
    let written = std::fs::read_to_string(own.join("registries.conf.d/zz-hubcap.conf")).expect("a drop-in");
    assert!(written.ends_with("[[registry.mirror]]\nlocation = \"127.0.0.1:9\"\n"), "{written}");
    machine.pull(&format!("docker.io/{REPOSITORY}"));
    assert_eq!(site.blobs_served(), 4);
    machine.hubcap(&site, &["unset", "podman"]);
    assert_eq!(tree(&own), before);
    machine.assert_the_testers_own_files_are_untouched();
}
