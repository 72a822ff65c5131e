//! The GitHub action: its real code in the runner's node, with the real @actions/cache, beside a stand-in of GitHub's
//! cache service; only hubcap is played.

mod store;
mod trouble;

use std::path::{Path, PathBuf};

use hubcap_oci::{Algorithm, Digest};
use tempfile::TempDir;

use crate::support::actions_cache::{ActionsCache, MAIN};
use crate::support::disk::SmallDisk;
use crate::support::noise;
use crate::support::programs::install;
use crate::support::runner::{Ended, Job, nodes};

mod release;

/// A cache service, a played hubcap, and machines for jobs.
struct Github {
    dir: TempDir,
    cache: ActionsCache,
    machines: usize,
}

impl Github {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let cache = ActionsCache::start();
        let fake = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/job/fake-hubcap");
        std::fs::create_dir(dir.path().join("bin")).expect("a directory");
        install(fake, dir.path().join("bin/hubcap"));
        Self { dir, cache, machines: 0 }
    }

    fn hubcap(&self, file: &str) -> PathBuf {
        self.dir.path().join("bin").join(file)
    }

    /// A job on a new machine, on which the action's library is installed already: that takes seconds.
    fn job(&mut self) -> Job {
        self.bare_job().installed()
    }

    /// A job on a new machine.
    fn bare_job(&mut self) -> Job {
        self.machines += 1;
        let machine = self.dir.path().join(format!("machine-{}", self.machines));
        std::fs::create_dir(&machine).expect("a directory");
        let mut job = Job::new(&machine, &self.cache.url);
        job.input("version", self.hubcap("hubcap").to_str().expect("text"));
        // The played hubcap has no contents to carry.
        job.input("carry", "archive");
        job
    }

    /// How hubcap was called since the last time somebody asked.
    fn calls(&self) -> Vec<String> {
        let calls = std::fs::read_to_string(self.hubcap("calls")).unwrap_or_default();
        let _ = std::fs::remove_file(self.hubcap("calls"));
        calls.lines().map(Into::into).collect()
    }
}

/// As dockerd's pull would leave it.
fn pull(job: &Job, blob: &str) {
    std::fs::write(job.workspace().join(".hubcap/blobs/sha256").join(blob), noise(300_000, 7))
        .expect("written");
}

fn stored(job: &Job, blob: &str) -> bool {
    std::fs::read(job.workspace().join(".hubcap/blobs/sha256").join(blob))
        .is_ok_and(|it| it == noise(300_000, 7))
}

/// What hubcap is told of the seconds of the action's two steps.
fn seconds_of_steps(call: &str) -> (f64, f64) {
    let option = |name: &str| {
        let value = call.split(' ').find_map(|word| word.strip_prefix(name));
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name} in {call}"))
    };
    assert!(call.starts_with("summary "), "{call}");
    (option("--start="), option("--end="))
}

/// A step that neither fails the job nor warns.
fn fine(ended: &Ended) {
    assert!(ended.success && ended.warnings().is_empty(), "{}", ended.log);
}

/// A step that does not fail the job, and puts one warning on its page. The warning.
fn warned(ended: &Ended) -> &str {
    let warnings = ended.warnings();
    assert!(ended.success && warnings.len() == 1, "{}", ended.log);
    warnings[0]
}

