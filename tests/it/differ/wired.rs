//! `up --unpack`: dockerd's containerd is given the differ, and unpacks by itself again after `down`.

mod configs;
mod killed;
mod refused;
mod service;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Pid;

use super::containerd::{Packed, Version, image};
use crate::clients::said;
use crate::matrix::docker;
use crate::matrix::origins::Origins;
use crate::support::PATIENCE;
use crate::support::machine::{Machine, Programs};
use crate::support::programs::{Running, modern_root, succeed};

const SOCKET: &str = "/run/hubcap-differ/differ.sock";
const IMAGE: &str = "127.0.0.1:5000/library/it:1";
const CONFIG: &str = "/etc/containerd/config.toml";
/// As Docker's package has it.
const DOCKERS: &str = "#   Copyright\n\ndisabled_plugins = [\"cri\"]\n\n#root = \"/var/lib/containerd\"\n";
const CONTAINERD_STORE: &str = "{\"features\": {\"containerd-snapshotter\": true}}";

/// A machine with a containerd of its own, and dockerd with it.
struct Wired {
    _dockerd: Running,
    containerd: Running,
    _origins: Origins,
    machine: Machine,
}

impl Wired {
    /// containerd has this configuration, or no file. `None` where it is not unpacked here.
    fn start(version: Version, config: Option<&str>) -> Option<Self> {
        Self::start_with(version, config, CONTAINERD_STORE)
    }

    /// The same with this `daemon.json`.
    fn start_with(version: Version, config: Option<&str>, json: &str) -> Option<Self> {
        let machine = Machine::with(Programs::Sid)?;
        Some(Self::on(machine, version, config, json))
    }

    /// The same on this machine.
    fn on(machine: Machine, version: Version, config: Option<&str>, json: &str) -> Self {
        let (origins, _) = Origins::start(&machine);
        if let Some(config) = config {
            machine.write(CONFIG, config);
        }
        let program = match version {
            Version::Sid => modern_root().join("usr/bin/containerd"),
            Version::Trixie => modern_root().join("trixie/usr/bin/containerd"),
        };
        let containerd = containerd(&machine, &program);
        let dockerd = docker::start(&machine, json);
        Self { _dockerd: dockerd, containerd, _origins: origins, machine }
    }

    fn command(&self, words: &[&str]) -> Command {
        self.machine.hubcap(words)
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("hubcap starts")
    }

    /// Runs, and must succeed.
    fn hubcap(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let (log, containerds) = (self.log(), self.containerds_log());
        assert!(output.status.success(), "{words:?}: {}\n{log}\n{containerds}", said(&output));
        said(&output)
    }

    /// `up --unpack`, which must succeed in both.
    fn up(&self) -> String {
        let said = self.hubcap(&["up", "--unpack", "--listen", "127.0.0.1:0"]);
        let (log, containerds) = (self.log(), self.containerds_log());
        assert!(said.contains("differ: proved with a pull"), "{said}\n{log}\n{containerds}");
        said
    }

    fn config(&self) -> Option<String> {
        std::fs::read_to_string(self.machine.at(CONFIG)).ok()
    }

    fn containerds_log(&self) -> String {
        std::fs::read_to_string(self.machine.dir("containerd").join("log")).unwrap_or_default()
    }

    /// What the differ has said.
    fn log(&self) -> String {
        std::fs::read_to_string(self.state().join("differ.log")).unwrap_or_default()
    }

    fn state(&self) -> PathBuf {
        self.machine.home().join(".local/state/hubcap")
    }

    /// How many layers the differ has applied.
    fn applied(&self) -> usize {
        self.log().lines().filter(|line| line.contains("applied sha256:")).count()
    }

    /// Pulls an image anew.
    fn pull(&self, image: &str) -> Result<(), String> {
        let docker =
            |words: &[&str]| self.machine.command("docker").args(words).output().expect("docker starts");
        docker(&["image", "rm", "--force", image]);
        let output = docker(&["pull", image]);
        if output.status.success() { Ok(()) } else { Err(said(&output)) }
    }

    /// Pulls an image anew, past hubcap, and says how many of its three layers the differ has applied.
    fn applied_of_a_pull(&self) -> usize {
        let before = self.applied();
        self.pull(IMAGE).unwrap_or_else(|error| panic!("{error}\n{}", self.log()));
        self.applied() - before
    }

