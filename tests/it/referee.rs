//! The referee: skopeo and dockerd are asked what they take of each situation, directly from the origin and through
//! hubcap. What they take directly they must get through hubcap, byte for byte.
//!
//! `tests/referee` runs this alone and shows the table.

use std::path::Path;
use std::pin::pin;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use serde_json::json;

use crate::quirks::{AT_A_TIME, REGISTRY, REPOSITORY, Situation, TAG, Wanted, kinds};
use crate::support::hubcap::Place;
use crate::support::image::sha256;
use crate::support::programs::{Dockerd, modern, program};

/// What became of a client's attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Attempt {
    /// What it took, as text that is the same for the same bytes.
    Took(String),
    /// Why it did not.
    Failed(String),
}

/// Who is asked.
enum Client {
    Skopeo { name: &'static str, program: fn() -> Command },
    Dockerd { name: &'static str, dockerd: Dockerd },
}

impl Client {
    /// The clients of the stable system, and those of today.
    fn all(dir: &Path) -> Vec<Self> {
        let docker = |name: &str| {
            let dir = dir.join(name);
            std::fs::create_dir(&dir).expect("a directory");
            dir
        };
        // Two attempts are as good as five, and sooner over.
        let old = Dockerd::start_with(&docker("20"), r#"{"max-download-attempts": 2}"#, &[]);
        let mut all = vec![
            Self::Skopeo { name: "skopeo 1.9", program: || program("skopeo") },
            Self::Dockerd { name: "dockerd 20.10", dockerd: old },
        ];
        if let Some(today) = modern("dockerd") {
            let json = r#"{"max-download-attempts": 2, "features": {"containerd-snapshotter": true}}"#;
            let dockerd = Dockerd::start_as(today, &docker("28"), (json, &[]));
            all.push(Self::Dockerd { name: "dockerd 28.5, containerd's store", dockerd });
        }
        if modern("skopeo").is_some() {
            all.push(Self::Skopeo { name: "skopeo 1.22", program: || modern("skopeo").expect("as before") });
        }
        all
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Skopeo { name, .. } | Self::Dockerd { name, .. } => name,
        }
    }

    /// Directly, and then through hubcap, each time from a new origin.
    async fn compare(&self, dir: &Path, situation: &Situation) -> Option<Verdict> {
        match (self, situation.wanted) {
            // Neither of them lists these.
            (_, Wanted::Referrers) | (Self::Dockerd { .. }, Wanted::Tags) => return None,
            _ => {}
        }
        let origin = situation.origin().await;
        let address = origin.url().trim_start_matches("http://").to_owned();
        let directly = self.attempt(dir, situation, (&address, situation.login)).await;
        let (through, log) = self.through(dir, situation).await;
        let client = self.name();
        let line = format!("{}: {client}: {}", situation.quirk, verdict(&directly, &through));
        let is_worse = matches!(directly, Attempt::Took(_)) && directly != through;
        Some(Verdict { line, log: is_worse.then_some(log) })
    }

    /// Through hubcap, twice: a miss, then what is stored. What the two got must be the same. With hubcap's log.
    async fn through(&self, dir: &Path, situation: &Situation) -> (Attempt, String) {
        let (origin, place) = (situation.origin().await, Place::new());
        let hubcap = situation.hubcap(&place, &origin);
        let address = format!("{}/{REGISTRY}", hubcap.http.trim_start_matches("http://"));
        let first = self.attempt(dir, situation, (&address, None)).await;
        let second = self.attempt(dir, situation, (&address, None)).await;
        let attempt = match (&first, &second) {
            (Attempt::Took(one), Attempt::Took(other)) if one != other => {
                Attempt::Failed(format!("{one}, and then {other}"))
            }
            (Attempt::Took(_), Attempt::Failed(_)) => second,
            _ => first,
        };
        (attempt, hubcap.log())
    }

    async fn attempt(
        &self,
        dir: &Path,
        situation: &Situation,
        (address, login): (&str, Option<&str>),
    ) -> Attempt {
        let name = format!("{address}/{REPOSITORY}");
        let to = tempfile::tempdir_in(dir).expect("a directory");
        match self {
            Self::Skopeo { program, .. } => {
                skopeo(program(), situation.wanted, (&name, login), to.path()).await
            }
            Self::Dockerd { dockerd, .. } => {
                docker(dockerd, &format!("{name}:{TAG}"), login, to.path()).await
            }
        }
    }
}

/// A situation and a client, judged.
struct Verdict {
    line: String,
    /// hubcap's log, where the client gets less through hubcap than directly.
    log: Option<String>,
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_takes_from_a_registry_it_takes_through_hubcap() {
    let dir = tempfile::tempdir().expect("a directory");
    let clients = Client::all(dir.path());
    let mut worse = Vec::new();
    let all =
        kinds().into_iter().flat_map(|(kind, situations)| situations.iter().map(move |one| (kind, one)));
    // Nobody waits for a client that is led in a circle.
    let all = all.filter(|(_, situation)| !situation.is_endless);
    let compared = stream::iter(all).map(async |(kind, situation)| {
        (kind, join_all(clients.iter().map(|client| client.compare(dir.path(), situation))).await)
    });
    // Dockerd waits for seconds before it tries again, so several are played at a time, and told in their order.
    let mut compared = pin!(compared.buffered(AT_A_TIME));
    // A test's output that is long hides, in most logs, why it failed: the table is for who asks for it.
    let shows_table = std::env::var_os("REFEREE_TABLE").is_some();
    let mut told = "";
    while let Some((kind, verdicts)) = compared.next().await {
        if shows_table && told != kind {
            println!("\n{kind}\n");
            told = kind;
        }
        for Verdict { line, log } in verdicts.into_iter().flatten() {
            if shows_table {
                println!("  {line}");
            }
            worse.extend(log.map(|log| format!("{line}\n{log}")));
        }
    }
    assert!(worse.is_empty(), "{}", worse.join("\n"));
}

/// Copies into a directory, or lists tags.
async fn skopeo(
    mut command: Command,
    wanted: Wanted,
    (name, login): (&str, Option<&str>),
    to: &Path,
) -> Attempt {
    match wanted {
        Wanted::Pull => {
            command.args(["--insecure-policy", "copy", "--quiet", "--src-tls-verify=false"]);
            command.args(login.map(|login| format!("--src-creds={login}")));
            command.arg(format!("docker://{name}:{TAG}")).arg(format!("dir:{}", to.display()));
            run(command).await.map_or_else(Attempt::Failed, |_| Attempt::Took(files(to)))
        }
        Wanted::Tags | Wanted::Referrers => {
            command.args(["list-tags", "--tls-verify=false"]);
            command.args(login.map(|login| format!("--creds={login}"))).arg(format!("docker://{name}"));
            run(command).await.map_or_else(Attempt::Failed, |told| {
                let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
                Attempt::Took(told["Tags"].to_string())
            })
        }
    }
}

async fn docker(dockerd: &Dockerd, name: &str, login: Option<&str>, config: &Path) -> Attempt {
    if let Some(login) = login {
        let host = name.split('/').next().expect("a host");
        let auths = json!({"auths": {host: {"auth": STANDARD.encode(login)}}});
        std::fs::write(config.join("config.json"), auths.to_string()).expect("written");
    }
    let docker = |arguments: &[&str]| {
        let mut command = dockerd.command(&["--config", &config.display().to_string()]);
        command.args(arguments);
        run(command)
    };
    if let Err(why) = docker(&["pull", "--quiet", name]).await {
        return Attempt::Failed(why);
    }
    // The repository's name is another one through hubcap.
    let told = docker(&["image", "inspect", "--format", "{{.Id}} {{index .RepoDigests 0}}", name]).await;
    let told = told.map(|told| {
        let (id, digest) = told.split_once(' ').expect("two words");
        format!("{id} {}", digest.rsplit('@').next().unwrap_or_default())
    });
    // The layers really go: the next pull would prove nothing.
    docker(&["image", "rm", "--force", name]).await.expect("removed");
    told.map_or_else(Attempt::Failed, Attempt::Took)
}

/// Runs a client without blocking the origin, which lives on this runtime.
///
/// # Errors
/// The last line of what it said.
async fn run(command: Command) -> Result<String, String> {
    // A client that waits for ever has not got it either.
    let mut bounded = Command::new("timeout");
    bounded.args(["--kill-after=5", "120"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => bounded.env(name, value),
            None => bounded.env_remove(name),
        };
    }
    let mut command = bounded;
    let output = tokio::task::spawn_blocking(move || command.stdin(Stdio::null()).output());
    let output = output.await.expect("no panic").expect("it starts");
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(said.lines().last().unwrap_or_default().to_owned())
}

/// What is in a directory, as one digest.
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
    }
}