#[test]
fn a_store_is_carried_to_the_next_job_and_saved_only_when_it_has_changed() {
    for node in nodes() {
        let mut github = Github::new();
        let mut first = github.bare_job().with_node(&node);
        first.input("images", "alpine:3\nghcr.io/org/app:1");
        first.input("upstreams", "ghcr.io=https://ghcr.io");
        first.input("max-size", "5GiB");
        let began = first.main();
        fine(&began);
        assert_eq!(began.output("cache-hit"), "false");
        let store = first.workspace().join(".hubcap");
        let up = format!("up --store {} --max-size=5GiB --upstream=ghcr.io=https://ghcr.io", store.display());
        let fill = format!("pull --store {} -- alpine:3 ghcr.io/org/app:1", store.display());
        // The images come in beside the job's next steps.
        first
            .run(&format!("until grep -q '^pull' {}; do sleep 0.05; done", github.hubcap("calls").display()));
        assert_eq!(github.calls(), [up, fill]);
        pull(&first, "one");
        let ended = first.post("success");
        fine(&ended);
        let [down, summary] = github.calls().try_into().expect("two calls");
        assert!(
            down.starts_with(&format!("down --store {} --trim=true --report=", store.display())),
            "{down}"
        );
        assert_eq!((ended.output("changed"), ended.output("bytes")), ("true", "12345"));
        assert_eq!((ended.output("hits"), ended.output("bytes-saved")), ("5", "12345"));
        assert_eq!(ended.output("seconds-saved"), "7");
        let (start, end) = seconds_of_steps(&summary);
        assert!(start > 0.0 && end > 0.0, "{summary}");
        assert_eq!(ended.summary, "a summary\n");
        let [key] = github.cache.saved().try_into().expect("one entry");
        assert!(key.starts_with("hubcap-linux-x64-played-in-a-test-it@"), "{key}");

        let mut second = github.job().with_node(&node);
        let began = second.main();
        fine(&began);
        assert_eq!(began.output("cache-hit"), "true");
        assert!(stored(&second, "one"));
        github.calls();
        let ended = second.post("success");
        fine(&ended);
        assert_eq!(ended.output("changed"), "false");
        assert_eq!(github.cache.asked_to_save(), 1, "an unchanged store is not archived");

        let mut third = github.job().with_node(&node);
        fine(&third.main());
        pull(&third, "two");
        fine(&third.post("success"));
        assert_eq!(github.cache.saved().len(), 2);

        let mut fourth = github.job().with_node(&node);
        fine(&fourth.main());
        assert!(stored(&fourth, "one") && stored(&fourth, "two"), "the newest is restored");
    }
}

#[test]
fn a_store_of_images_that_change_back_is_saved_again_so_that_the_next_job_hits() {
    let mut github = Github::new();
    for (blob, hits) in [("a", false), ("b", false), ("a", false), ("a", true)] {
        let mut job = github.job();
        fine(&job.main());
        assert_eq!(stored(&job, blob), hits);
        // As trimming leaves it.
        let blobs = job.workspace().join(".hubcap/blobs/sha256");
        std::fs::remove_dir_all(&blobs).and_then(|()| std::fs::create_dir(&blobs)).expect("empty");
        pull(&job, blob);
        let saved = github.cache.saved().len();
        let ended = job.post("success");
        fine(&ended);
        assert_eq!(github.cache.saved().len() - saved, usize::from(!hits), "{}", ended.log);
    }
}

#[test]
fn another_image_store_is_asked_for_with_a_restart_there_and_back() {
    let mut github = Github::new();
    let mut job = github.job();
    job.input("image-store", "containerd");
    fine(&job.main());
    fine(&job.post("success"));
    let store = job.workspace().join(".hubcap");
    let up = format!("up --store {} --restart --image-store=containerd", store.display());
    let down = format!("down --store {} --restart --trim=true --report=", store.display());
    let calls = github.calls();
    assert!(calls[0] == up && calls[1].starts_with(&down), "{calls:?}");
}

#[test]
fn nothing_is_restarted_at_the_end_on_a_machine_that_is_thrown_away() {
    let mut github = Github::new();
    for (environment, flag) in [("github-hosted", "--no-restart"), ("self-hosted", "--restart")] {
        let mut job = github.job();
        job.env("RUNNER_ENVIRONMENT", environment);
        job.input("image-store", "containerd");
        fine(&job.main());
        fine(&job.post("success"));
        let store = job.workspace().join(".hubcap");
        let calls = github.calls();
        let up = format!("up --store {} --restart --image-store", store.display());
        let down = format!("down --store {} {flag} --trim", store.display());
        assert!(calls[0].starts_with(&up) && calls[1].starts_with(&down), "{calls:?}");
    }
}

