//! A daemon that no systemd looks after: how its process was started, so that it can be started again.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::Pid;

use crate::process::{is_own, parent};

/// The first processes of containers, which end with the process that they were made for.
const INITS: [&str; 5] = ["tini", "docker-init", "dumb-init", "catatonit", "podman-init"];
/// What a process must share with this one, so that it can be started again from here.
const NAMESPACES: [&str; 4] = ["mnt", "net", "pid", "user"];

/// A process, as it was started.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) pid: Pid,
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    directory: PathBuf,
    /// Its output and its errors, which may be a file or a pipe.
    output: [Option<File>; 2],
    /// Where its errors go, by name.
    log: PathBuf,
}

impl Spawned {
    /// How a process was started; an error says why it cannot be started so from here.
    pub(crate) fn of(pid: Pid) -> Result<Self, String> {
        let number = pid.as_raw_nonzero();
        let proc = PathBuf::from(format!("/proc/{number}"));
        let name = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        if !is_own(pid) {
            return Err(format!("its process {number} is another user's"));
        }
        let parent = parent(pid);
        if number.get() == 1 || (parent == Some(Pid::INIT) && INITS.contains(&name(1).trim())) {
            return Err("it is the process of a container, which ends with it".into());
        }
        for namespace in NAMESPACES {
            let of = |process: &Path| std::fs::read_link(process.join("ns").join(namespace)).ok();
            if of(&proc) != of(Path::new("/proc/self")) {
                return Err(format!(
                    "its process {number} is in a namespace of its own ({namespace}), as a rootless one is"
                ));
            }
        }
        let read =
            |name: &str| std::fs::read(proc.join(name)).map_err(|error| format!("process {number}: {error}"));
        let link = |name: &str| {
            std::fs::read_link(proc.join(name)).map_err(|error| format!("process {number}: {error}"))
        };
        let arguments: Vec<OsString> = words(&read("cmdline")?);
        if arguments.iter().any(|argument| argument.as_bytes().windows(5).any(|part| part == b"fd://")) {
            return Err("its socket was opened by whoever started it (fd://)".into());
        }
        let environment = words(&read("environ")?).into_iter().filter_map(|word| {
            let (name, value) =
                word.as_bytes().split_at(word.as_bytes().iter().position(|byte| *byte == b'=')?);
            Some((OsStr::from_bytes(name).to_owned(), OsStr::from_bytes(&value[1..]).to_owned()))
        });
        let output =
            |number: u8| OpenOptions::new().append(true).open(proc.join(format!("fd/{number}"))).ok();
        Ok(Self {
            pid,
            program: present(&link("exe")?),
            environment: environment.collect(),
            arguments,
            directory: link("cwd")?,
            output: [output(1), output(2)],
            log: link("fd/2").unwrap_or_default(),
        })
    }

    /// Whether this variable is in its environment, with this value.
    pub(crate) fn has(&self, name: &str, value: &str) -> bool {
        self.environment.iter().any(|(one, its)| one == name && its == value)
    }

    /// Starts it again, in a process group of its own, with more variables, and `without` those of these names.
    pub(crate) fn start(&self, more: &[(String, String)], without: &[&str]) -> std::io::Result<Child> {
        let mut words = self.arguments.iter();
        let mut command = Command::new(&self.program);
        command.arg0(words.next().map_or(self.program.as_os_str(), OsString::as_os_str)).args(words);
        let kept = self.environment.iter().filter(|(name, _)| without.iter().all(|gone| name != gone));
        command.env_clear().envs(kept.map(|(name, value)| (name, value)));
        command.envs(more.iter().map(|(name, value)| (name, value)));
        command.current_dir(&self.directory).process_group(0).stdin(Stdio::null());
        let [output, errors] = &self.output;
        let stdio = |file: &Option<File>| {
            file.as_ref().and_then(|file| file.try_clone().ok()).map_or_else(Stdio::null, Stdio::from)
        };
        command.stdout(stdio(output)).stderr(stdio(errors));
        command.spawn()
    }

    /// Where its errors go, in words.
    pub(crate) fn log(&self) -> String {
        let is_file = self.log.is_absolute() && self.log.is_file();
        if is_file { self.log.display().to_string() } else { "its standard error".to_owned() }
    }
}

/// The words of a file of `/proc`, each with a zero byte at its end.
fn words(bytes: &[u8]) -> Vec<OsString> {
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    bytes.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec())).collect()
}

/// A program's path. One that was replaced while it ran has a mark at its end.
fn present(program: &Path) -> PathBuf {
    let bytes = program.as_os_str().as_bytes();
    bytes
        .strip_suffix(b" (deleted)")
        .map_or_else(|| program.to_owned(), |path| OsStr::from_bytes(path).into())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn a_process_is_started_again_as_it_was() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = dir.path().join("log");
        let out = File::create(&log).expect("a file");
        let mut command = Command::new("sleep");
        command.arg0("another name").arg("60").env_clear().env("A", "b=c").env("GONE", "d");
        let first = command.current_dir(dir.path()).stdout(out.try_clone().expect("a file")).stderr(out);
        let mut first = first.spawn().expect("it starts");
        // Between fork and exec it has this process's words.
        while !std::fs::read(format!("/proc/{}/cmdline", first.id()))
            .expect("it runs")
            .starts_with(b"another")
        {}
        let spawned = Spawned::of(Pid::from_child(&first)).expect("known");
        assert_eq!(spawned.log(), log.display().to_string());
        first.kill().expect("it runs");
        first.wait().expect("its end");
        assert!(spawned.has("GONE", "d") && !spawned.has("GONE", "e"));
        let mut second = spawned.start(&[("MORE".into(), "f".into())], &["GONE"]).expect("it starts");
        let read = |name: &str| {
            let mut bytes = Vec::new();
            let mut file = File::open(format!("/proc/{}/{name}", second.id())).expect("it runs");
            file.read_to_end(&mut bytes).expect("readable");
            String::from_utf8(bytes).expect("text")
        };
        while read("cmdline").is_empty() || read("environ").is_empty() {}
        assert_eq!(
            (read("cmdline").as_str(), read("environ").as_str()),
            ("another name\x0060\0", "A=b=c\0MORE=f\0")
        );
        assert_eq!(std::fs::read_link(format!("/proc/{}/cwd", second.id())).expect("it runs"), dir.path());
        second.kill().expect("it runs");
        second.wait().expect("its end");
    }

    #[test]
    fn the_first_process_is_not_restarted() {
        let error = Spawned::of(Pid::INIT).expect_err("no dockerd");
        assert!(error.contains("container") || error.contains("another user's"), "{error}");
    }
}
