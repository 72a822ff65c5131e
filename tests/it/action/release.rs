//! How a release is made, and which of its archives the action runs.

use std::path::{Path, PathBuf};
use std::process::Command;

use tokio::net::TcpListener;

use super::{Github, fine, pull};
use crate::support::programs::{install_script, program, succeed};
use crate::support::runner::{Ended, Job};

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn archive_name() -> String {
    format!("hubcap-{}-unknown-linux-gnu.tar.gz", std::env::consts::ARCH)
}

/// Packs the played hubcap as a release; returns the directory of its assets.
fn packed(github: &Github) -> PathBuf {
    let assets = github.dir.path().join("assets");
    let target = archive_name().replace("hubcap-", "").replace(".tar.gz", "");
    succeed(Command::new(root(".github/release/pack")).arg(target).arg(&assets).arg(github.hubcap("hubcap")));
    assets
}

/// Serves these assets as the release of every version, until it is dropped.
struct Releases {
    url: String,
    serving: tokio::task::JoinHandle<()>,
}

impl Releases {
    async fn serve(assets: &Path) -> Self {
        let assets = assets.to_path_buf();
        let answer = async move |request: http::Request<axum::body::Body>| {
            let path = request.uri().path();
            let (release, name) = path.rsplit_once('/').expect("a path");
            assert!(release.starts_with("/org/hubcap/releases/download/v"), "{path}");
            std::fs::read(assets.join(name)).map_err(|_| http::StatusCode::NOT_FOUND)
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let serving = tokio::spawn(async move {
            axum::serve(listener, axum::Router::new().fallback(answer)).await.expect("a server");
        });
        Self { url, serving }
    }

    /// Runs the action's step with this input `version`. Whether the release's hubcap ran, and how the step ended.
    fn run(&self, job: &mut Job, version: &str) -> (bool, Ended) {
        job.input("version", version);
        job.env("GITHUB_SERVER_URL", &self.url);
        job.env("GITHUB_ACTION_REPOSITORY", "org/hubcap");
        let ended = tokio::task::block_in_place(|| job.main());
        assert!(ended.success, "the job goes on: {}", ended.log);
        // Where the binary is, the played hubcap writes its log.
        (job.temp().join("hubcap-bin/calls").exists(), ended)
    }
}

impl Drop for Releases {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn write_digests(job: &Job, digest: &str) {
    let digests = format!(r#"{{ "{VERSION}": {{ "{}": "{digest}" }} }}"#, archive_name());
    std::fs::write(job.action().join(".github/action/digests.json"), digests).expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_whose_digest_is_not_the_one_in_the_actions_checkout_does_not_run() {
    let mut github = Github::new();
    // The checksum beside it is right, as that of a release that somebody has changed.
    let releases = Releases::serve(&packed(&github)).await;
    let mut job = github.job();
    write_digests(&job, &"0".repeat(64));
    let (ran, ended) = releases.run(&mut job, "");
    assert!(!ran, "{}", ended.log);
    let [warning] = ended.warnings().try_into().expect("one warning");
    assert!(warning.contains("but this action's digests.json says 0000"), "{warning}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_action_at_a_releases_tag_runs_the_archive_of_the_release() {
    let mut github = Github::new();
    let assets = packed(&github);
    let repository = Repository::new(&github.dir.path().join("git"));
    let built = repository.git(&["rev-parse", "HEAD"]);
    repository.tag(&assets).expect("a release");
    let tag = format!("v{VERSION}");
    // So the workflow finds out which release to make.
    assert_eq!(repository.git(&["describe", "--tags", "--exact-match"]), tag);
    assert_eq!(
        repository.origin(&["rev-parse", &format!("{tag}^")]),
        built,
        "one commit more than was built"
    );
    assert_eq!(repository.origin(&["rev-parse", "main"]), repository.origin(&["rev-parse", &tag]));
    let digests = repository.origin(&["show", &format!("{tag}:.github/action/digests.json")]);

    let releases = Releases::serve(&assets).await;
    let mut job = github.job();
    std::fs::write(job.action().join(".github/action/digests.json"), digests).expect("written");
    // The checksum beside the archive is of no account.
    std::fs::remove_file(assets.join(format!("{}.sha256", archive_name()))).expect("removed");
    let (ran, ended) = releases.run(&mut job, "");
    fine(&ended);
    assert!(ran && !ended.log.contains("::notice"), "{}", ended.log);

    let again = repository.tag(&assets).expect_err("a version is released once");
    assert!(again.contains("is released already"), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_release_without_a_digest_in_the_checkout_the_action_says_what_is_not_checked() {
    let mut github = Github::new();
    let releases = Releases::serve(&packed(&github)).await;
    for version in ["v1.2.3", "1.2.3", ""] {
        let mut job = github.job();
        std::fs::write(job.action().join(".github/action/digests.json"), "{}").expect("written");
        let (ran, ended) = releases.run(&mut job, version);
        fine(&ended);
        assert!(ran, "{version}: {}", ended.log);
        let told = ended.log.matches("::notice title=hubcap::this action has no digest of hubcap").count();
        assert_eq!(told, 1, "{version}: {}", ended.log);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_does_not_run_with_another_checksum_than_its_release_tells() {
    let mut github = Github::new();
    let assets = packed(&github);
    std::fs::write(assets.join(format!("{}.sha256", archive_name())), format!("{}  x\n", "0".repeat(64)))
        .expect("written");
    let releases = Releases::serve(&assets).await;
    let (ran, ended) = releases.run(&mut github.job(), "0.9.0");
    assert!(!ran && ended.log.contains("but its .sha256 says 000"), "{}", ended.log);
}

#[test]
fn an_archive_has_the_licenses_of_hubcap_with_those_of_its_crates() {
    let github = Github::new();
    let assets = packed(&github);
    let archive = assets.join(archive_name());
    let names = succeed(program("tar").arg("-tzf").arg(&archive));
    assert_eq!(
        names.lines().collect::<Vec<_>>(),
        ["LICENSE-APACHE", "LICENSE-MIT", "THIRD-PARTY.txt", "hubcap"]
    );
    let others = succeed(program("tar").arg("-xzOf").arg(&archive).arg("THIRD-PARTY.txt"));
    assert!(others.contains("\nserde 1.") && others.contains("Permission is hereby granted"), "{others}");
    assert!(!others.contains("\nproptest "), "what only tests use is not in the program");
    let sbom = assets.join(archive_name().replace(".tar.gz", ".cdx.json"));
    let sbom: serde_json::Value = serde_json::from_slice(&std::fs::read(sbom).expect("read")).expect("JSON");
    let components = sbom["components"].as_array().expect("components");
    let rustls = components.iter().find(|one| one["name"] == "rustls").expect("rustls is in hubcap");
    assert_eq!(rustls["hashes"][0]["content"].as_str().map(str::len), Some(64));
}

#[test]
fn neither_cargo_nor_npm_gets_a_token_of_the_job_or_speaks_to_the_runner() {
    let mut github = Github::new();
    let tools = github.dir.path().join("tools");
    std::fs::create_dir(&tools).expect("a directory");
    let write = |name: &str, script: &str| {
        let path = tools.join(name);
        let told = "printf '::error::a\\n##[error]b\\n'; printf '::error::a\\n' >&2";
        let to = tools.join(format!("{name}.env"));
        let text = format!("#!/bin/sh\nenv >'{}'\n{told}\n{script}\n", to.display());
        install_script(path, &text);
    };
    let hubcap = github.hubcap("hubcap");
    write("cargo", &format!("mkdir -p target/release && cp '{}' target/release/hubcap", hubcap.display()));
    write("npm", "exit 1");
    let mut job = github.bare_job();
    job.input("version", "source");
    job.env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "secret");
    job.env("PATH", &format!("{}:{}", tools.display(), std::env::var("PATH").expect("a PATH")));
    let began = job.main();
    fine(&began);
    pull(&job, "one");
    let ended = job.post("success");
    for log in [&began.log, &ended.log] {
        assert!(log.contains("| ::error::a") && log.contains("| # #[error]b"), "{log}");
        assert!(!log.lines().any(|line| line.starts_with("::error") || line.contains("##[")), "{log}");
    }
    assert!(ended.log.contains("the store is not saved: npm ci ended with exit code 1"), "{}", ended.log);
    for name in ["cargo.env", "npm.env"] {
        let environment = std::fs::read_to_string(tools.join(name)).expect("it ran");
        assert!(environment.contains("RUNNER_TEMP="), "{environment}");
        assert!(!environment.contains("TOKEN") && !environment.contains("INPUT_"), "{name}: {environment}");
    }
}

/// A repository that has what a release needs of this one, and its origin.
struct Repository {
    work: PathBuf,
    origin: PathBuf,
}

impl Repository {
    fn new(directory: &Path) -> Self {
        let this = Self { work: directory.join("work"), origin: directory.join("origin") };
        for path in [this.work.join(".github/action"), this.work.join(".github/release"), this.origin.clone()]
        {
            std::fs::create_dir_all(path).expect("a directory");
        }
        for file in ["Cargo.toml", ".github/release/tag"] {
            std::fs::copy(root(file), this.work.join(file)).expect("copied");
        }
        std::fs::write(this.work.join(".github/action/digests.json"), "{}\n").expect("written");
        this.origin(&["init", "--quiet", "--bare", "--initial-branch=main"]);
        this.git(&["init", "--quiet", "--initial-branch=main"]);
        this.git(&["add", "."]);
        this.git(&[
            "-c",
            "user.name=x",
            "-c",
            "user.email=x@example.org",
            "commit",
            "--quiet",
            "--message=x",
        ]);
        this.git(&["remote", "add", "origin", &this.origin.display().to_string()]);
        this.git(&["push", "--quiet", "origin", "main"]);
        this
    }

    /// Calls the release's script, as the workflow does; returns what it says when it fails.
    fn tag(&self, assets: &Path) -> Result<(), String> {
        let output = Command::new(self.work.join(".github/release/tag")).arg(assets).arg("main").output();
        let output = output.expect("it starts");
        if output.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn git(&self, words: &[&str]) -> String {
        git(&self.work, words)
    }

    fn origin(&self, words: &[&str]) -> String {
        git(&self.origin, words)
    }
}

fn git(directory: &Path, words: &[&str]) -> String {
    succeed(program("git").env("GIT_CONFIG_GLOBAL", "/dev/null").arg("-C").arg(directory).args(words))
        .trim()
        .to_owned()
}
