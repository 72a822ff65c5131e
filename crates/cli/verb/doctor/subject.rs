//! What every part of the doctor starts from: the daemon that runs, its settings, and whether it answers.

use hubcap_admin::Status;
use hubcap_clients::{Client, Coverage, Journal, Mirror};

use super::finding::Finding;
use crate::daemon::address;
use crate::daemon::find::Found;
use crate::daemon::verify::{self, Unverified};
use crate::settings::Config;

pub(super) struct Subject {
    pub(super) found: Found,
    /// The daemon's, where one runs.
    pub(super) settings: Config,
    /// Where clients reach hubcap; `None` where that is not known.
    pub(super) mirror: Option<Mirror>,
    /// Whether hubcap answers there, with a certificate of its CA.
    pub(super) answers: Result<(), Unverified>,
}

impl Subject {
    pub(super) fn new(found: Found) -> Self {
        let mirror = address::mirror(&found.config, found.status.as_ref()).ok();
        let answers = match &mirror {
            Some(mirror) if found.status.is_some() || !matches!(mirror.ca.pem(), Ok(None)) => {
                verify::mirror(mirror)
            }
            // It has never run here, so nothing that answers there is it.
            Some(mirror) => Err(Unverified::Nothing(mirror.address)),
            None => Err(Unverified::Wrong("hubcap does not listen for HTTPS".into())),
        };
        Self { settings: found.settings(), found, mirror, answers }
    }

    pub(super) fn status(&self) -> Option<&Status> {
        self.found.status.as_ref()
    }

    pub(super) fn journal(&self, client: &str) -> Result<Journal, hubcap_clients::Error> {
        Journal::open(&self.found.config.state, client)
    }

    /// The clients that are set up, of all that hubcap knows.
    pub(super) fn set_up(&self) -> Vec<std::sync::Arc<dyn Client>> {
        let mut clients = hubcap_clients::all();
        clients.retain(|client| self.journal(client.name()).is_ok_and(|journal| !journal.is_empty()));
        clients
    }

    /// A command of hubcap's, as a user types it for this daemon.
    pub(super) fn command(&self, words: &str) -> String {
        let config = &self.found.config;
        if config.given.state {
            format!("hubcap {words} --state {}", config.state.display())
        } else {
            format!("hubcap {words}")
        }
    }

    /// What a client's own crate says of the remedy, whose commands know of no state directory.
    pub(super) fn coverage(&self, about: &'static str, coverage: Coverage) -> Finding {
        let typed = |remedy: String| {
            let parts = remedy.split("; ").map(|part| match part.strip_prefix("hubcap ") {
                Some(words) => self.command(words),
                None => part.to_owned(),
            });
            parts.collect::<Vec<_>>().join("; ")
        };
        Finding::coverage(about, Coverage { remedy: coverage.remedy.map(typed), ..coverage })
    }

    /// How a client is configured: by `setup` where hubcap runs, else by `up`, which starts it. Both know the flags that say
    /// where the client is; `more` is for `setup`.
    pub(super) fn setup(&self, client: &str, flags: &str, more: &str) -> String {
        let words = match self.answers {
            Ok(()) => ["setup", client, flags, more],
            Err(_) => ["up", flags, "", ""],
        };
        let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
        self.command(&words.join(" "))
    }
}
