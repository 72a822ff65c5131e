//! A dockerd that runs without root: `up` and `down` as its user, in that user's own files.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::support::PATIENCE;
use crate::support::programs::{install, succeed};
use crate::support::user::User;

/// Where Debian has it.
const DOCKERD: &str = "/usr/share/docker.io/contrib/dockerd-rootless.sh";

struct Machine {
    // First to go, with its processes, which use the directory.
    user: User,
    dir: tempfile::TempDir,
}

impl Machine {
    fn command(&self, name: &str) -> Command {
        let mut command = self.user.command(name);
        command.env("HOME", self.dir.path().join("home")).env("XDG_RUNTIME_DIR", self.dir.path().join("run"));
        command
    }

    fn docker(&self, arguments: &[&str]) -> Command {
        let mut command = self.command("docker");
        command.env("DOCKER_HOST", format!("unix://{}/run/docker.sock", self.dir.path().display()));
        command.args(arguments);
        command
    }

    fn hubcap(&self, arguments: &[&str]) -> String {
        let mut command = self.command(self.dir.path().join("hubcap").to_str().expect("text"));
        succeed(command.env("HUBCAP_LISTEN", "127.0.0.1:0").args(arguments).stdin(Stdio::null()))
    }

    fn files(&self) -> Vec<String> {
        let mut find = self.command("find");
        let found = succeed(
            find.arg(self.dir.path().join("home/.config")).args(["-type", "f", "-not", "-name", "key.json"]),
        );
        found.lines().map(Into::into).collect()
    }
}

#[test]
fn a_dockerd_without_root_is_wired_in_its_users_own_files_and_left_as_it_was() {
    let dir = tempfile::Builder::new().prefix("hubcap-it-").tempdir_in("/tmp").expect("a directory");
    let machine = Machine { user: User::new(), dir };
    let place = machine.dir.path();
    for name in ["home", "run", "data"] {
        std::fs::create_dir(place.join(name)).expect("a directory");
    }
    install(env!("CARGO_BIN_EXE_hubcap"), place.join("hubcap"));
    machine.user.owns(place);
    assert!(Path::new(DOCKERD).exists(), "{DOCKERD} is missing");
    let log = std::fs::File::create(place.join("log")).expect("a log");
    let mut dockerd = machine.command(DOCKERD);
    // The network of the machine: a network of its own needs devices that not every machine gives.
    dockerd
        .env("DOCKERD_ROOTLESS_ROOTLESSKIT_NET", "host")
        .env("DOCKERD_ROOTLESS_ROOTLESSKIT_PORT_DRIVER", "none");
    dockerd
        .args(["--bridge=none", "--iptables=false", "--storage-driver=vfs", "--data-root"])
        .arg(place.join("data"));
    dockerd.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
    let mut dockerd = dockerd.spawn().expect("dockerd starts");
    let end = Instant::now() + PATIENCE;
    while !machine.docker(&["version"]).output().is_ok_and(|output| output.status.success()) {
        let log = || std::fs::read_to_string(place.join("log")).unwrap_or_default();
        assert!(Instant::now() < end, "dockerd does not answer: {}", log());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }

    let said = machine.hubcap(&["up", "--client", "docker"]);
    assert!(said.contains("proved with a pull of hubcap-proof"), "{said}");
    let home = place.join("home/.config/docker");
    let mut wired = machine.files();
    wired.sort();
    let expected =
        ["certs.d/docker.io/hosts.toml", "daemon.json"].map(|name| home.join(name).display().to_string());
    assert_eq!(wired, expected);
    let said = machine.hubcap(&["down", "--quiet"]);
    assert!(said.contains("dockerd's files are as they were"), "{said}");
    assert_eq!(machine.files(), Vec::<String>::new());
    let mirrors = succeed(&mut machine.docker(&["info", "--format", "{{json .RegistryConfig.Mirrors}}"]));
    assert!(["[]", "null"].contains(&mirrors.trim()), "{mirrors}");

    let pid = std::fs::read_to_string(place.join("run/docker.pid")).expect("its process");
    succeed(machine.command("kill").arg(pid.trim()));
    dockerd.wait().expect("its end");
}
