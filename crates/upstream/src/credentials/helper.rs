//! Docker's credential helpers: programs that keep logins elsewhere, such as in a key ring.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::{Login, Secret};

/// How long a helper may take; it may ask a key ring.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The login that a helper has for a server; [`Login::Anonymous`] where it has none.
///
/// # Errors
/// Why it cannot be had. Nothing that the helper said is in it: it may have said the secret.
pub(super) async fn ask(name: &str, server: &str) -> Result<Login, String> {
    let program = format!("docker-credential-{name}");
    let asking = run(&program, server);
    let output = tokio::time::timeout(TIMEOUT, asking)
        .await
        .map_err(|_| format!("{program} took longer than {} s", TIMEOUT.as_secs()))?
        .map_err(|error| format!("{program} cannot be run: {error}"))?;
    if output.status.success() {
        return read(&output.stdout).ok_or_else(|| format!("{program} printed no login"));
    }
    // Its way to say that it has none.
    let says_none = |said: &[u8]| String::from_utf8_lossy(said).contains("credentials not found");
    if says_none(&output.stdout) || says_none(&output.stderr) {
        return Ok(Login::Anonymous);
    }
    Err(format!("{program} failed: {}", output.status))
}

async fn run(program: &str, server: &str) -> io::Result<std::process::Output> {
    let mut child = Command::new(program)
        .arg("get")
        // Of what hubcap was started with, these are for it alone.
        .env_remove("HUBCAP_LOGIN")
        .env_remove("HUBCAP_RESTORE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // Some helpers know one login only, and read nothing.
        let _ = stdin.write_all(server.as_bytes()).await;
    }
    child.wait_with_output().await
}

/// Reads the login out of what a helper printed, which may have warnings around it.
fn read(output: &[u8]) -> Option<Login> {
    let text = String::from_utf8_lossy(output);
    let starts = text.match_indices('{').map(|(at, _)| &text[at..]);
    let mut found =
        starts.filter_map(|text| serde_json::Deserializer::from_str(text).into_iter::<Value>().next()?.ok());
    found.find_map(|answer| {
        let username = answer["Username"].as_str()?;
        Some(Login::new(username, Secret::new(answer["Secret"].as_str()?)))
    })
}

#[cfg(test)]
mod tests {
    use super::super::Credentials;
    use super::*;

    #[test]
    fn a_login_is_found_between_warnings() {
        let me = Login::Password(Credentials { username: "me".into(), password: Secret::new("hunter2") });
        for said in [
            r#"{"ServerURL":"x","Username":"me","Secret":"hunter2"}"#,
            "warning: {key ring} is {\"locked\":\nsoon}\n{\"Username\":\"me\",\"Secret\":\"hunter2\"}\ndone {}",
            "{}\n{\n  \"Secret\": \"hunter2\",\n  \"Username\": \"me\"\n}",
        ] {
            assert_eq!(read(said.as_bytes()).as_ref(), Some(&me), "{said}");
        }
        let refresh = br#"{"Username":"<token>","Secret":"t"}"#;
        assert_eq!(read(refresh), Some(Login::Identity(Secret::new("t"))));
        assert_eq!(read(br#"{"Username":"","Secret":""}"#), Some(Login::Anonymous));
        assert_eq!(read(b"locked"), None);
    }
}
