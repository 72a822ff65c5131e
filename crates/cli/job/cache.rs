//! The job's cache service, as `up` finds it in its environment and hands it to the daemon: through a pipe, since the token is a
//! secret that no file and no environment of a process that outlives the step may have.

use std::io::Read;

use anyhow::{Context as _, bail};
use hubcap_upstream::actions_cache::{Mode, Service, Token};
use serde::{Deserialize, Serialize};

/// The longest that is read of it, in bytes.
const MAX: u64 = 64 << 10;

/// Where the service is, and under which keys the job's contents are there.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct JobCache {
    results_url: String,
    token: String,
    mode: Option<String>,
    keys: Vec<String>,
}

impl JobCache {
    /// The service of this job, as the runner tells it to actions.
    ///
    /// # Errors
    /// Where there is none of version 2, as on GitHub Enterprise Server and in steps with `run`.
    pub(crate) fn of_job(keys: &[String]) -> anyhow::Result<Self> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let needed = |name: &str| variable(name).with_context(|| format!("{name} is not set"));
        if let Some(key) = keys.iter().find(|key| key.contains([',', '@']) || key.len() > 400) {
            bail!("the key {key:?} may have no comma, no @, and at most 400 characters");
        }
        needed("ACTIONS_CACHE_SERVICE_V2")?;
        Ok(Self {
            results_url: needed("ACTIONS_RESULTS_URL")?,
            token: needed("ACTIONS_RUNTIME_TOKEN")?,
            mode: variable("ACTIONS_CACHE_MODE"),
            keys: keys.to_vec(),
        })
    }

    /// As the daemon reads it.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// What `up` has written to the daemon.
    ///
    /// # Errors
    /// When it cannot be read. No error tells anything of it.
    pub(crate) fn read(input: impl Read) -> anyhow::Result<(Service, Vec<String>)> {
        let mut text = String::new();
        input.take(MAX).read_to_string(&mut text).context("standard input cannot be read")?;
        let Ok(Self { results_url, token, mode, keys }) = serde_json::from_str(&text) else {
            bail!("standard input does not say where the job's cache is");
        };
        let Ok(results_url) = results_url.parse() else { bail!("ACTIONS_RESULTS_URL is no URL") };
        let service = Service { results_url, token: Token::new(token), mode: Mode::parse(mode.as_deref()) };
        Ok((service, keys))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_that_makes_no_sense_is_refused_without_a_word_of_it() {
        for input in ["", "secret", r#"{"results-url": "secret", "token": "secret", "keys": []}"#] {
            let error = JobCache::read(input.as_bytes()).expect_err("refused").to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