#[test]
fn the_differ_is_asked_for_at_the_start_alone() {
    let mut github = Github::new();
    for (unpack, flag) in [("true", " --unpack"), ("false", "")] {
        let mut job = github.job();
        job.input("unpack", unpack);
        fine(&job.main());
        fine(&job.post("success"));
        let calls = github.calls();
        assert_eq!(calls[0], format!("up --store {}{flag}", job.workspace().join(".hubcap").display()));
        assert!(calls.iter().skip(1).all(|call| !call.contains("--unpack")), "{calls:?}");
    }
}

#[test]
fn no_line_that_hubcap_tells_of_an_image_is_a_command_to_the_runner() {
    let mut github = Github::new();
    let mut job = github.job();
    job.input("images", "::stop-commands::x --config=/etc/passwd");
    fine(&job.main());
    job.run("until grep -q config= $RUNNER_TEMP/hubcap-pull.log; do sleep 0.05; done");
    let calls = github.calls();
    assert!(calls[1].ends_with(" -- ::stop-commands::x --config=/etc/passwd"), "{calls:?}");
    let ended = job.post("success");
    fine(&ended);
    let told = |line: &str| line.contains("stop-commands") && !line.starts_with("| ");
    assert!(ended.log.contains("| ::stop-commands::x") && !ended.log.lines().any(told), "{}", ended.log);
}

#[test]
fn no_key_of_an_entry_of_the_cache_is_a_command_to_the_runner_or_an_escape_sequence() {
    let mut github = Github::new();
    let mut job = github.job();
    let key = "hubcap-linux-x64-played-in-a-test-it@AAAA\n::add-mask::pwn\n##[stop-commands]x\x1b[2J\u{202e}\u{2066}-1.1";
    // As the action names the path and the packing.
    let version = Digest::of(Algorithm::Sha256, b".hubcap|zstd-without-long|1.0").hex();
    let archive = zstd::encode_all([0; 1024].as_slice(), 1).expect("an archive of nothing");
    github.cache.put(MAIN, (key, &version), archive);
    let began = job.main();
    fine(&began);
    let told: Vec<&str> = began.log.lines().filter(|line| line.contains("add-mask")).collect();
    let line = "hubcap: restoring, beside the job, hubcap-linux-x64-played-in-a-test-it@AAAA ::add-mask::pwn # #[stop-commands]x [2J  -1.1";
    assert_eq!(told, [line], "{}", began.log);
}

#[test]
fn nothing_that_the_library_says_of_an_entry_is_a_command_to_the_runner_or_an_escape_sequence() {
    let mut github = Github::new();
    let mut job = github.job();
    fine(&job.main());
    pull(&job, "one");
    let key =
        "hubcap-linux-x64-played-in-a-test-it@AAAA\n::add-mask::pwn\r##[stop-commands]pwn\x1b[2J\u{202e}-1.1";
    let version = Digest::of(Algorithm::Sha256, b".hubcap|zstd-without-long|1.0").hex();
    let archive = zstd::encode_all([0; 1024].as_slice(), 1).expect("an archive of nothing");
    github.cache.put(MAIN, (key, &version), archive);
    let ended = job.post("success");
    fine(&ended);
    assert_eq!(github.cache.asked_to_save(), 1);
    let told = |line: &&str| line.contains("pwn") && !line.starts_with("::debug::");
    let told: Vec<&str> = ended.log.lines().filter(told).collect();
    assert_eq!(told, ["| ::add-mask::pwn # #[stop-commands]pwn [2J -1.1"], "{}", ended.log);
    // What the library itself tells the runner still is one.
    assert!(ended.log.lines().any(|line| line.starts_with("::add-mask::")), "{}", ended.log);
}

#[test]
fn no_reason_of_a_failure_is_a_command_to_the_runner_within_its_warning() {
    let mut github = Github::new();
    let mut job = github.job();
    job.input("version", "./not/##[add-mask]here\n::add-mask::pwn\x1b[2J%0A");
    let began = job.main();
    let told = warned(&began);
    assert!(told.contains("./not/# #[add-mask]here ::add-mask::pwn [2J%250A"), "{}", began.log);
}

