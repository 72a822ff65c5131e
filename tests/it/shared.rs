//! One daemon for several jobs, users and `setup`s: it ends with the last that needs it, and so does each client's part.

use std::os::unix::fs::chown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::clients::{said, tree};
use crate::support::eventually;
use crate::support::hubcap::{Hubcap, Place, command};
use crate::support::programs::{install, program};
use crate::support::user::User;

/// A machine whose podman reads the files of this home. No podman need be there for its files to be written.
struct Machine {
    place: Place,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { place: Place::new() };
        // With one of their own, podman passes the machine's files over, so the test does not touch them.
        std::fs::create_dir_all(machine.containers()).expect("made");
        std::fs::write(machine.containers().join("registries.conf"), "# mine\n").expect("written");
        machine
    }

    fn containers(&self) -> PathBuf {
        self.place.dir.path().join(".config/containers")
    }

    fn command(&self, job: Option<&str>, words: &[&str]) -> Command {
        let mut command = command(self.place.dir.path());
        command.args(words).arg("--store").arg(self.place.store()).arg("--state").arg(self.place.state());
        if let Some(job) = job {
            command.env("GITHUB_RUN_ID", "7").env("GITHUB_JOB", job);
        }
        command.stdin(Stdio::null());
        command
    }

    fn run(&self, job: Option<&str>, words: &[&str]) -> Output {
        self.command(job, words).output().expect("hubcap starts")
    }

    /// Runs, and must succeed.
    fn hubcap(&self, job: Option<&str>, words: &[&str]) -> String {
        let output = self.run(job, words);
        assert!(output.status.success(), "{words:?}: {}", said(&output));
        said(&output)
    }

    fn up(&self, job: &str) -> String {
        self.hubcap(Some(job), &UP)
    }

    fn is_wired(&self) -> bool {
        self.containers().join("registries.conf.d/zz-hubcap.conf").exists()
    }

    fn runs(&self) -> bool {
        UnixStream::connect(self.place.state().join("admin.sock")).is_ok()
    }

    fn serve(&self) -> Hubcap {
        self.place.start("http://127.0.0.1:9", &[])
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.run(None, &["down", "--force"]);
    }
}

const UP: [&str; 7] =
    ["up", "--listen", "127.0.0.1:0", "--client", "podman", "--upstream", "docker.io=http://127.0.0.1:9"];

#[test]
fn the_last_of_two_jobs_ends_what_both_need() {
    let machine = Machine::new();
    let before = tree(&machine.containers());
    machine.up("a");
    assert!(machine.up("b").contains("runs already"));
    let said = machine.hubcap(Some("a"), &["down"]);
    assert!(machine.is_wired() && machine.runs(), "{said}");
    assert!(said.contains("the daemon goes on: the job GITHUB_RUN_ID=7 GITHUB_JOB=b"), "{said}");
    assert!(said.contains("the files of podman, buildah and skopeo stay"), "{said}");
    let told = self::said(&machine.run(Some("a"), &["down", "--trim=false"]));
    assert!(told.contains("has no key") && !told.lines().any(|line| line.starts_with("key ")), "{told}");
    let said = machine.hubcap(Some("b"), &["down"]);
    assert!(said.contains("the daemon is stopped") && !machine.runs(), "{said}");
    assert_eq!(tree(&machine.containers()), before);
}

