//! The real programs, from Debian's packages, on free ports and in directories of their own.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::PATIENCE;

/// A program that the tests cannot do without: its absence fails them, with its name.
pub(crate) fn program(name: &str) -> Command {
    let found = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path)
            .chain(["/usr/sbin".into(), "/sbin".into()])
            .any(|dir: PathBuf| dir.join(name).exists())
    });
    assert!(found, "{name} is missing: tests/run installs what the tests need");
    Command::new(name)
}

/// What `tests/modern` unpacked.
pub(crate) fn modern_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/modern")
}

/// A client of today, where `tests/modern` could unpack it; else a loud line, or a failure with HUBCAP_REQUIRE_MODERN.
pub(crate) fn modern(name: &str) -> Option<Command> {
    let root = modern_root();
    let (bin, sbin) = (root.join("usr/bin"), root.join("usr/sbin"));
    let plugins = root.join("usr/libexec/docker/cli-plugins");
    let Some(found) =
        [&bin, &sbin, &plugins].into_iter().map(|dir| dir.join(name)).find(|path| path.exists())
    else {
        assert!(
            std::env::var_os("HUBCAP_REQUIRE_MODERN").is_none(),
            "{name} of today is missing: run tests/modern"
        );
        loud(&format!("NOT TRIED with today's {name}: tests/modern has not unpacked it here"));
        return None;
    };
    // dockerd starts its containerd by name.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = [bin, sbin].into_iter().chain(std::env::split_paths(&path));
    let mut command = Command::new(found);
    command.env("PATH", std::env::join_paths(dirs).expect("a path"));
    Some(command)
}

/// Says something past the harness, which keeps what a test that passes prints.
pub(crate) fn loud(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Runs to its end, which must be a success.
pub(crate) fn succeed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().expect("it starts");
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}\n{stdout}{stderr}");
    stdout.into_owned()
}

/// A copy of a program, to be run from there.
///
/// Another process writes it: while this one has it open for writing, any thread of it may start a program, which then
/// has it open as well for a moment, and nobody can run it ("Text file busy").
pub(crate) fn install(program: impl AsRef<Path>, path: impl AsRef<Path>) {
    succeed(self::program("install").arg("--mode=755").arg(program.as_ref()).arg(path.as_ref()));
}

/// A script, to be run from there; written as [`install`] does.
pub(crate) fn install_script(path: impl AsRef<Path>, script: &str) {
    let mut command = program("install");
    command.args(["--mode=755", "/dev/stdin"]).arg(path.as_ref()).stdin(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    child.stdin.take().expect("a pipe").write_all(script.as_bytes()).expect("written");
    assert!(child.wait().expect("it ends").success(), "{command:?}");
}

/// A port that was free a moment ago, for programs that cannot choose one themselves.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").and_then(|one| one.local_addr()).expect("a free port").port()
}