    /// Puts an image of one layer into Docker Hub's place, and says its name.
    fn push(&self, name: &str, layer: Vec<u8>) -> String {
        let file = image(&self.machine.dir("pushed"), name, &[(layer, Packed::Gzip)]);
        let mut skopeo = self.machine.command("/usr/bin/skopeo");
        skopeo.args(["--insecure-policy", "copy", "--dest-tls-verify=false"]);
        skopeo.arg(format!("oci-archive:{}", file.display()));
        succeed(skopeo.arg(format!("docker://127.0.0.1:5000/library/{name}:1")));
        format!("127.0.0.1:5000/library/{name}:1")
    }

    /// The process that holds the socket, and the one that unpacks.
    fn differ(&self) -> Option<(Pid, Pid)> {
        let holder = processes(&["differ", "--socket", SOCKET]).into_iter().find(|pid| self.is_here(*pid))?;
        let worker = processes(&["differ", "--socket", "-"]).into_iter().find(|pid| self.is_here(*pid))?;
        Some((holder, worker))
    }

    /// Whether a process is on this machine.
    fn is_here(&self, pid: Pid) -> bool {
        let mounts = |path: PathBuf| std::fs::read_link(path).ok();
        let its = mounts(format!("/proc/{}/ns/mnt", pid.as_raw_nonzero()).into());
        its.is_some() && its == mounts(self.machine.of_keeper("ns/mnt"))
    }

    /// Everything of `up --unpack` is gone, and containerd unpacks by itself.
    fn assert_unwired(&self, config: Option<&str>) {
        assert_eq!(self.config().as_deref(), config);
        assert!(!self.machine.at("/run/hubcap-differ").exists(), "{}", self.log());
        assert!(self.differ().is_none());
        assert_eq!(self.applied_of_a_pull(), 0);
    }
}

/// Starts a containerd with its usual files and its usual socket.
fn containerd(machine: &Machine, program: &Path) -> Running {
    containerd_by(machine, machine.command(program.to_str().expect("text")))
}

