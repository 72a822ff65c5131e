//! The job as its user has it, with nothing played but GitHub: the action from its first to its last step as a user who
//! is not root, its own hubcap, Debian's dockerd, a real registry, and the real @actions/cache.

mod summary;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use crate::real::{layout, push};
use crate::support::actions_cache::ActionsCache;
use crate::support::programs::{Dockerd, Registry, install};
use crate::support::runner::{Ended, Job};
use crate::support::user::User;

const IMAGE: &str = "library/it:1";
/// As somebody wrote it, with what hubcap does not know.
const DAEMON_JSON: &str = "{\n\t\"log-level\": \"warn\",\n    \"labels\": [ \"kept=as it is\" ]\n}\n";

/// GitHub, as far as a job sees it: new machines, the cache, and somewhere a registry.
struct Github {
    dir: tempfile::TempDir,
    cache: ActionsCache,
    registry: Registry,
    user: User,
}

/// A new machine with its dockerd, and the job that it was made for.
struct Machine {
    job: Job,
    dockerd: Dockerd,
    docker: PathBuf,
}

impl Github {
    fn new(user: User) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).expect("a mode");
        install(env!("CARGO_BIN_EXE_hubcap"), dir.path().join("hubcap"));
        let registry = Registry::start(dir.path());
        push(&registry, &layout(dir.path()), (IMAGE, "v2s2"));
        let cache = ActionsCache::start();
        Self { dir, cache, registry, user }
    }

    /// The first one has to install the action's library; that takes seconds, so the others have it already.
    fn machine(&self, name: &str) -> Machine {
        let (home, docker) = (self.dir.path().join(name), self.dir.path().join(format!("{name}-docker")));
        for directory in [&home, &docker] {
            std::fs::create_dir(directory).expect("a directory");
        }
        let dockerd = Dockerd::start_with(&docker, DAEMON_JSON, &["--group", &self.user.name]);
        let mut job = Job::new(&home, &self.cache.url).owned_by(&self.user.name);
        if name != "first" {
            job = job.installed();
        }
        job.env("DOCKER_HOST", dockerd.host());
        job.env("HUBCAP_LISTEN", "127.0.0.1:0");
        job.input("version", self.dir.path().join("hubcap").to_str().expect("text"));
        job.input("upstreams", &format!("docker.io=http://127.0.0.1:{}", self.registry.port));
        job.input("certs-dir", docker.join("certs.d").to_str().expect("text"));
        Machine { job, dockerd, docker }
    }
}

impl Machine {
    /// What dockerd reads, as text; the files of certs.d by their names.
    fn wiring(&self) -> (String, Vec<String>) {
        let daemon_json = std::fs::read_to_string(self.docker.join("daemon.json")).expect("it is there");
        let certs = Command::new("find")
            .arg(self.docker.join("certs.d"))
            .args(["-type", "f"])
            .output()
            .expect("find");
        (daemon_json, String::from_utf8_lossy(&certs.stdout).lines().map(Into::into).collect())
    }

    fn unwired(&self) -> bool {
        self.wiring() == (DAEMON_JSON.to_owned(), Vec::new())
    }

    /// The job's own step.
    fn pull(&mut self) {
        let ended =
            self.job.run(&format!("docker pull --quiet {IMAGE}\ndocker run --rm --network=none {IMAGE}"));
        assert!(ended.success && ended.log.contains("hello from the store"), "{}", ended.log);
    }
}

fn fine(ended: &Ended) {
    assert!(ended.success && ended.warnings().is_empty(), "{}", ended.log);
}

#[test]
fn the_second_job_pulls_without_the_origin_and_an_unchanged_one_saves_nothing() {
    let github = Github::new(User::with_sudo());
    let before = github.registry.blobs_served();
    let mut first = github.machine("first");
    first.job.input("images", IMAGE);
    let began = first.job.main();
    fine(&began);
    assert_eq!(began.output("cache-hit"), "false");
    assert!(!first.unwired(), "dockerd has a mirror");
    first.pull();
    let ended = first.job.post("success");
    fine(&ended);
    assert!(first.unwired(), "{:?}", first.wiring());
    assert_eq!(ended.output("changed"), "true");
    assert!(!ended.summary.is_empty());
    let served = github.registry.blobs_served();
    assert_eq!(served - before, 4, "three layers and the configuration, once each");
    assert_eq!(github.cache.saved().len(), 1, "{}", ended.log);
    drop(first);

    for name in ["second", "third"] {
        let mut machine = github.machine(name);
        let began = machine.job.main();
        fine(&began);
        assert_eq!(began.output("cache-hit"), "true");
        assert!(began.log.contains("begins with hubcap-linux-x64-"), "{}", began.log);
        machine.pull();
        let ended = machine.job.post("success");
        fine(&ended);
        assert!(machine.unwired(), "{:?}", machine.wiring());
        assert_eq!(ended.output("changed"), "false");
        assert_ne!(ended.output("bytes"), "0");
        assert_ne!(ended.output("hits"), "0");
        assert_eq!(github.registry.blobs_served(), served, "{name}: a blob came from the origin");
        assert_eq!(github.cache.asked_to_save(), 1, "{name}: an unchanged store is not archived");
    }
}

