//! Plays GitHub's runner: a machine for one job, the action's main and post steps with what the runner gives them, and
//! shells of their own for the job's steps.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::PATIENCE;
use super::programs::{program, succeed};

/// The number of the next run of a workflow.
static RUNS: AtomicUsize = AtomicUsize::new(1);

/// What `tests/run` installed below `target/tools`.
pub(crate) fn tool(path: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools").join(path);
    assert!(path.exists(), "{} is missing: tests/run installs what the tests need", path.display());
    path
}

/// The runner's own node, and the one before.
pub(crate) fn nodes() -> [PathBuf; 2] {
    ["node24/bin/node", "node20/bin/node"].map(|node| tool(&format!("node_modules/{node}")))
}

/// Copies what is the action into a directory.
pub(crate) fn copy_action(to: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    let code = succeed(Command::new("git").current_dir(source).args(["ls-files", ".github/action"]));
    std::fs::create_dir_all(to.join(".github/action")).expect("a directory");
    for file in ["action.yml", "Cargo.toml"].into_iter().chain(code.lines()) {
        std::fs::copy(source.join(file), to.join(file)).expect("copied");
    }
}

/// How a step ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) success: bool,
    pub(crate) log: String,
    pub(crate) outputs: BTreeMap<String, String>,
    pub(crate) summary: String,
}

impl Ended {
    /// The warnings that it put on the job's page.
    pub(crate) fn warnings(&self) -> Vec<&str> {
        self.log.lines().filter(|line| line.starts_with("::warning")).collect()
    }

    pub(crate) fn output(&self, name: &str) -> &str {
        self.outputs.get(name).map_or("", String::as_str)
    }
}

/// One job on a machine of its own; dropped, everything that the job left running is ended, as the runner does it.
pub(crate) struct Job {
    root: PathBuf,
    env: BTreeMap<String, String>,
    inputs: BTreeMap<String, String>,
    state: BTreeMap<String, String>,
    user: Option<String>,
    node: PathBuf,
    steps: usize,
}

impl Job {
    /// A machine in this directory, which must be empty; `cache` is the cache service's URL.
    pub(crate) fn new(root: &Path, cache: &str) -> Self {
        let root = root.to_path_buf();
        let action = root.join("work/_actions/hubcap");
        for directory in ["work/repo/repo", "work/_temp/commands"] {
            std::fs::create_dir_all(root.join(directory)).expect("a directory");
        }
        copy_action(&action);
        succeed(Command::new("cp").arg("-r").arg(tool("npm-cache")).arg(root.join(".npm")));
        let text = |path: &str| root.join(path).display().to_string();
        let path = std::env::var("PATH").expect("a PATH");
        let env = [
            ("HOME", text("")),
            ("XDG_RUNTIME_DIR", text("work/_temp")),
            ("PATH", format!("{path}:/usr/sbin:/sbin")),
            ("CI", "true".into()),
            ("GITHUB_ACTIONS", "true".into()),
            ("GITHUB_WORKSPACE", text("work/repo/repo")),
            ("GITHUB_WORKFLOW", "Played, in a test".into()),
            ("GITHUB_JOB", "it".into()),
            ("GITHUB_RUN_ID", RUNS.fetch_add(1, Ordering::Relaxed).to_string()),
            ("GITHUB_RUN_ATTEMPT", "1".into()),
            ("RUNNER_TEMP", text("work/_temp")),
            ("RUNNER_OS", "Linux".into()),
            ("RUNNER_ARCH", "X64".into()),
            ("RUNNER_TRACKING_ID", format!("it_{}", root.display())),
            // What a step needs of the network has been put into npm's own cache.
            ("npm_config_offline", "true".into()),
            ("npm_config_update_notifier", "false".into()),
            ("ACTIONS_RUNTIME_TOKEN", "main".into()),
            ("ACTIONS_RESULTS_URL", format!("{cache}/")),
            ("ACTIONS_CACHE_SERVICE_V2", "True".into()),
        ];
        let env = env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let [node, _] = nodes();
        let inputs = BTreeMap::from([("SAVE".into(), "true".into())]);
        Self { root, env, inputs, state: BTreeMap::new(), user: None, node, steps: 0 }
    }

    pub(crate) fn with_node(mut self, node: &Path) -> Self {
        self.node = node.to_path_buf();
        self
    }

    /// What the action would install is there already.
    pub(crate) fn installed(self) -> Self {
        let modules = self.root.join("work/_actions/hubcap/.github/action/node_modules");
        let source = tool("action/node_modules");
        match &self.user {
            None => std::os::unix::fs::symlink(source, modules).expect("a link"),
            // The link may lead to where only root may look.
            Some(user) => {
                succeed(Command::new("cp").arg("-r").arg(source).arg(&modules));
                succeed(Command::new("chown").args(["-R", &format!("{user}:")]).arg(modules));
            }
        }
        self
    }

    /// The steps run as this user, whose the whole machine becomes.
    pub(crate) fn owned_by(mut self, user: &str) -> Self {
        succeed(Command::new("chown").args(["-R", &format!("{user}:")]).arg(&self.root));
        self.user = Some(user.into());
        // Not where only root may look.
        let path = std::env::split_paths(&self.env["PATH"]).filter(|path| !path.starts_with("/root"));
        let path = std::env::join_paths(path).expect("a PATH").to_string_lossy().into_owned();
        self.env("PATH", &path);
        self
    }