/// The same by this command, which becomes containerd.
fn containerd_by(machine: &Machine, mut containerd: Command) -> Running {
    let dir = machine.dir("containerd");
    let log = std::fs::File::options().create(true).append(true).open(dir.join("log")).expect("a log");
    containerd.arg("--root").arg(dir.join("root")).stdin(Stdio::null());
    let child = containerd.stdout(log.try_clone().expect("a log")).stderr(log).spawn();
    let containerd = Running(child.expect("containerd starts"));
    let socket = machine.at("/run/containerd/containerd.sock");
    wait("containerd does not listen", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
    containerd
}

fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The processes that were started with these words after their name.
fn processes(words: &[&str]) -> Vec<Pid> {
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let found = all.filter(|process| {
        let told = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let mut told = told.split(|byte| *byte == 0).skip(1);
        words.iter().all(|word| told.next() == Some(word.as_bytes()))
    });
    found.filter_map(|process| Pid::from_raw(process.file_name().to_str()?.parse().ok()?)).collect()
}

#[test]
fn dockerds_containerd_unpacks_with_the_differ_until_down() {
    for version in [Version::Sid, Version::Trixie] {
        let Some(wired) = Wired::start(version, Some(DOCKERS)) else { return };
        wired.up();
        assert_eq!(wired.applied_of_a_pull(), 3, "{}", wired.log());
        let doctor = said(&wired.run(&["doctor"]));
        assert!(doctor.contains("it unpacks with hubcap's differ"), "{doctor}");
        // Once more changes nothing, and containerd is not restarted.
        let (config, differ) = (wired.config(), wired.differ());
        let again = wired.hubcap(&["up", "--unpack"]);
        assert!(again.contains("differ already") && !again.contains("is restarted"), "{again}");
        assert_eq!((wired.config(), wired.differ()), (config, differ));
        let down = wired.hubcap(&["down"]);
        assert!(down.contains(", with hubcap's differ"), "the summary: {down}");
        wired.assert_unwired(Some(DOCKERS));
        wired.hubcap(&["down"]);
    }
}

#[test]
fn the_log_of_the_differ_has_an_end() {
    let Some(wired) = Wired::start(Version::Sid, Some(DOCKERS)) else { return };
    wired.up();
    let log = wired.state().join("differ.log");
    let size = |path: &Path| std::fs::metadata(path).expect("there").len();
    // As after months, in which the same differ has run.
    std::fs::OpenOptions::new().write(true).open(&log).and_then(|log| log.set_len(17 << 20)).expect("set");
    wired.hubcap(&["up", "--unpack"]);
    let (now, before) = (size(&log), size(&log.with_extension("log.1")));
    assert!(now < 1 << 20 && before >= 17 << 20, "{now} {before}");
    assert_eq!(wired.applied_of_a_pull(), 3, "{}", wired.log());
    wired.hubcap(&["down"]);
}

#[test]
fn containers_go_on_while_containerd_is_restarted() {
    let Some(wired) = Wired::start(Version::Sid, Some(DOCKERS)) else { return };
    let docker = |words: &[&str]| succeed(wired.machine.command("docker").args(words)).trim().to_owned();
    docker(&["pull", IMAGE]);
    let run = ["run", "--detach", "--network=none", "--name=one", IMAGE, "/bin/busybox", "sleep", "1000"];
    docker(&run);
    let pid = || docker(&["inspect", "--format", "{{.State.Running}} {{.State.Pid}}", "one"]);
    let before = pid();
    assert!(before.starts_with("true "), "{before}");
    wired.up();
    assert_eq!(pid(), before);
    docker(&["exec", "one", "/bin/busybox", "true"]);
    wired.hubcap(&["down"]);
    assert_eq!(pid(), before);
    docker(&["rm", "--force", "one"]);
}

#[test]
fn a_dockerd_is_switched_to_containerds_store_and_given_the_differ_in_one_job() {
    let json = "{\"features\": {\"containerd-snapshotter\": false}}";
    let Some(wired) = Wired::start_with(Version::Sid, Some(DOCKERS), json) else { return };
    let up = ["up", "--unpack", "--image-store", "containerd", "--restart", "--listen", "127.0.0.1:0"];
    let told = wired.hubcap(&up);
    assert!(told.contains("differ: proved with a pull"), "{told}");
    assert_eq!(wired.applied_of_a_pull(), 3, "{}", wired.log());
    wired.hubcap(&["down", "--restart"]);
    let json_now = std::fs::read_to_string(wired.machine.at("/etc/docker/daemon.json"));
    assert_eq!(json_now.expect("there"), json);
    wired.assert_unwired(Some(DOCKERS));
}

#[test]
fn a_down_that_restarts_nothing_leaves_pulls_that_succeed_and_the_next_one_undoes_the_rest() {
    let json = "{\"features\": {\"containerd-snapshotter\": false}}";
    let Some(wired) = Wired::start_with(Version::Sid, Some(DOCKERS), json) else { return };
    wired.hubcap(&["up", "--unpack", "--image-store", "containerd", "--restart", "--listen", "127.0.0.1:0"]);
    let dockerd = || std::fs::read_to_string(wired.machine.at("/run/docker.pid")).expect("a dockerd");
    let (before, differ) = (dockerd(), wired.differ());
    let down = wired.hubcap(&["down", "--no-restart"]);
    assert!(down.contains("containerd goes on to unpack with hubcap's differ"), "{down}");
    assert!(down.contains("the daemon is stopped"), "{down}");
    assert_eq!((dockerd(), wired.differ()), (before, differ));
    assert_eq!(wired.applied_of_a_pull(), 3, "{}", wired.log());
    wired.hubcap(&["down"]);
    wired.assert_unwired(Some(DOCKERS));
    wired.pull(IMAGE).expect("containerd unpacks by itself");
}

#[test]
fn the_differ_has_nothing_of_the_jobs_environment() {
    let Some(wired) = Wired::start(Version::Sid, Some(DOCKERS)) else { return };
    let mut up = wired.command(&["up", "--unpack", "--listen", "127.0.0.1:0"]);
    succeed(
        up.env("NPM_TOKEN", "secret").env("RUNNER_TRACKING_ID", "mark").env("HUBCAP_LOGIN", "a:secret@b"),
    );
    let (holder, worker) = wired.differ().expect("a differ");
    for pid in [holder, worker] {
        let environment = std::fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).expect("it runs");
        let mut variables = environment.split(|byte| *byte == 0).filter(|one| !one.is_empty());
        assert!(variables.all(|one| one.starts_with(b"PATH=")), "{}", String::from_utf8_lossy(&environment));
    }
    wired.hubcap(&["down"]);
    wired.assert_unwired(Some(DOCKERS));
}
