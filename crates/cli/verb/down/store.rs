//! What becomes of the store: what the next job need not get, or may not have, goes, and then its key is told.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use hubcap_store::Layout;

use super::Failures;
use crate::args::Down;
use crate::daemon::run::{self, Run};
use crate::job::{carry, github, workspace};
use crate::settings::Config;
use crate::show::removals;
use crate::show::strangers::say;

/// Who has a say in what becomes of it, besides this command.
pub(super) enum Held {
    Nobody,
    /// A daemon that goes on with it.
    Daemon,
    /// Another user, whose daemon or run names it: root removes nothing by that word. A daemon of theirs may run still.
    Stranger {
        user: u32,
        runs: bool,
    },
}

/// A store whose job ends.
pub(super) struct Ending<'a> {
    pub(super) config: &'a Config,
    pub(super) flags: &'a Down,
    pub(super) store: PathBuf,
    /// The last run on it, where that is known.
    pub(super) run: Option<&'a Run>,
    pub(super) held: Held,
    /// Where contents are carried to later jobs without it: whether these find new ones.
    pub(super) carried: Option<bool>,
}

/// What is known of the store before this job.
enum Before<'a> {
    /// Its key.
    Key(&'a str),
    /// Its key could not be computed: whatever it has now counts as changed.
    Unknown,
    /// No daemon has run on it, so hubcap has changed nothing.
    NoRun,
    /// It began empty: contents are carried without it, and this says whether later jobs find new ones.
    Carried { is_new: bool },
}

impl Ending<'_> {
    /// Removes what later jobs need not get or may not have, and says the key and whether there is something new. A store without a key is
    /// not saved.
    pub(super) fn settle(&self, failures: &mut Failures) {
        let is_clean = match self.held {
            Held::Nobody => self.clean(failures),
            Held::Stranger { user, runs: false } if self.is_carried() => {
                let why = anyhow!("{}", run::is_strangers(user));
                failures.note("the store of the last run is left as it is", Err(why));
                false
            }
            Held::Stranger { .. } | Held::Daemon => true,
        };
        let Some(why) = self.why_no_key(is_clean) else {
            return failures.note(NO_KEY, self.tell_key());
        };
        match self.held {
            Held::Nobody if self.is_carried() => failures.note(NO_KEY, Err(anyhow!(why))),
            _ => say!("{NO_KEY}: {why}"),
        }
        self.tell_changed(None);
    }

    /// Whether the next job gets the store itself, with nothing in it that is not for everybody. What is in GitHub's cache already
    /// needs no store.
    fn is_carried(&self) -> bool {
        self.carried.is_none() && self.flags.is_carried(&self.store) && !self.flags.keep_private
    }

    /// Trims the store, or removes what is private at least; false where that failed.
    fn clean(&self, failures: &mut Failures) -> bool {
        if !self.store.exists() {
            return true;
        }
        if let Some(run) = self.run
            && self.carried.is_none()
            && self.flags.trims(&self.store)
        {
            let trimmed = trim(self.config, run, self.flags.keep_private);
            let is_trimmed = trimmed.is_ok();
            failures.note("the store is not trimmed", trimmed);
            if is_trimmed {
                return true;
            }
        }
        if !self.is_carried() {
            return true;
        }
        let removed = carry::remove_private(self.config, &self.store);
        let is_removed = removed.is_ok();
        failures.note("what is private is not removed", removed);
        is_removed
    }

    /// Why nothing may be saved, whatever failed before, and wherever the store is.
    fn why_no_key(&self, is_clean: bool) -> Option<&'static str> {
        match self.held {
            Held::Stranger { .. } => Some("it is another user's"),
            _ if self.flags.keep_private => None,
            Held::Daemon if self.is_carried() => Some("the daemon goes on with it"),
            _ if !is_clean || Layout::at(&self.store).has_private() => Some(
                "not all that is in it is known to be for everybody: private images, or what is half written or damaged",
            ),
            _ => None,
        }
    }

    /// Says which key the store has now, and whether there is something new.
    fn tell_key(&self) -> anyhow::Result<()> {
        let key = Layout::at(&self.store).key();
        if let Ok(key) = &key {
            say!("key {key}");
            github::output("key", key);
        }
        self.tell_changed(key.as_deref().ok());
        Ok(key.map(drop)?)
    }

    /// Says whether there is something new for later jobs, in a store that has this key now, or none.
    fn tell_changed(&self, now: Option<&str>) {
        let changed = match (self.before(), now) {
            (Before::Carried { is_new }, _) => is_new,
            (Before::Key(before), Some(now)) => now != before,
            (Before::Unknown, Some(_)) => true,
            (Before::NoRun, _) | (_, None) => false,
        };
        say!("changed {changed}");
        github::output("changed", if changed { "true" } else { "false" });
    }

    fn before(&self) -> Before<'_> {
        match (self.carried, &self.flags.since, self.run) {
            (Some(is_new), ..) => Before::Carried { is_new },
            (None, Some(key), _) => Before::Key(key),
            (None, None, Some(run)) => run.key.as_deref().map_or(Before::Unknown, Before::Key),
            (None, None, None) => Before::NoRun,
        }
    }
}

const NO_KEY: &str = "the store has no key, so that it is not saved";

fn trim(config: &Config, run: &Run, keep_private: bool) -> anyhow::Result<()> {
    let trimmed = carry::trim(config, run, keep_private)?;
    Ok(removals::print(&trimmed.removals, trimmed.size, false)?)
}

impl Down {
    /// Whether the store is carried to the next job, as far as that is known: one of which that is said, or one in a job's
    /// workspace.
    fn is_carried(&self, store: &Path) -> bool {
        self.trim.is_some() || self.trims(store)
    }

    /// Whether the store is trimmed: where nothing is said, a store in a job's workspace, which the next job gets.
    fn trims(&self, store: &Path) -> bool {
        let workspace = std::env::var_os("GITHUB_WORKSPACE").filter(|workspace| !workspace.is_empty());
        let is_in = |workspace: OsString| workspace::is_in(store, Path::new(&workspace));
        self.trim.unwrap_or_else(|| workspace.is_some_and(is_in))
    }
}
