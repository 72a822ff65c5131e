//! When a registry last said what is stored, by clocks that are not trusted alone.

use std::time::{Duration, SystemTime};

use crate::boot;

/// When something was last confirmed, and how far that can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validation {
    /// Since this machine was started, by a hubcap that [this one relies on](crate::rely_on_what_is_noted_with).
    Here(Moment),
    /// Before that, or by somebody else: a time to tell, not to rely on.
    Elsewhere(SystemTime),
    /// Never, or that was lost.
    Unknown,
}

impl Validation {
    /// Now, on this machine.
    pub fn now() -> Self {
        Self::Here(Moment::now())
    }

    /// The time, whoever noted it.
    pub const fn time(self) -> Option<SystemTime> {
        match self {
            Self::Here(Moment { at, .. }) | Self::Elsewhere(at) => Some(at),
            Self::Unknown => None,
        }
    }
}

/// A moment since this machine was started, by two clocks. The clock on the wall is set forward and back. The time since
/// the start is not, but it stands still in a virtual machine that is stopped and later goes on from a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// By the clock on the wall.
    pub at: SystemTime,
    /// Since the machine was started, suspended time included.
    pub up: Duration,
}

impl Moment {
    /// This moment.
    pub fn now() -> Self {
        Self { at: SystemTime::now(), up: boot::uptime() }
    }

    /// How long ago that was, by the clock that says more; `None` if one of them says that it is still to come.
    pub fn age(self, now: Self) -> Option<Duration> {
        let by_wall = now.at.duration_since(self.at).ok()?;
        Some(by_wall.max(now.up.checked_sub(self.up)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn an_age_is_what_the_clock_says_that_says_more() {
        let then = Moment::now();
        let later = |at: Duration, up: Duration| then.age(Moment { at: then.at + at, up: then.up + up });
        assert_eq!(later(HOUR, HOUR), Some(HOUR));
        assert_eq!(later(HOUR, 3 * HOUR), Some(3 * HOUR), "the clock was set back by two hours");
        assert_eq!(later(3 * HOUR, HOUR), Some(3 * HOUR), "the machine stood still for two hours");
    }

    #[test]
    fn a_moment_that_is_still_to_come_has_no_age() {
        let now = Moment::now();
        assert_eq!(Moment { at: now.at + HOUR, up: now.up }.age(now), None);
        assert_eq!(Moment { at: now.at, up: now.up + HOUR }.age(now), None);
    }
}