/// A process that is ended, by its id, with the test.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        // The number of one that was waited for may be another process's by now.
        if self.0.try_wait().is_ok_and(|status| status.is_some()) {
            return;
        }
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end {
            if self.0.try_wait().is_ok_and(|status| status.is_some()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Debian's docker-registry: distribution, as an origin.
pub(crate) struct Registry {
    pub(crate) port: u16,
    log: PathBuf,
    _process: Running,
}

impl Registry {
    pub(crate) fn start(dir: &Path) -> Self {
        Self::start_with(dir, "")
    }

    /// With further configuration, as its file has it.
    pub(crate) fn start_with(dir: &Path, more: &str) -> Self {
        Self::start_by(program("docker-registry"), dir, (free_port(), more))
    }

    /// By this command, which becomes docker-registry, on a port that is free where it runs.
    pub(crate) fn start_by(mut command: Command, dir: &Path, (port, more): (u16, &str)) -> Self {
        let (config, log, root) = (dir.join("registry.yml"), dir.join("registry.log"), dir.join("registry"));
        let text = format!(
            "version: 0.1\nlog:\n  accesslog:\n    disabled: false\n  level: info\nstorage:\n  filesystem:\n    \
             rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n{more}",
            root.display()
        );
        std::fs::write(&config, text).expect("a file");
        let out = std::fs::File::create(&log).expect("a log");
        let both = (out.try_clone().expect("a log"), out);
        let child = command.arg("serve").arg(&config).stdout(both.0).stderr(both.1).spawn();
        let registry = Self { port, log, _process: Running(child.expect("docker-registry starts")) };
        let end = Instant::now() + PATIENCE;
        while !registry.log().contains("listening on") {
            assert!(Instant::now() < end, "docker-registry does not listen: {}", registry.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        registry
    }

    /// Its own log.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("its log")
    }

    /// GETs of blobs that it answered, by its own access log.
    pub(crate) fn blobs_served(&self) -> usize {
        let log = std::fs::read_to_string(&self.log).expect("its log");
        log.lines().filter(|line| line.contains("\"GET /v2/") && line.contains("/blobs/sha256:")).count()
    }
}

/// A dockerd with everything of its own. It ends with this value, also if hubcap has started it anew.
pub(crate) struct Dockerd {
    socket: String,
    pid_file: PathBuf,
    process: Running,
}

impl Dockerd {
    pub(crate) fn start(dir: &Path, mirror: &str) -> Self {
        Self::start_with(dir, &format!("{{\"registry-mirrors\": [\"{mirror}\"]}}"), &[])
    }

    /// With this `daemon.json`, and more flags.
    pub(crate) fn start_with(dir: &Path, json: &str, flags: &[&str]) -> Self {
        Self::start_as(program("dockerd"), dir, (json, flags))
    }

    /// By this command, which becomes dockerd.
    pub(crate) fn start_as(mut command: Command, dir: &Path, (json, flags): (&str, &[&str])) -> Self {
        let (config, socket) = (dir.join("daemon.json"), dir.join("docker.sock"));
        let pid_file = dir.join("docker.pid");
        std::fs::write(&config, json).expect("a file");
        let log = std::fs::File::create(dir.join("dockerd.log")).expect("a log");
        let socket = format!("unix://{}", socket.display());
        let child = command
            .args(["--bridge=none", "--iptables=false", "--host", &socket])
            .arg("--config-file")
            .arg(&config)
            .arg("--data-root")
            .arg(dir.join("data"))
            .arg("--exec-root")
            .arg(dir.join("exec"))
            .arg("--pidfile")
            .arg(&pid_file)
            .args(flags)
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn();
        let dockerd = Self { socket, pid_file, process: Running(child.expect("dockerd starts")) };
        let end = Instant::now() + PATIENCE;
        while !dockerd.command(&["version"]).output().is_ok_and(|output| output.status.success()) {
            let log = || std::fs::read_to_string(dir.join("dockerd.log")).unwrap_or_default();
            assert!(Instant::now() < end, "dockerd does not answer: {}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
        dockerd
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program("docker");
        command.env("DOCKER_HOST", &self.socket).args(arguments);
        command
    }

    /// Has it read its file again.
    pub(crate) fn hang_up(&self) {
        let pid = rustix::process::Pid::from_child(&self.process.0);
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("a running process");
    }

    /// The process that it is now.
    pub(crate) fn pid(&self) -> Option<rustix::process::Pid> {
        let text = std::fs::read_to_string(&self.pid_file).ok()?;
        rustix::process::Pid::from_raw(text.trim().parse().ok()?)
    }

    /// Whether a process is this dockerd: it was started with its file.
    fn is(&self, pid: rustix::process::Pid) -> bool {
        let command = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
        command.split(|byte| *byte == 0).any(|word| word == self.pid_file.as_os_str().as_encoded_bytes())
    }

    /// Builds with the BuildKit that is in dockerd.
    pub(crate) fn build(&self, context: &Path, tag: &str) {
        let mut command = self.command(&["build", "--tag", tag]);
        // Debian's own client: later ones want a plugin for that.
        if Path::new("/usr/bin/docker").exists() {
            command = Command::new("/usr/bin/docker");
            command.env("DOCKER_HOST", &self.socket).args(["build", "--tag", tag]);
        }
        succeed(command.env("DOCKER_BUILDKIT", "1").arg(context));
    }

    /// Where it answers: `unix://...`.
    pub(crate) fn host(&self) -> &str {
        &self.socket
    }

    /// Docker Hub's mirrors, as it has them now.
    pub(crate) fn mirrors(&self) -> String {
        self.docker(&["info", "--format", "{{json .RegistryConfig.Mirrors}}"])
    }

    pub(crate) fn docker(&self, arguments: &[&str]) -> String {
        succeed(&mut self.command(arguments)).trim().to_owned()
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        // One that was killed leaves its file, and its number may be another process's by now.
        let Some(pid) = self.pid().filter(|pid| self.is(*pid)) else { return };
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let end = Instant::now() + PATIENCE;
        while self.pid_file.exists() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Runs podman with storage of its own in a directory; it must succeed. What it prints.
pub(crate) fn podman(dir: &Path, arguments: &[&str]) -> String {
    let mut podman = program("podman");
    podman
        .env("HOME", dir)
        .arg("--root")
        .arg(dir.join("podman"))
        .arg("--runroot")
        .arg(dir.join("podman-run"));
    succeed(podman.args(["--storage-driver", "vfs"]).args(arguments)).trim().to_owned()
}
