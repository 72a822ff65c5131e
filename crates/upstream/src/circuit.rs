//! A circuit breaker: while what it guards fails, hubcap does not ask it, because each client's request would only wait for the
//! same failure.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Failures in a row before the circuit opens: one object that fails must not keep clients from the others.
const MAX_FAILURES: u32 = 3;
/// How long the circuit stays open at first; the pause doubles with each further failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long the circuit waits for its probe at most before it sends another one.
const PROBE: Duration = Duration::from_secs(5);
/// The longest `Retry-After` that is honoured.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(600);

/// The same of one repository. Its probe comes after that of the whole origin: that one must not be its own again and again.
const FIRST_PAUSE_OF_ONE: Duration = Duration::from_secs(2);

/// Closed: calls pass. Open: calls are refused until a pause is over. Half-open: one call, the probe, is out, and all
/// others are refused until it has ended: the outage may go on, and would cost each of them a timeout.
#[derive(Debug)]
pub(crate) struct Circuit {
    /// How long it stays open at first.
    first_pause: Duration,
    /// Failures in a row.
    failures: u32,
    state: State,
    /// When the state last changed. A call that began before that tells nothing new: of many that a moment's absence failed,
    /// the first ones are enough.
    changed: Option<Instant>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Closed,
    Open {
        until: Instant,
        why: Error,
    },
    HalfOpen {
        /// When the probe counts as lost.
        until: Instant,
        why: Error,
    },
}

/// A circuit, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CircuitState {
    /// Calls pass.
    Closed,
    /// Calls are refused.
    Open {
        /// The failure that opened it.
        why: String,
        /// Seconds until one call passes again.
        seconds: u64,
    },
    /// One call, the probe, is out.
    HalfOpen {
        /// The failure that opened it.
        why: String,
    },
}

impl Default for Circuit {
    fn default() -> Self {
        Self { first_pause: FIRST_PAUSE, failures: 0, state: State::default(), changed: None }
    }
}

impl Circuit {
    /// One of a repository.
    pub(crate) fn of_repository() -> Self {
        Self { first_pause: FIRST_PAUSE_OF_ONE, ..Self::default() }
    }

    /// As it is at `now`.
    pub(crate) fn state(&self, now: Instant) -> CircuitState {
        match &self.state {
            State::Closed => CircuitState::Closed,
            State::Open { until, why } => {
                let seconds = until.saturating_duration_since(now).as_secs();
                CircuitState::Open { why: why.to_string(), seconds }
            }
            State::HalfOpen { why, .. } => CircuitState::HalfOpen { why: why.to_string() },
        }
    }

    /// Whether calls are refused at `now`.
    ///
    /// # Errors
    /// [`Error::Unavailable`], with the failure that opened the circuit, while they are; [`Error::RateLimited`] where a rate
    /// limit has opened it.
    pub(crate) fn check(&self, now: Instant) -> Result<(), Error> {
        let (State::Open { until, why } | State::HalfOpen { until, why }) = &self.state else {
            return Ok(());
        };
        if *until <= now {
            return Ok(());
        }
        let left = until.duration_since(now).as_secs() + 1;
        Err(match why {
            Error::RateLimited { .. } => Error::RateLimited { retry_after: Some(Duration::from_secs(left)) },
            why => Error::unavailable(format!("{why}; not asked again for {left} s")),
        })
    }

    /// Notes that a call is made: where the circuit is not closed, it is the probe.
    pub(crate) fn begin(&mut self, now: Instant) {
        let until = now + PROBE;
        match std::mem::take(&mut self.state) {
            State::Closed => {}
            State::Open { why, .. } => {
                self.changed = Some(now);
                self.state = State::HalfOpen { until, why };
            }
            // The probe was lost, and may still tell that nothing has changed.
            State::HalfOpen { why, .. } => self.state = State::HalfOpen { until, why },
        }
    }

    /// Notes a call that worked.
    pub(crate) fn succeed(&mut self, now: Instant) {
        self.failures = 0;
        self.close(now);
    }

    /// Notes a call that tells nothing of what is guarded. Where it was the probe, the next call tells.
    pub(crate) fn pass(&mut self, now: Instant) {
        if matches!(self.state, State::HalfOpen { .. }) {
            self.close(now);
        }
    }

    /// Notes a failure of a call that began at `began`.
    pub(crate) fn fail(&mut self, began: Instant, why: &Error, now: Instant) {
        if self.changed.is_some_and(|changed| began < changed) {
            return;
        }
        if let Error::RateLimited { retry_after: Some(wish) } | Error::Overloaded { retry_after: wish } = why
        {
            return self.open((*wish).min(LONGEST_RETRY_AFTER), why, now);
        }
        self.failures += 1;
        // "Too many requests" is meant for every request, not for the one object.
        if matches!(why, Error::RateLimited { .. }) {
            self.failures = self.failures.max(MAX_FAILURES);
        }
        if self.failures >= MAX_FAILURES {
            let doublings = (self.failures - MAX_FAILURES).min(5);
            self.open((self.first_pause * 2_u32.pow(doublings)).min(LONGEST_PAUSE), why, now);
        }
    }