#[test]
fn a_job_that_failed_or_was_cancelled_saves_what_it_pulled_and_trims_nothing() {
    let mut github = Github::new();
    for (status, blob) in [("failure", "one"), ("cancelled", "two")] {
        let mut job = github.job();
        fine(&job.main());
        pull(&job, blob);
        github.calls();
        fine(&job.post(status));
        let down = format!("down --store {} --trim=false", job.workspace().join(".hubcap").display());
        assert!(github.calls()[0].starts_with(&down));
    }
    assert_eq!(github.cache.saved().len(), 2);
}

#[test]
fn a_job_restores_its_own_key_and_not_one_that_only_begins_like_it() {
    let mut github = Github::new();
    for (key, blob) in [("sdk", "one"), ("sdk-arm", "two")] {
        let mut job = github.job();
        job.input("key", key);
        fine(&job.main());
        pull(&job, blob);
        fine(&job.post("success"));
    }
    let mut job = github.job();
    job.input("key", "sdk");
    fine(&job.main());
    assert!(stored(&job, "one") && !stored(&job, "two"));
}

#[test]
fn a_job_that_may_not_write_the_cache_reads_it_and_goes_on() {
    let mut github = Github::new();
    let mut job = github.job();
    fine(&job.main());
    pull(&job, "one");
    fine(&job.post("success"));

    let mut outsider = github.job();
    outsider.env("ACTIONS_RUNTIME_TOKEN", "main:read");
    fine(&outsider.main());
    assert!(stored(&outsider, "one"));
    pull(&outsider, "two");
    let ended = outsider.post("success");
    assert!(ended.success && ended.log.contains("the store is not saved"), "{}", ended.log);
    assert_eq!(github.cache.saved().len(), 1);

    let mut reader = github.job();
    reader.input("save", "false");
    fine(&reader.main());
    pull(&reader, "two");
    fine(&reader.post("success"));
    assert_eq!(github.cache.asked_to_save(), 2, "nobody asks who may not");
}

#[test]
fn a_step_of_the_jobs_own_may_call_down_first_and_the_store_is_saved_all_the_same() {
    let mut github = Github::new();
    let mut job = github.job();
    fine(&job.main());
    pull(&job, "one");
    let ended = job.run("hubcap down --store \"$GITHUB_WORKSPACE/.hubcap\" --trim");
    fine(&ended);
    assert_eq!(ended.output("changed"), "true");
    std::fs::write(github.hubcap("before"), "one\n").expect("written");
    let ended = job.post("success");
    fine(&ended);
    assert_eq!(ended.output("changed"), "false", "the second down has nothing to tell");
    assert_eq!(github.cache.saved().len(), 1);
}

#[test]
fn two_jobs_with_the_same_content_save_it_once() {
    let mut github = Github::new();
    let mut jobs = [github.job(), github.job()];
    for job in &mut jobs {
        fine(&job.main());
        pull(job, "one");
    }
    for job in &mut jobs {
        fine(&job.post("success"));
    }
    assert_eq!(github.cache.asked_to_save(), 1);
}

#[test]
fn the_job_goes_on_whatever_fails() {
    let mut github = Github::new();

    // No library: restoring does not need it, and what is new is not saved.
    let mut job = github.bare_job();
    job.env("npm_config_cache", "/nonexistent");
    fine(&job.main());
    assert!(github.calls()[0].starts_with("up "));
    pull(&job, "one");
    let ended = job.post("success");
    assert!(ended.success && ended.warnings().len() == 1, "{}", ended.log);
    assert!(ended.log.contains("the store is not saved"), "{}", ended.log);

    // No service.
    let mut job = github.job();
    job.env("ACTIONS_RESULTS_URL", "http://127.0.0.1:9/");
    let began = job.main();
    assert!(began.success && !began.warnings().is_empty(), "{}", began.log);
    assert!(
        began.log.contains("restoring with @actions/cache, because"),
        "the library is asked instead: {}",
        began.log
    );
    pull(&job, "one");
    assert!(job.post("success").success);
    github.calls();

    // No hubcap: there is nothing to undo either.
    let mut job = github.job();
    job.input("version", "./not/here");
    let began = job.main();
    assert!(
        warned(&began).contains("the input version is \"./not/here\", and there is no file"),
        "{}",
        began.log
    );
    let ended = job.post("success");
    fine(&ended);
    assert_eq!(ended.output("changed"), "false");
    assert_eq!(github.calls(), Vec::<String>::new());

    // hubcap that does not start: what it may have wired is unwired at once, not when the job ends.
    let mut job = github.job();
    job.env("FAKE_UP_FAILS", "1");
    job.run("mkdir -p .hubcap/blobs/sha256; touch .hubcap/oci-layout");
    let began = job.main();
    let why = "the job goes on without it: hubcap up ended with exit code 1: the fake one does not start";
    assert!(warned(&began).ends_with(why), "{}", began.log);
    let calls = github.calls();
    assert!(calls[0].starts_with("up ") && calls[1].starts_with("down "), "{calls:?}");
    fine(&job.post("success"));
    assert!(github.cache.saved().is_empty());
}