#[test]
fn a_job_that_never_began_ends_nothing_of_another() {
    let machine = Machine::new();
    machine.up("a");
    let output = machine.run(Some("b"), &["down"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(machine.is_wired() && machine.runs());
    let mut in_github = machine.command(Some("b"), &["down"]);
    let output = in_github.env("GITHUB_ACTIONS", "true").output().expect("hubcap starts");
    assert_eq!(output.status.code(), Some(0), "a job does not fail because of its cache: {}", said(&output));
    assert!(machine.is_wired() && machine.runs());
}

#[test]
fn jobs_that_begin_and_end_at_once_share_one_daemon_to_the_last() {
    let machine = Machine::new();
    let before = tree(&machine.containers());
    let all = |words: &[&str]| {
        let started: Vec<_> = ["a", "b", "c", "d"]
            .iter()
            .map(|job| {
                let mut command = machine.command(Some(job), words);
                command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("hubcap starts")
            })
            .collect();
        started.into_iter().map(|child| child.wait_with_output().expect("its end")).collect::<Vec<_>>()
    };
    let began = all(&UP);
    assert!(began.iter().all(|output| output.status.success()), "{began:?}");
    assert_eq!(began.iter().filter(|output| said(output).contains("hubcap runs as")).count(), 1);
    let ended = all(&["down"]);
    assert!(ended.iter().all(|output| output.status.success()), "{ended:?}");
    assert_eq!(ended.iter().filter(|output| said(output).contains("the daemon is stopped")).count(), 1);
    assert_eq!(tree(&machine.containers()), before);
}

#[test]
fn down_does_not_stop_the_daemon_of_a_setup_and_says_what_does() {
    let machine = Machine::new();
    let before = tree(&machine.containers());
    let hubcap = machine.serve();
    machine.hubcap(None, &["setup", "podman"]);
    let output = machine.run(None, &["down"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("`hubcap unset podman` ends that"), "{}", said(&output));
    assert!(machine.is_wired() && machine.runs());

    // A job on top of it takes nothing of it away.
    machine.up("a");
    machine.hubcap(Some("a"), &["down"]);
    assert!(machine.is_wired() && machine.runs());
    machine.up("a");
    let said = machine.hubcap(None, &["unset", "podman"]);
    assert!(machine.is_wired() && said.contains("GITHUB_JOB=a"), "{said}");
    machine.hubcap(Some("a"), &["down"]);
    assert_eq!(tree(&machine.containers()), before);
    assert_eq!(hubcap.wait(), Some(0));
}

#[test]
fn unset_and_then_down_end_the_daemon() {
    let machine = Machine::new();
    let hubcap = machine.serve();
    machine.hubcap(None, &["setup", "podman"]);
    machine.hubcap(None, &["unset", "podman"]);
    assert!(!machine.is_wired());
    assert!(machine.hubcap(None, &["down"]).contains("the daemon is stopped"));
    assert_eq!(hubcap.wait(), Some(0));
}

#[test]
fn force_ends_what_others_need() {
    let machine = Machine::new();
    let before = tree(&machine.containers());
    machine.up("a");
    machine.hubcap(None, &["setup", "podman"]);
    std::fs::write(machine.place.state().join("holders.json"), "damaged").expect("written");
    let output = machine.run(None, &["down"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("--force"), "{}", said(&output));
    machine.hubcap(None, &["down", "--force"]);
    assert_eq!(tree(&machine.containers()), before);
    assert!(!machine.runs());
    assert!(!machine.place.state().join("holders.json").exists());
}

#[test]
fn a_job_whose_runner_was_killed_holds_nothing() {
    let machine = Machine::new();
    let before = tree(&machine.containers());
    // GitHub's runner has one such process for each job.
    let worker = machine.place.dir.path().join("Runner.Worker");
    install("/bin/bash", &worker);
    let up = machine.command(Some("killed"), &UP);
    let mut killed = Command::new(worker);
    killed.arg("-c").arg("\"$@\"; exit 0").arg("sh").arg(up.get_program()).args(up.get_args()).env_clear();
    killed.envs(up.get_envs().filter_map(|(name, value)| Some((name, value?))));
    assert!(killed.output().expect("it starts").status.success());
    assert!(machine.is_wired() && machine.runs(), "hubcap outlives the step");
    machine.up("next");
    let said = machine.hubcap(Some("next"), &["down"]);
    assert!(said.contains("the daemon is stopped"), "{said}");
    assert_eq!(tree(&machine.containers()), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_of_systemd_is_left_to_systemd() {
    let machine = Machine::new();
    let serve = machine.place.serve("http://127.0.0.1:9", &[]);
    let mut service = program("sh");
    service.args(["-c", "export SYSTEMD_EXEC_PID=$$; exec \"$@\"", "sh"]).arg(serve.get_program());
    service.args(serve.get_args()).env_clear();
    service.envs(serve.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let hubcap = Hubcap::spawn(service);
    eventually("its run", || machine.place.state().join("run.json").exists()).await;
    machine.up("a");
    let said = machine.hubcap(Some("a"), &["down"]);
    assert!(said.contains("systemctl stop") && machine.runs() && !machine.is_wired(), "{said}");
    drop(hubcap);
}

#[test]
fn a_client_of_another_hubcap_is_not_taken_away_from_it_while_it_runs() {
    let machine = Machine::new();
    let before = tree(&machine.containers());
    machine.up("a");
    let wired = tree(&machine.containers());
    let second = |words: &[&str]| {
        let mut command = command(machine.place.dir.path());
        let dir = machine.place.dir.path().join("second");
        command.args(words).arg("--store").arg(dir.join("store")).arg("--state").arg(dir.join("state"));
        command.stdin(Stdio::null()).output().expect("hubcap starts")
    };
    let output = second(&UP);
    assert!(said(&output).contains("is configured for another hubcap, which runs on 127.0.0.1:"));
    assert_eq!(tree(&machine.containers()), wired, "{}", said(&output));
    let output = second(&["setup", "podman"]);
    assert!(!output.status.success() && said(&output).contains("Share that one"), "{}", said(&output));
    assert!(second(&["down"]).status.success());
    assert_eq!(tree(&machine.containers()), wired);
    machine.hubcap(Some("a"), &["down"]);
    assert_eq!(tree(&machine.containers()), before);
}

#[test]
fn another_users_state_is_refused_with_the_way_out() {
    let machine = Machine::new();
    machine.up("a");
    let user = User::new();
    let place = machine.place.dir.path();
    install(env!("CARGO_BIN_EXE_hubcap"), place.join("hubcap"));
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(place, mode).expect("a mode");
    for words in [["up", "--client", "podman"].as_slice(), &["down"]] {
        let mut command = user.command(place.join("hubcap").to_str().expect("text"));
        command.env("HOME", place.join("elsewhere")).args(words).arg("--state").arg(machine.place.state());
        let output = command.arg("--store").arg(machine.place.store()).output().expect("hubcap starts");
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains("belongs to the user 0"), "{}", said(&output));
    }
    assert!(machine.is_wired() && machine.runs());
    remove(place);
}

/// A service, as docs/workflows/hubcap.service has it.
#[test]
fn root_uses_a_daemon_of_another_user_and_does_not_end_it() {
    let (machine, user) = (Machine::new(), User::new());
    let (place, state, store) = (machine.place.dir.path(), machine.place.state(), machine.place.store());
    install(env!("CARGO_BIN_EXE_hubcap"), place.join("hubcap"));
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(place, mode).expect("a mode");
    for dir in [&state, &store] {
        std::fs::create_dir_all(dir).expect("made");
        user.owns(dir);
    }
    let mut serve = user.command(place.join("hubcap").to_str().expect("text"));
    serve.args(["serve", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]);
    serve.args(["--upstream", "docker.io=http://127.0.0.1:9"]);
    serve.arg("--state").arg(&state).arg("--store").arg(&store);
    serve.env("HOME", &state).env("XDG_RUNTIME_DIR", &state);
    let daemon = Hubcap::spawn(serve);
    machine.hubcap(None, &["setup", "podman"]);
    assert!(machine.is_wired());
    machine.hubcap(None, &["unset", "podman"]);
    assert!(!machine.is_wired());
    for words in [["down"].as_slice(), &["down", "--force", "--trim=true"]] {
        let output = machine.run(None, words);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains("run this command as that user"), "{}", said(&output));
        assert!(machine.runs(), "{}", said(&output));
    }
    drop(daemon);
    remove(place);
}

#[test]
fn root_empties_no_store_because_another_users_run_names_it() {
    let machine = Machine::new();
    let (state, theirs) = (machine.place.state(), machine.place.dir.path().join("theirs"));
    std::fs::create_dir_all(&state).expect("made");
    let file = theirs.join("blobs/mine/file");
    std::fs::create_dir_all(theirs.join("blobs/mine")).expect("made");
    std::fs::write(&file, "theirs").expect("written");
    let run = format!(
        r#"{{"started":1,"pid":1,"store":"{}","listen":null,"http-listen":null,"key":null}}"#,
        theirs.display()
    );
    std::fs::write(state.join("run.json"), run).expect("written");
    chown(state.join("run.json"), Some(65_534), None).expect("given away");
    for words in [["down", "--trim=false"], ["down", "--trim=true"], ["trim", "--used-in-this-run"]] {
        let output = machine.run(None, &words);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains("it is of the user 65534"), "{}", said(&output));
        assert!(file.exists(), "{}", said(&output));
    }
}

fn remove(place: &Path) {
    let _ = std::fs::remove_file(place.join("hubcap"));
}