    /// The same where other calls have shown already that it is no accident.
    pub(crate) fn fail_again(&mut self, began: Instant, why: &Error, now: Instant) {
        self.failures = self.failures.max(MAX_FAILURES - 1);
        self.fail(began, why, now);
    }

    fn close(&mut self, now: Instant) {
        if !matches!(self.state, State::Closed) {
            self.state = State::Closed;
            self.changed = Some(now);
        }
    }

    fn open(&mut self, pause: Duration, why: &Error, now: Instant) {
        self.state = State::Open { until: now + pause, why: why.clone() };
        self.changed = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn down() -> Error {
        Error::unavailable("down")
    }

    /// A circuit that three calls have opened, at this time.
    fn opened(now: Instant) -> Circuit {
        let mut circuit = Circuit::default();
        for _ in 0..MAX_FAILURES {
            circuit.fail(now, &down(), now);
        }
        circuit
    }

    #[test]
    fn it_opens_after_three_failures_and_lets_calls_pass_after_a_pause() {
        let (mut circuit, start) = (Circuit::default(), Instant::now());
        circuit.fail(start, &down(), start);
        circuit.fail(start, &down(), start);
        assert_eq!(circuit.check(start), Ok(()));
        circuit.fail(start, &down(), start);
        assert!(circuit.check(start).is_err());
        let later = start + FIRST_PAUSE;
        assert_eq!(circuit.check(later), Ok(()));
        circuit.begin(later);
        circuit.fail(later, &down(), later);
        assert!(circuit.check(later + FIRST_PAUSE).is_err(), "the second pause is longer");
    }

    #[test]
    fn half_open_lets_one_probe_out() {
        let start = Instant::now();
        let (mut circuit, after) = (opened(start), start + FIRST_PAUSE);
        assert_eq!(circuit.check(after), Ok(()));
        circuit.begin(after);
        assert!(circuit.check(after).is_err(), "a second call, before the probe has ended");
        // A probe that never ends does not keep the circuit half-open for ever.
        assert_eq!(circuit.check(after + PROBE), Ok(()));
        circuit.begin(after + PROBE);
        circuit.succeed(after + PROBE);
        circuit.begin(after + PROBE);
        assert_eq!(circuit.check(after + PROBE), Ok(()));
    }

    #[test]
    fn a_success_forgets_failures() {
        let (mut circuit, now) = (Circuit::default(), Instant::now());
        circuit.fail(now, &down(), now);
        circuit.fail(now, &down(), now);
        circuit.succeed(now);
        circuit.fail(now, &down(), now);
        assert_eq!(circuit.check(now), Ok(()));
    }

    #[test]
    fn after_a_probe_that_tells_nothing_the_next_failure_opens_it_again() {
        let now = Instant::now();
        let (mut circuit, later) = (opened(now), now + FIRST_PAUSE);
        circuit.begin(later);
        circuit.pass(later);
        assert_eq!(circuit.check(later), Ok(()), "the same without a range");
        circuit.fail(later, &down(), later);
        assert!(circuit.check(later).is_err());
    }

    #[test]
    fn failures_that_began_before_it_changed_do_not_count() {
        let start = Instant::now();
        let seconds = Duration::from_secs;
        // Of 500 calls that began in one moment's absence, three open it.
        let mut circuit = opened(start + seconds(1));
        for _ in 0..500 {
            circuit.fail(start, &down(), start + seconds(1));
        }
        assert_eq!(circuit.check(start + seconds(1) + FIRST_PAUSE), Ok(()));
        // What comes late, after a success, neither.
        circuit.begin(start + seconds(2));
        circuit.succeed(start + seconds(3));
        for _ in 0..500 {
            circuit.fail(start + seconds(1), &down(), start + seconds(4));
        }
        assert_eq!(circuit.check(start + seconds(4)), Ok(()));
    }

    #[test]
    fn too_many_requests_open_it_at_once() {
        let (mut circuit, now) = (Circuit::default(), Instant::now());
        circuit.fail(now, &Error::RateLimited { retry_after: None }, now);
        assert!(matches!(circuit.check(now), Err(Error::RateLimited { .. })));
        assert_eq!(circuit.check(now + FIRST_PAUSE), Ok(()));
    }

    #[test]
    fn retry_after_is_honoured_at_once_and_bounded() {
        let (mut circuit, now) = (Circuit::default(), Instant::now());
        let wish = |seconds| Error::RateLimited { retry_after: Some(Duration::from_secs(seconds)) };
        circuit.fail(now, &wish(7), now);
        assert!(circuit.check(now + Duration::from_secs(6)).is_err());
        let later = now + Duration::from_secs(7);
        assert_eq!(circuit.check(later), Ok(()));
        circuit.begin(later);
        circuit.fail(later, &wish(u64::MAX), later);
        assert_eq!(circuit.check(later + LONGEST_RETRY_AFTER), Ok(()));
    }
}