    pub(crate) fn env(&mut self, name: &str, value: &str) {
        self.env.insert(name.into(), value.into());
    }

    /// An input of the action, as `with:` gives it.
    pub(crate) fn input(&mut self, name: &str, value: &str) {
        self.inputs.insert(name.to_uppercase(), value.into());
    }

    /// The action's checkout.
    pub(crate) fn action(&self) -> PathBuf {
        self.root.join("work/_actions/hubcap")
    }

    pub(crate) fn workspace(&self) -> PathBuf {
        self.root.join("work/repo/repo")
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.root.clone()
    }

    pub(crate) fn temp(&self) -> PathBuf {
        self.root.join("work/_temp")
    }

    /// The action's step.
    pub(crate) fn main(&mut self) -> Ended {
        self.input("job-status", "success");
        self.node_step("main.js")
    }

    /// The action's post step, after a job that ended with `status`: success, failure or cancelled.
    pub(crate) fn post(&mut self, status: &str) -> Ended {
        self.input("job-status", status);
        self.node_step("post.js")
    }

    /// A `run:` step, with a shell of its own, as the runner calls it.
    pub(crate) fn run(&mut self, script: &str) -> Ended {
        let file = self.temp().join(format!("{}.sh", self.steps));
        std::fs::write(&file, script).expect("a script");
        let arguments = ["--noprofile", "--norc", "-e", "-o", "pipefail"].map(Into::into);
        let mut arguments: Vec<PathBuf> = arguments.into();
        arguments.push(file);
        self.step((Path::new("/bin/bash"), &arguments), &BTreeMap::new())
    }

    /// Only an action gets its inputs, its state and the service's token.
    fn node_step(&mut self, file: &str) -> Ended {
        let inputs = self.inputs.iter().map(|(name, value)| (format!("INPUT_{name}"), value.clone()));
        let state = self.state.iter().map(|(name, value)| (format!("STATE_{name}"), value.clone()));
        let more = inputs.chain(state).collect();
        let script = self.root.join("work/_actions/hubcap/.github/action").join(file);
        let node = self.node.clone();
        self.step((&node, &[script]), &more)
    }

    fn step(&mut self, (file, arguments): (&Path, &[PathBuf]), more: &BTreeMap<String, String>) -> Ended {
        self.steps += 1;
        let commands = self.temp().join(format!("commands/{}", self.steps));
        std::fs::create_dir_all(&commands).expect("a directory");
        let mut command = match &self.user {
            Some(user) => {
                let mut command = program("setpriv");
                command.args(["--reuid", user, "--regid", user, "--init-groups", "--"]).arg(file);
                command
            }
            None => Command::new(file),
        };
        command.args(arguments).current_dir(self.workspace()).env_clear().envs(&self.env).envs(more);
        if !file.ends_with("node") {
            command.env_remove("ACTIONS_RUNTIME_TOKEN").env_remove("ACTIONS_RESULTS_URL");
        }
        for name in ["OUTPUT", "STATE", "STEP_SUMMARY", "ENV", "PATH"] {
            let path = commands.join(name);
            std::fs::write(&path, "").expect("a file");
            command.env(format!("GITHUB_{name}"), path);
        }
        if let Some(user) = &self.user {
            succeed(Command::new("chown").args(["-R", &format!("{user}:")]).arg(&commands));
        }
        // A file rather than a pipe: what the step leaves running keeps a pipe open.
        let path = commands.join("log");
        let log = std::fs::File::create(&path).expect("a log");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        let status = command.status().expect("it starts");
        let read = |name: &str| std::fs::read_to_string(commands.join(name)).expect("a file");
        let pairs = |name: &str| {
            let pair = |line: &str| line.split_once('=').map(|(name, value)| (name.into(), value.into()));
            read(name).lines().filter_map(pair).collect::<BTreeMap<String, String>>()
        };
        self.state.append(&mut pairs("STATE"));
        self.env.append(&mut pairs("ENV"));
        for directory in read("PATH").lines() {
            let path = format!("{directory}:{}", self.env["PATH"]);
            self.env("PATH", &path);
        }
        let log = std::fs::read_to_string(path).expect("a log");
        Ended { success: status.success(), log, outputs: pairs("OUTPUT"), summary: read("STEP_SUMMARY") }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let mark = format!("RUNNER_TRACKING_ID={}", self.env["RUNNER_TRACKING_ID"]);
        for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(id) = process.file_name().to_str().and_then(|id| Pid::from_raw(id.parse().ok()?)) else {
                continue;
            };
            // Held, since the number of one that ends meanwhile may be another's by the time it is killed.
            let Ok(held) = pidfd_open(id, PidfdFlags::empty()) else { continue };
            let environ = std::fs::read(process.path().join("environ")).unwrap_or_default();
            if environ.split(|byte| *byte == 0).all(|variable| variable != mark.as_bytes()) {
                continue;
            }
            let _ = pidfd_send_signal(held, Signal::KILL);
            let end = Instant::now() + PATIENCE;
            while process.path().join("exe").read_link().is_ok() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}
