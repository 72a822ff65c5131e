//! A machine of its own: `/etc`, `/run`, a home directory and a network that nothing outside sees. There the clients have
//! their usual files, and the registries' names lead to an address of this machine.

use std::fs::{DirEntry, File};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::PATIENCE;
use super::programs::{Running, loud, modern_root};

/// Where the names of registries lead. It is not loopback: clients trust that more.
pub(crate) const REGISTRIES_AT: &str = "203.0.113.1";
/// Names of registries, of their token services, and of where their blobs are.
pub(crate) const NAMES: [&str; 8] = [
    "registry-1.docker.io",
    "auth.docker.io",
    "index.docker.io",
    "docker.io",
    "production.cloudflare.docker.com",
    "quay.io",
    "ghcr.io",
    "cdn01.quay.io",
];
/// Makes the machine in new name spaces, and keeps them.
const MAKE: &str = r#"set -e
ip link set lo up
ip address add "$1/32" dev lo
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$2/upper,workdir=$2/work" /etc
mount -t tmpfs tmpfs /run
rm -rf /etc/docker /etc/containerd /etc/buildkit
mkdir -p /run/lock /etc/docker /etc/containers /etc/containerd
printf '127.0.0.1 localhost\n%s\n' "$3" >/etc/hosts
touch "$2/ready"
exec sleep infinity
"#;

/// Whose programs a machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Programs {
    /// This system's.
    Installed,
    /// Debian 13's containerd before this system's.
    Trixie,
    /// Debian unstable's before this system's.
    Sid,
}

impl Programs {
    /// Where they are looked for; `None`, with a loud line, where they are not here.
    fn path(self) -> Option<String> {
        let unpacked = match self {
            Self::Installed => None,
            Self::Trixie => Some(modern_root().join("trixie")),
            Self::Sid => Some(modern_root()),
        };
        if let Some(root) = unpacked.as_ref().filter(|root| !root.join("usr/bin").exists()) {
            assert!(
                std::env::var_os("HUBCAP_REQUIRE_MODERN").is_none(),
                "{} is missing: run tests/modern",
                root.display()
            );
            loud(&format!(
                "NOT TRIED with the programs of {self:?}: tests/modern has not unpacked {}",
                root.display()
            ));
            return None;
        }
        let before = unpacked.map(|root| format!("{0}/usr/sbin:{0}/usr/bin:", root.display()));
        Some(format!("{}/usr/sbin:/usr/bin:/sbin:/bin", before.unwrap_or_default()))
    }
}

/// The machine; it is gone with the test, and so is all that runs there.
pub(crate) struct Machine {
    keeper: Running,
    dir: tempfile::TempDir,
    path: String,
}

impl Machine {
    /// Makes one that has these programs, if they are here.
    pub(crate) fn with(programs: Programs) -> Option<Self> {
        let path = programs.path()?;
        let dir = tempfile::Builder::new().prefix("hubcap-it-").tempdir_in("/tmp").expect("a directory");
        for name in ["upper", "work", "home"] {
            std::fs::create_dir(dir.path().join(name)).expect("a directory");
        }
        let hosts: String = NAMES.iter().map(|name| format!("{REGISTRIES_AT} {name}\n")).collect();
        let mut unshare = super::programs::program("unshare");
        unshare.args(["--mount", "--net", "--propagation", "private", "sh", "-c", MAKE, "sh", REGISTRIES_AT]);
        let keeper = unshare.arg(dir.path()).arg(hosts).stdin(Stdio::null()).spawn();
        let machine = Self { keeper: Running(keeper.expect("unshare starts")), dir, path };
        let end = Instant::now() + PATIENCE;
        while !machine.dir.path().join("ready").exists() {
            assert!(Instant::now() < end, "no machine: it needs root, ip and overlayfs");
            std::thread::sleep(Duration::from_millis(5));
        }
        Some(machine)
    }

    /// A program on this machine, with nothing of the tester's environment. It has the process id of the command.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = super::programs::program("nsenter");
        command.args(["--target", &self.keeper.0.id().to_string(), "--mount", "--net", "--", program]);
        command.env_clear().env("HOME", self.home()).env("PATH", &self.path).current_dir(self.dir.path());
        command.stdin(Stdio::null());
        command
    }

    /// hubcap, as a user of this machine runs it.
    pub(crate) fn hubcap(&self, words: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_hubcap"));
        command.env("HUBCAP_CONFIG", self.home().join("hubcap.toml")).args(words);
        command
    }

    /// A directory of the test, which exists under the same name on and off the machine.
    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        let dir = self.dir.path().join(name);
        std::fs::create_dir_all(&dir).expect("a directory");
        dir
    }

    /// root's home directory there.
    pub(crate) fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// A path of the machine, as it is seen from outside.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.of_keeper("root").join(path.trim_start_matches('/'))
    }

    /// Makes something in its network, as sockets, on a thread that goes there and ends.
    pub(crate) fn in_its_network<T: Send + 'static>(&self, make: impl FnOnce() -> T + Send + 'static) -> T {
        let network = self.of_keeper("ns/net");
        let thread = std::thread::spawn(move || {
            let network = File::open(network).expect("a network");
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).expect("root");
            make()
        });
        thread.join().expect("made")
    }

    /// Writes one of its files.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.at(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(path, text).expect("written");
    }

    /// Below `/proc`, of the process that keeps the machine.
    pub(crate) fn of_keeper(&self, name: &str) -> PathBuf {
        Path::new("/proc").join(self.keeper.0.id().to_string()).join(name)
    }
}

impl Drop for Machine {
    /// Ends all that runs there: a test that fails leaves a hubcap, and a daemon that is killed leaves what it started.
    fn drop(&mut self) {
        let mounts = self.of_keeper("ns/mnt");
        // Held until the end, since the kernel gives the number of one that is gone to the next new one.
        let (Ok(_held), Ok(namespace)) = (File::open(&mounts), std::fs::read_link(&mounts)) else { return };
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let left = processes_in(&namespace);
            if left.is_empty() {
                break;
            }
            for process in left {
                let _ = pidfd_send_signal(process, Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The processes that have these mounts, without those that have ended. Held, since the number of one that ends meanwhile may be
/// another's by the time it is killed.
fn processes_in(namespace: &Path) -> Vec<OwnedFd> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let held = |process: DirEntry| {
        let pid = Pid::from_raw(process.file_name().to_str()?.parse().ok()?)?;
        let held = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        std::fs::read_link(process.path().join("ns/mnt"))
            .is_ok_and(|mounts| mounts == namespace)
            .then_some(held)
    };
    processes.filter_map(held).collect()
}