#[test]
fn a_key_that_cannot_be_one_is_told_and_costs_only_the_cache() {
    let mut github = Github::new();
    let mut job = github.job();
    job.input("key", "sdk, arm");
    let began = job.main();
    assert!(began.success && began.warnings()[0].contains("has a comma or an @ in it"), "{}", began.log);
    assert!(github.calls()[0].starts_with("up "));
}

#[test]
fn hubcap_gets_none_of_the_jobs_tokens() {
    let mut github = Github::new();
    let mut job = github.job();
    job.env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "secret");
    fine(&job.main());
    let environment = std::fs::read_to_string(github.hubcap("environment")).expect("it ran");
    assert!(environment.contains("GITHUB_WORKSPACE="), "{environment}");
    assert!(!environment.contains("TOKEN"), "{environment}");
}

#[test]
fn hubcap_itself_carries_contents_and_up_alone_gets_the_token_for_that() {
    let mut github = Github::new();
    let mut job = github.job();
    job.input("carry", "contents");
    job.input("matrix", r#"{ "image": "sdk" }"#);
    fine(&job.main());
    let environment = || {
        std::fs::read_to_string(github.hubcap("environment")).expect("it ran").contains("RUNTIME_TOKEN=main")
    };
    assert!(environment());
    let calls = github.calls();
    let keys: Vec<&str> = calls[0].split(' ').filter_map(|word| word.strip_prefix("--cache-key=")).collect();
    let [leg, job_key] = keys.try_into().expect("two keys");
    assert_eq!(job_key, "hubcap-linux-x64-played-in-a-test-it");
    assert!(leg.starts_with(job_key) && leg.len() == job_key.len() + 13, "{leg}");
    pull(&job, "one");
    fine(&job.post("success"));
    assert!(!environment());
    assert_eq!(github.cache.asked_to_save(), 0, "no archive is made");
}

#[test]
fn legs_of_a_matrix_have_keys_of_their_own_and_a_key_that_is_given_is_shared() {
    let mut github = Github::new();
    let mut keys = |matrix: &str, key: &str| {
        let mut job = github.job();
        job.input("carry", "contents");
        job.input("matrix", matrix);
        job.input("key", key);
        fine(&job.main());
        let calls = github.calls();
        calls[0]
            .split(' ')
            .filter(|word| word.starts_with("--cache-key="))
            .map(Into::into)
            .collect::<Vec<String>>()
    };
    let (one, other) = (keys(r#"{"a": 1}"#, ""), keys(r#"{"a": 2}"#, ""));
    assert!(one[0] != other[0] && one[1] == other[1], "{one:?} {other:?}");
    assert_eq!(keys("null", ""), [one[1].clone()]);
    assert_eq!(keys(r#"{"a": 1}"#, "sdk"), ["--cache-key=sdk"]);
}

#[test]
fn a_store_whose_archive_has_no_room_is_not_saved() {
    let mut github = Github::new();
    let mut job = github.job();
    let temp = job.temp();
    let _disk = SmallDisk::mount(&temp, 64);
    fine(&job.main());
    pull(&job, "one");
    let ended = job.post("success");
    fine(&ended);
    assert!(
        ended.log.contains("::notice title=hubcap::the store is not saved: its archive of about"),
        "{}",
        ended.log
    );
    assert_eq!(github.cache.asked_to_save(), 0);
}
