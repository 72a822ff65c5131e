//! What `hubcap doctor` finds.

use std::fmt;

use hubcap_clients::Coverage;
use serde::Serialize;

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    pub(super) state: State,
    pub(super) about: &'static str,
    pub(super) says: String,
    /// A command, or what to do.
    #[serde(rename = "mend", skip_serializing_if = "Option::is_none")]
    pub(super) remedy: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum State {
    /// It works.
    Fine,
    /// Worth knowing.
    Note,
    /// It was set up, and does not work.
    Broken,
    /// Pulls that go through hubcap.
    Through,
    /// Pulls that do not, and why.
    Past,
}

impl Finding {
    pub(super) fn new(state: State, about: &'static str, says: impl Into<String>) -> Self {
        Self { state, about, says: says.into(), remedy: None }
    }

    /// Pulls that use the mirror, or do not.
    pub(super) fn coverage(about: &'static str, coverage: Coverage) -> Self {
        let state = if coverage.uses_mirror { State::Through } else { State::Past };
        Self { state, about, says: coverage.pulls, remedy: coverage.remedy }
    }

    pub(super) fn remedy(self, how: impl Into<String>) -> Self {
        Self { remedy: Some(how.into()), ..self }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Fine => "fine",
            State::Note => "note",
            State::Broken => "BROKEN",
            State::Through => "through hubcap",
            State::Past => "not through it",
        };
        write!(f, "{state:14}  {:10}  {}", self.about, self.says)?;
        match &self.remedy {
            Some(remedy) => write!(f, "\n{:28}-> {remedy}", ""),
            None => Ok(()),
        }
    }
}
