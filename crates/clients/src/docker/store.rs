//! containerd's image store in dockerd, in place of its own. Which of the two it has, dockerd decides when it starts, and then sees
//! only what is in that one.

use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::api;
use super::facts::Feature;
use super::find::Dockerd;
use crate::change::Plan;
use crate::error::Error;
use crate::format::daemon_json;
use crate::journal::Journal;

/// How many names an error has of each kind.
const NAMED: usize = 3;

/// What is in a dockerd's image store, by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct InSight {
    /// By tag, or by id where there is none.
    pub images: Vec<String>,
    /// The containers, also those that do not run.
    pub containers: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    id: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    names: Vec<String>,
}

impl Dockerd {
    /// The plan with containerd's image store asked for.
    ///
    /// # Errors
    /// [`Error::NotUnderstood`] when `daemon.json` is not what dockerd takes.
    pub fn with_containerd_store(&self, journal: &Journal, plan: Plan) -> Result<Plan, Error> {
        self.with_daemon_json(journal, plan, |json| json.with_containerd_store(&self.daemon_json, Some(true)))
    }

    /// Whether it has containerd's image store because hubcap asked for that, and so until it is restarted after an undo.
    pub fn was_switched(&self, journal: &Journal) -> bool {
        self.has_containerd_store() && asked_for_containerd_store(journal, &self.daemon_json)
    }

    /// What is in the store that it has, and would be out of sight in another one.
    ///
    /// # Errors
    /// [`Error::Client`] when it does not run or does not answer, or has no other store.
    pub fn in_sight(&self) -> Result<InSight, Error> {
        let version = self.version().map_err(|why| {
            Error::Client(format!("{why}; what is in its image store is not known, so start it first"))
        })?;
        if !self.has(Feature::ContainerdStore) {
            let why =
                format!("dockerd {version} can have no image store but its own; dockerd 24 and later can");
            return Err(Error::Client(why));
        }
        let images: Vec<Image> = self.list("/images/json")?;
        let containers: Vec<Container> = self.list("/containers/json?all=1")?;
        Ok(InSight {
            images: images.into_iter().map(Image::name).collect(),
            containers: containers.into_iter().filter_map(Container::name).collect(),
        })
    }

    fn list<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, Error> {
        let failed = |why: String| Error::Client(format!("dockerd does not say what it has ({path}): {why}"));
        let answer = api::ask(&self.socket, "GET", path).map_err(|error| failed(error.to_string()))?;
        serde_json::from_str(&answer.body).map_err(|_| failed(format!("it answered {}", answer.status)))
    }
}

/// Whether hubcap has asked for containerd's image store in this `daemon.json`.
pub(super) fn asked_for_containerd_store(journal: &Journal, path: &Path) -> bool {
    journal.record(path).is_some_and(|record| {
        daemon_json::asked_for_containerd_store(path, record.before.as_deref(), record.after.as_deref())
    })
}

impl InSight {
    /// Whether nothing is there.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty() && self.containers.is_empty()
    }
}

impl fmt::Display for InSight {
    /// `the images alpine:3 and 2 others, the container web`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [("image", &self.images), ("container", &self.containers)];
        let parts = kinds.into_iter().filter(|(_, names)| !names.is_empty()).map(|(kind, names)| {
            let plural = if names.len() == 1 { "" } else { "s" };
            let named = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
            let others = names.len().saturating_sub(NAMED);
            let others = if others == 0 { String::new() } else { format!(" and {others} more") };
            format!("the {kind}{plural} {named}{others}")
        });
        f.write_str(&parts.collect::<Vec<_>>().join(", "))
    }
}

impl Image {
    fn name(self) -> String {
        let tag = self.repo_tags.into_iter().flatten().find(|tag| tag != "<none>:<none>");
        tag.unwrap_or(self.id)
    }
}

impl Container {
    fn name(self) -> Option<String> {
        self.names.into_iter().next().map(|name| name.trim_start_matches('/').to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_sight_is_named_and_not_at_length() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        for (images, containers, told) in [
            (names(&["a:1"]), names(&[]), "the image a:1"),
            (names(&["a:1", "b:1"]), names(&["web"]), "the images a:1, b:1, the container web"),
            (names(&["a", "b", "c", "d", "e"]), names(&[]), "the images a, b, c and 2 more"),
            (names(&[]), names(&["x", "y"]), "the containers x, y"),
        ] {
            assert_eq!(InSight { images, containers }.to_string(), told);
        }
        assert!(InSight::default().is_empty());
    }
}