#[test]
fn dockerd_is_configured_while_the_cache_is_asked() {
    let github = Github::new(User::with_sudo());
    let mut machine = github.machine("second");
    github.cache.hold(true);
    let began = std::thread::scope(|scope| {
        let job = &mut machine.job;
        let beginning = scope.spawn(|| job.main());
        let file = machine.docker.join("daemon.json");
        while !beginning.is_finished() && std::fs::read_to_string(&file).expect("there") == DAEMON_JSON {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        github.cache.hold(false);
        beginning.join().expect("no panic")
    });
    fine(&began);
    let at = |words: &str| began.log.find(words).unwrap_or_else(|| panic!("{words}: {}", began.log));
    assert!(at("proved with a pull") < at("begins with nothing"), "{}", began.log);
    fine(&machine.job.post("success"));
}

#[test]
fn a_cancelled_job_leaves_dockerd_as_it_was_and_its_store_for_the_next_one() {
    let github = Github::new(User::with_sudo());
    let mut first = github.machine("first");
    fine(&first.job.main());
    first.pull();
    let ended = first.job.post("cancelled");
    fine(&ended);
    assert!(first.unwired(), "{:?}", first.wiring());
    assert_eq!(github.cache.saved().len(), 1);
    // Without hubcap and without a way to Docker Hub it is still a dockerd.
    assert!(first.dockerd.docker(&["image", "inspect", IMAGE]).contains("sha256:"));
    let mut second = github.machine("second");
    assert_eq!(second.job.main().output("cache-hit"), "true");
}

#[test]
fn a_misspelled_image_is_one_warning_with_its_reason_and_the_others_are_fetched() {
    let github = Github::new(User::with_sudo());
    let mut machine = github.machine("first");
    machine.job.input("images", &format!("Bad:::x\n{IMAGE}"));
    fine(&machine.job.main());
    fine(&machine.job.run("until grep -q '^total:' $RUNNER_TEMP/hubcap-pull.log; do sleep 0.05; done"));
    assert_eq!(github.registry.blobs_served(), 4);
    let ended = machine.job.post("success");
    let [warning] = ended.warnings().try_into().expect("one warning");
    assert!(warning.contains("the image Bad:::x of the input images was not fetched: "), "{}", ended.log);
    assert!(ended.success && machine.unwired(), "{}", ended.log);
}

#[test]
fn a_user_without_sudo_is_told_which_file_cannot_be_written_and_dockerd_pulls_as_before() {
    let github = Github::new(User::new());
    let mut machine = github.machine("first");
    let began = machine.job.main();
    let [warning] = began.warnings().try_into().expect("one warning");
    assert!(warning.contains("dockerd was left as it was") && warning.contains("sudo"), "{}", began.log);
    assert!(began.success && machine.unwired(), "{}", began.log);
    let ended = machine.job.post("success");
    fine(&ended);
    assert_eq!((ended.output("changed"), machine.unwired()), ("false", true), "{}", ended.log);
}

#[test]
fn a_store_elsewhere_needs_no_place_in_the_workspace_and_the_next_job_hits() {
    let github = Github::new(User::with_sudo());
    for (name, hit) in [("first", "false"), ("second", "true")] {
        let mut machine = github.machine(name);
        machine.job.input("store", "~/hubcap");
        let before = github.registry.blobs_served();
        let began = machine.job.main();
        fine(&began);
        assert_eq!(began.output("cache-hit"), hit);
        machine.pull();
        fine(&machine.job.post("success"));
        assert_eq!(github.registry.blobs_served() == before, hit == "true");
        assert!(machine.job.home().join("hubcap/oci-layout").exists());
        assert!(!machine.job.workspace().join(".hubcap").exists());
    }
}

#[test]
fn a_dockerfile_in_the_workspace_without_a_dockerignore_is_warned_of() {
    let github = Github::new(User::with_sudo());
    let mut machine = github.machine("first");
    machine.job.env("GITHUB_REPOSITORY", "me/it");
    fine(&machine.job.run("git init --quiet; touch Dockerfile"));
    let began = machine.job.main();
    let [warning] = began.warnings().try_into().expect("one warning");
    assert!(warning.contains("Add the line .hubcap to .dockerignore"), "{}", began.log);
    fine(&machine.job.post("success"));
    let mut machine = github.machine("second");
    machine.job.env("GITHUB_REPOSITORY", "me/it");
    fine(&machine.job.run("git init --quiet; touch Dockerfile; echo .hubcap >.dockerignore"));
    fine(&machine.job.main());
    fine(&machine.job.post("success"));
}
