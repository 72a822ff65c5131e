//! The referee: skopeo and dockerd are asked what they take of each situation, directly from the origin and through
//! hubcap. What they take directly they must get through hubcap, byte for byte.
//!
//! `tests/referee` runs this alone and shows the table.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::quirks::{REGISTRY, REPOSITORY, Situation, TAG, Wanted, kinds};
use crate::support::hubcap::Place;
use crate::support::image::sha256;
use crate::support::origin::Origin;
use crate::support::programs::{Dockerd, program};

/// What became of a client's attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Attempt {
    /// What it took, as text that is the same for the same bytes.
    Took(String),
    /// Why it did not.
    Failed(String),
    /// This client does not ask such things.
    Never,
}

#[derive(Debug, Clone, Copy)]
enum Client {
    Skopeo,
    Dockerd,
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_takes_from_a_registry_it_takes_through_hubcap() {
    let dir = tempfile::tempdir().expect("a directory");
    let docker = dir.path().join("docker");
    std::fs::create_dir(&docker).expect("a directory");
    let dockerd = Dockerd::start_with(&docker, r#"{"max-download-attempts": 2}"#, &[]);
    let mut differences = Vec::new();
    for (kind, situations) in kinds() {
        println!("\n{kind}\n");
        for situation in situations {
            for client in [Client::Skopeo, Client::Dockerd] {
                let origin = situation.origin().await;
                let address = origin.url().trim_start_matches("http://").to_owned();
                let directly =
                    attempt(&dockerd, dir.path(), client, situation, (&address, situation.login)).await;
                let through = through(&dockerd, dir.path(), client, situation).await;
                if directly == Attempt::Never {
                    continue;
                }
                let line = format!("{}: {client:?}: {}", situation.quirk, verdict(&directly, &through));
                println!("  {line}");
                if matches!(directly, Attempt::Took(_)) && directly != through {
                    differences.push(line);
                }
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Through hubcap, twice: a miss, then what is stored. What the two got must be the same.
async fn through(dockerd: &Dockerd, dir: &Path, client: Client, situation: &'static Situation) -> Attempt {
    let (origin, place): (Origin, _) = (situation.origin().await, Place::new());
    let hubcap = situation.hubcap(&place, &origin);
    let address = format!("{}/{REGISTRY}", hubcap.http.trim_start_matches("http://"));
    let first = attempt(dockerd, dir, client, situation, (&address, None)).await;
    let second = attempt(dockerd, dir, client, situation, (&address, None)).await;
    match (&first, &second) {
        (Attempt::Took(one), Attempt::Took(other)) if one != other => {
            Attempt::Failed(format!("{one}, and then {other}"))
        }
        (Attempt::Took(_), Attempt::Failed(_)) => second,
        _ => first,
    }
}

/// Runs the client without blocking the origin, which lives on this runtime.
async fn attempt(
    dockerd: &Dockerd,
    dir: &Path,
    client: Client,
    situation: &Situation,
    (address, login): (&str, Option<&str>),
) -> Attempt {
    let name = format!("{address}/{REPOSITORY}");
    let to = tempfile::tempdir_in(dir).expect("a directory");
    match (client, situation.wanted) {
        (Client::Skopeo, Wanted::Pull) => {
            let mut command = program("skopeo");
            command.args(["--insecure-policy", "copy", "--quiet", "--src-tls-verify=false"]);
            command.args(login.map(|login| format!("--src-creds={login}")));
            command.arg(format!("docker://{name}:{TAG}")).arg(format!("dir:{}", to.path().display()));
            run(command).await.map_or_else(Attempt::Failed, |_| Attempt::Took(files(to.path())))
        }
        (Client::Skopeo, Wanted::Tags) => {
            let mut command = program("skopeo");
            command.args(["list-tags", "--tls-verify=false"]);
            command.args(login.map(|login| format!("--creds={login}"))).arg(format!("docker://{name}"));
            run(command).await.map_or_else(Attempt::Failed, |told| {
                let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
                Attempt::Took(told["Tags"].to_string())
            })
        }
        (Client::Dockerd, Wanted::Pull) => {
            let name = format!("{name}:{TAG}");
            if let Some(login) = login {
                use base64::Engine as _;
                let host = name.split('/').next().expect("a host");
                let auth = base64::engine::general_purpose::STANDARD.encode(login);
                let config = serde_json::json!({"auths": {host: {"auth": auth}}});
                std::fs::write(to.path().join("config.json"), config.to_string()).expect("written");
            }
            let docker = |arguments: &[&str]| {
                let mut command = dockerd.command(&["--config", &to.path().display().to_string()]);
                command.args(arguments);
                command
            };
            if let Err(why) = run(docker(&["pull", "--quiet", &name])).await {
                return Attempt::Failed(why);
            }
            let told =
                run(docker(&["image", "inspect", "--format", "{{.Id}} {{index .RepoDigests 0}}", &name]));
            // The repository's name is another one through hubcap.
            let told = told.await.map(|told| {
                let (id, digest) = told.split_once(' ').expect("two words");
                format!("{id} {}", digest.rsplit('@').next().unwrap_or_default())
            });
            // The layers really go: the next pull would prove nothing.
            run(docker(&["image", "rm", "--force", &name])).await.expect("removed");
            told.map_or_else(Attempt::Failed, Attempt::Took)
        }
        (Client::Dockerd, Wanted::Tags) => Attempt::Never,
    }
}

/// # Errors
/// The last line of what it said.
async fn run(mut command: Command) -> Result<String, String> {
    let output = tokio::task::spawn_blocking(move || command.stdin(Stdio::null()).output());
    let output = output.await.expect("no panic").expect("it starts");
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(said.lines().last().unwrap_or_default().to_owned())
}

/// The names of a directory's files, with the digests of what is in them.
fn files(dir: &Path) -> String {
    let mut found: Vec<String> = std::fs::read_dir(dir)
        .expect("a directory")
        .flatten()
        .map(|entry| {
            let bytes = std::fs::read(entry.path()).expect("read");
            format!("{} {}", entry.file_name().to_string_lossy(), sha256(&bytes))
        })
        .collect();
    found.sort();
    sha256(found.join("\n").as_bytes())
}

fn verdict(directly: &Attempt, through: &Attempt) -> String {
    match (directly, through) {
        (Attempt::Took(_), _) if directly == through => "the same".into(),
        (Attempt::Took(_), Attempt::Took(_)) => format!("DIFFERS: {directly:?}, through hubcap {through:?}"),
        (Attempt::Took(_), _) => format!("DIFFERS: taken directly, through hubcap {through:?}"),
        (Attempt::Failed(why), Attempt::Took(_)) => format!("through hubcap only; directly: {why}"),
        (Attempt::Failed(why), _) => format!("fails either way: {why}"),
        (Attempt::Never, _) => String::new(),
    }
}
