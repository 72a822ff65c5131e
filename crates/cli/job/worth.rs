//! Whether hubcap was worth its time in a job.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::job::plain::Estimate;

/// By what part the model of plain pulls may be wrong; `tests/measure-job` compares it with measured ones.
const ERROR: f64 = 0.2;
/// A difference of less than this, in seconds, counts as none.
const EVEN: f64 = 1.0;

/// The seconds of hubcap's own steps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Steps {
    /// Of the first step: installing, restoring, `up`. `None` where nobody has measured it.
    pub(crate) start: Option<f64>,
    /// Of the last one: `down`, and saving.
    pub(crate) end: f64,
}

/// Where a job's seconds went, and where they would have gone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Account {
    pub(crate) pulls: Estimate,
    pub(crate) steps: Steps,
    /// Whether hubcap has changed how the layers are unpacked. The model's plain pull unpacks as this job did, so it is too short.
    pub(crate) unpacked_by_hubcap: bool,
}

/// What hubcap was worth, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Worth {
    /// Nothing was pulled.
    Nothing,
    /// It is not known how long the pulls would have taken.
    NotMeasured,
    /// The difference is less than what the model may be wrong by.
    Even(Account),
    Saved(Account),
    Lost(Account),
    /// Without hubcap the layers would have been unpacked in another way, and what is known of that does not decide it.
    Unpacked(Account),
}

impl Account {
    fn gain(&self) -> f64 {
        self.pulls.plain - self.pulls.with_hubcap - self.steps.seconds()
    }

    fn worth(self) -> Worth {
        let error = (ERROR * self.pulls.plain).max(EVEN);
        match self.gain() {
            gain if gain > error => Worth::Saved(self),
            _ if self.unpacked_by_hubcap => Worth::Unpacked(self),
            gain if gain < -error => Worth::Lost(self),
            _ => Worth::Even(self),
        }
    }
}

impl Steps {
    fn seconds(&self) -> f64 {
        self.start.unwrap_or_default() + self.end
    }
}

impl Worth {
    /// `account` is what is known of the pulls, if there were any.
    pub(crate) fn new(has_pulls: bool, account: Option<Account>) -> Self {
        match account {
            _ if !has_pulls => Self::Nothing,
            None => Self::NotMeasured,
            Some(account) => account.worth(),
        }
    }

    /// Whole seconds that were saved, below zero for lost ones; `None` where that is not known.
    pub(crate) fn seconds_saved(&self) -> Option<i64> {
        match self {
            Self::Nothing | Self::NotMeasured | Self::Unpacked(_) => None,
            Self::Even(_) => Some(0),
            // Seconds of a job are far from i64's limits.
            Self::Saved(account) | Self::Lost(account) => Some(account.gain().round() as i64),
        }
    }

    /// The same in a word or two.
    pub(crate) fn verdict(&self) -> String {
        match self {
            Self::Nothing => "Nothing was pulled through hubcap.".to_owned(),
            Self::NotMeasured => "Not measured whether time was saved.".to_owned(),
            Self::Unpacked(_) => "Not known whether time was saved.".to_owned(),
            Self::Even(_) => "About even.".to_owned(),
            Self::Saved(account) => format!("Saved about {:.0} s.", account.gain()),
            Self::Lost(account) => format!("Lost about {:.0} s.", -account.gain()),
        }
    }

    /// What the verdict is made of, and what to do where that helps.
    pub(crate) fn reasons(&self) -> String {
        match self {
            Self::Nothing => "If the job pulled images, they did not come through hubcap: `hubcap doctor` says why.".to_owned(),
            Self::NotMeasured => {
                "That needs a registry of which 20 MB or more were fetched, in this job or an earlier one, and a dockerd that says when its \
                 pulls ended."
                    .to_owned()
            }
            Self::Even(account) => format!("{account} The difference is less than the model's error."),
            Self::Saved(account) => account.to_string(),
            Self::Unpacked(account) => format!(
                "{account} In this job hubcap has changed how layers are unpacked, and what that gains is not measured here: elsewhere, dockerd's \
                 own store took twice as long as containerd's, and containerd without hubcap's differ one and a half times as long as with it."
            ),
            Self::Lost(account) => format!(
                "{account} If later jobs lose time too, the registry is as near as the cache, and the job is faster without hubcap."
            ),
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pulls, steps, unpacked_by_hubcap } = self;
        write!(
            f,
            "With hubcap: {:.1} s, of which {:.1} s were pulls",
            pulls.with_hubcap + steps.seconds(),
            pulls.with_hubcap
        )?;
        match steps.start {
            Some(start) => {
                write!(f, ", {start:.1} s hubcap's first step and {:.1} s its last one.", steps.end)?
            }
            None => write!(
                f,
                " and {:.1} s `hubcap down`; `hubcap up` and restoring or saving a cache come on top.",
                steps.end
            )?,
        }
        match unpacked_by_hubcap {
            true => write!(f, " Without: at least {:.1} s, as modeled with the same unpacking.", pulls.plain),
            false => write!(f, " Without: about {:.1} s, as modeled.", pulls.plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worth(with_hubcap: f64, plain: f64, steps: f64) -> Worth {
        let steps = Steps { start: Some(steps), end: 0.0 };
        let pulls = Estimate { with_hubcap, plain };
        Worth::new(true, Some(Account { pulls, steps, unpacked_by_hubcap: false }))
    }

    /// The same, where hubcap has changed how layers are unpacked.
    fn unpacked(with_hubcap: f64, plain: f64) -> Worth {
        let steps = Steps { start: Some(0.0), end: 0.0 };
        let pulls = Estimate { with_hubcap, plain };
        Worth::new(true, Some(Account { pulls, steps, unpacked_by_hubcap: true }))
    }

    #[test]
    fn a_gain_beyond_the_error_is_saved() {
        assert_eq!(worth(10.0, 30.0, 5.0).verdict(), "Saved about 15 s.");
        assert_eq!(worth(10.0, 30.0, 5.0).seconds_saved(), Some(15));
    }

    #[test]
    fn the_seconds_of_hubcap_s_steps_count() {
        assert_eq!(worth(10.0, 15.0, 15.0).verdict(), "Lost about 10 s.");
        assert_eq!(worth(10.0, 15.0, 15.0).seconds_saved(), Some(-10));
    }

    #[test]
    fn a_difference_within_the_model_s_error_is_even() {
        for (with, plain) in [(25.0, 30.0), (35.0, 30.0), (2.0, 2.9), (2.9, 2.0)] {
            assert_eq!(worth(with, plain, 0.0).verdict(), "About even.", "{with} {plain}");
            assert_eq!(worth(with, plain, 0.0).seconds_saved(), Some(0));
        }
    }

    #[test]
    fn what_is_not_known_has_no_figure() {
        for worth in [Worth::new(true, None), Worth::new(false, None)] {
            assert_eq!(worth.seconds_saved(), None);
        }
    }

    #[test]
    fn nothing_is_called_lost_where_a_plain_pull_would_have_unpacked_more_slowly() {
        for (with, plain) in [(40.0, 20.0), (20.0, 20.0)] {
            let worth = unpacked(with, plain);
            assert_eq!(
                (worth.verdict().as_str(), worth.seconds_saved()),
                ("Not known whether time was saved.", None)
            );
            assert!(worth.reasons().contains("Without: at least 20.0 s"), "{}", worth.reasons());
        }
        assert_eq!(unpacked(10.0, 20.0).verdict(), "Saved about 10 s.");
    }
}
