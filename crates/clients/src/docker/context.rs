//! Which dockerd Docker's own client would ask: by `DOCKER_HOST`, else by its context, which `DOCKER_CONTEXT` or its
//! `config.json` names.

use std::path::PathBuf;

use hubcap_oci::{Algorithm, Digest};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::encoding::Encoding;
use crate::error::Error;
use crate::file;
use crate::process::docker_config;

/// The context that means Docker's usual socket.
const DEFAULT: &str = "default";

/// What a user's environment says of it.
#[derive(Debug, Default)]
pub(super) struct Environment {
    /// `DOCKER_HOST`
    pub(super) host: Option<String>,
    /// `DOCKER_CONTEXT`
    pub(super) context: Option<String>,
    /// Where `config.json` and the contexts are.
    pub(super) config: Option<PathBuf>,
}

/// A context's file.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Meta {
    endpoints: Map<String, Value>,
}

impl Environment {
    pub(super) fn of_this_process() -> Self {
        let text = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self { host: text("DOCKER_HOST"), context: text("DOCKER_CONTEXT"), config: docker_config() }
    }

    /// The host, as `unix:///run/user/1000/docker.sock`; `None` for the usual one.
    ///
    /// # Errors
    /// [`Error::Client`] for a context that is not there, or does not say where its dockerd is.
    pub(super) fn host(&self) -> Result<Option<String>, Error> {
        if self.host.is_some() {
            return Ok(self.host.clone());
        }
        let (Some(name), Some(config)) = (self.context.clone().or_else(|| self.current()), &self.config)
        else {
            return Ok(None);
        };
        if name == DEFAULT {
            return Ok(None);
        }
        let directory = Digest::of(Algorithm::Sha256, name.as_bytes()).hex();
        let path = config.join("contexts/meta").join(directory).join("meta.json");
        let unusable = |why: String| {
            let path = path.display();
            Error::Client(format!(
                "Docker's context {name:?} {why} ({path}); `docker context use default` or --docker-host chooses another dockerd"
            ))
        };
        let bytes = file::regular(&path).map_err(|error| unusable(format!("cannot be read: {error}")))?;
        let meta: Option<Meta> = Encoding::decode(bytes).and_then(|text| serde_json::from_str(&text).ok());
        let meta = meta.ok_or_else(|| unusable("is not the JSON of one".into()))?;
        let host = meta.endpoints.get("docker").and_then(|docker| docker.get("Host")?.as_str());
        match host {
            Some(host) if !host.is_empty() => Ok(Some(host.to_owned())),
            // Docker takes one without a host for the usual one.
            _ => Ok(None),
        }
    }

    /// The context that `config.json` names. A file that is broken names none, for Docker's client too.
    fn current(&self) -> Option<String> {
        let text = Encoding::decode(file::regular(&self.config.as_ref()?.join("config.json")).ok()?)?;
        let config: Value = serde_json::from_str(&text).ok()?;
        config["currentContext"].as_str().filter(|name| !name.is_empty()).map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with the context "rootless", and this `config.json`.
    fn place(config: &str) -> (tempfile::TempDir, Environment) {
        let dir = tempfile::tempdir().expect("a directory");
        // `printf rootless | sha256sum`
        let meta =
            dir.path().join("contexts/meta/12b961af5feb3e9d39f93b2cefb9a1a944f18d02cca0cac2f04f5a982240605f");
        std::fs::create_dir_all(&meta).expect("made");
        let text = "{\"Name\":\"rootless\",\"Metadata\":{},\"Endpoints\":{\"docker\":{\"Host\":\
                    \"unix:///run/user/1000/docker.sock\",\"SkipTLSVerify\":false}}}";
        std::fs::write(meta.join("meta.json"), text).expect("written");
        std::fs::write(dir.path().join("config.json"), config).expect("written");
        let environment = Environment { config: Some(dir.path().to_owned()), ..Environment::default() };
        (dir, environment)
    }

    const ROOTLESS: &str = "unix:///run/user/1000/docker.sock";

    #[test]
    fn a_host_comes_before_a_context_and_that_before_the_files() {
        let (_dir, mut environment) = place("{\"currentContext\": \"rootless\"}");
        assert_eq!(environment.host().expect("there").as_deref(), Some(ROOTLESS));
        environment.context = Some(DEFAULT.into());
        assert_eq!(environment.host().expect("the usual one"), None);
        environment.host = Some("unix:///x".into());
        assert_eq!(environment.host().expect("said").as_deref(), Some("unix:///x"));
    }

    #[test]
    fn files_that_say_nothing_mean_the_usual_one() {
        for config in ["", "{}", "{\"currentContext\": \"\"}", "{\"currentContext\": null}", "broken"] {
            assert_eq!(place(config).1.host().expect("the usual one"), None, "{config}");
        }
        assert_eq!(Environment::default().host().expect("the usual one"), None);
        let marked = "\u{feff}{\"currentContext\": \"rootless\"}";
        assert_eq!(place(marked).1.host().expect("there").as_deref(), Some(ROOTLESS));
    }

    #[test]
    fn a_context_that_is_not_there_is_named() {
        let (_dir, mut environment) = place("{}");
        environment.context = Some("gone".into());
        let error = environment.host().expect_err("no such context").to_string();
        assert!(error.contains("\"gone\"") && error.contains("--docker-host"), "{error}");
    }
}
