//! A circuit breaker for one upstream: while the upstream fails, hubcap does not ask it, because each client's request
//! would only wait for the same failure.

use std::sync::{Mutex, PoisonError};
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

/// Closed: calls pass. Open: calls are refused until a pause is over. Half-open: one call, the probe, is out, and all
/// others are refused until it has ended: the outage may go on, and would cost each of them a timeout.
#[derive(Debug, Default)]
pub(crate) struct Circuit(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Failures in a row.
    failures: u32,
    state: State,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Closed,
    Open {
        until: Instant,
        why: String,
        /// Whether it is only that too many requests were sent.
        is_limit: bool,
    },
    HalfOpen {
        /// When the probe counts as lost.
        until: Instant,
        why: String,
        is_limit: bool,
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

impl Circuit {
    /// As it is at `now`.
    pub(crate) fn state(&self, now: Instant) -> CircuitState {
        match &self.0.lock().unwrap_or_else(PoisonError::into_inner).state {
            State::Closed => CircuitState::Closed,
            State::Open { until, why, .. } => {
                let seconds = until.saturating_duration_since(now).as_secs();
                CircuitState::Open { why: why.clone(), seconds }
            }
            State::HalfOpen { why, .. } => CircuitState::HalfOpen { why: why.clone() },
        }
    }

    /// Whether the upstream may be asked at `now`.
    ///
    /// # Errors
    /// [`Error::Unavailable`], with the failure that opened the circuit, while calls are refused; [`Error::RateLimited`] where a
    /// rate limit has opened it.
    pub(crate) fn check(&self, now: Instant) -> Result<(), Error> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (State::Open { until, why, is_limit } | State::HalfOpen { until, why, is_limit }) =
            &mut inner.state
        else {
            return Ok(());
        };
        if *until > now {
            let left = until.duration_since(now).as_secs() + 1;
            if *is_limit {
                return Err(Error::RateLimited { retry_after: Some(Duration::from_secs(left)) });
            }
            return Err(Error::unavailable(format!("{why}; not asked again for {left} s")));
        }
        inner.state = State::HalfOpen { until: now + PROBE, why: std::mem::take(why), is_limit: *is_limit };
        Ok(())
    }

    /// Notes how a call went.
    pub(crate) fn record<T>(&self, result: &Result<T, Error>, now: Instant) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Err(error) = result else {
            *inner = Inner::default();
            return;
        };
        let pause = match error {
            Error::RateLimited { retry_after: Some(wish) } | Error::Overloaded { retry_after: wish } => {
                (*wish).min(LONGEST_RETRY_AFTER)
            }
            // Not implemented: that says something of the request, and nothing of the upstream's state.
            Error::Failed { status: 501 } => {
                *inner = Inner::default();
                return;
            }
            Error::Unavailable { .. } | Error::Failed { .. } | Error::RateLimited { retry_after: None } => {
                inner.failures += 1;
                // "Too many requests" is meant for every request, not for the one object.
                if matches!(error, Error::RateLimited { .. }) {
                    inner.failures = inner.failures.max(MAX_FAILURES);
                }
                if inner.failures < MAX_FAILURES {
                    return;
                }
                let doublings = (inner.failures - MAX_FAILURES).min(5);
                (FIRST_PAUSE * 2_u32.pow(doublings)).min(LONGEST_PAUSE)
            }
            // The question that comes next, without the range, shows whether it works.
            Error::NoRange { .. } => {
                inner.state = State::Closed;
                return;
            }
            // Any other answer shows that the upstream works.
            _ => {
                *inner = Inner::default();
                return;
            }
        };
        let is_limit = matches!(error, Error::RateLimited { .. });
        inner.state = State::Open { until: now + pause, why: error.to_string(), is_limit };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn down() -> Result<(), Error> {
        Err(Error::unavailable("down"))
    }

    #[test]
    fn it_opens_after_three_failures_and_lets_calls_pass_after_a_pause() {
        let (circuit, start) = (Circuit::default(), Instant::now());
        circuit.record(&down(), start);
        circuit.record(&down(), start);
        assert_eq!(circuit.check(start), Ok(()));
        circuit.record(&down(), start);
        assert!(circuit.check(start).is_err());
        assert_eq!(circuit.check(start + FIRST_PAUSE), Ok(()));
        circuit.record(&down(), start);
        assert!(circuit.check(start + FIRST_PAUSE).is_err(), "the second pause is longer");
    }

    #[test]
    fn half_open_lets_one_probe_out() {
        let (circuit, start) = (Circuit::default(), Instant::now());
        for _ in 0..MAX_FAILURES {
            circuit.record(&down(), start);
        }
        let after = start + FIRST_PAUSE;
        assert_eq!(circuit.check(after), Ok(()));
        assert!(circuit.check(after).is_err(), "a second call, before the probe has ended");
        // A probe that never ends does not keep the circuit half-open for ever.
        assert_eq!(circuit.check(after + PROBE), Ok(()));
        circuit.record(&Ok::<_, Error>(()), after + PROBE);
        assert_eq!([circuit.check(after + PROBE), circuit.check(after + PROBE)], [Ok(()), Ok(())]);
    }

    #[test]
    fn a_no_or_a_success_closes_it() {
        let (circuit, now) = (Circuit::default(), Instant::now());
        for answer in [
            Ok(()),
            Err(Error::NotFound),
            Err(Error::Denied { status: 403 }),
            Err(Error::Refused { status: 400 }),
            Err(Error::Failed { status: 501 }),
        ] {
            circuit.record(&down(), now);
            circuit.record(&down(), now);
            circuit.record(&answer, now);
            circuit.record(&down(), now);
            assert_eq!(circuit.check(now), Ok(()));
        }
    }

    #[test]
    fn a_range_that_is_refused_says_nothing_and_the_next_failure_opens_it_again() {
        let (circuit, now) = (Circuit::default(), Instant::now());
        for _ in 0..MAX_FAILURES {
            circuit.record(&down(), now);
        }
        let later = now + FIRST_PAUSE;
        assert_eq!(circuit.check(later), Ok(()));
        circuit.record(&Err::<(), _>(Error::no_range("refused")), later);
        assert_eq!(circuit.check(later), Ok(()), "the same without a range");
        circuit.record(&down(), later);
        assert!(circuit.check(later).is_err());
    }

    #[test]
    fn too_many_requests_open_it_at_once() {
        let (circuit, now) = (Circuit::default(), Instant::now());
        circuit.record(&Err::<(), _>(Error::RateLimited { retry_after: None }), now);
        assert!(circuit.check(now).is_err());
        assert_eq!(circuit.check(now + FIRST_PAUSE), Ok(()));
    }

    #[test]
    fn retry_after_is_honoured_at_once_and_bounded() {
        let (circuit, now) = (Circuit::default(), Instant::now());
        let wish =
            |seconds| Err::<(), _>(Error::RateLimited { retry_after: Some(Duration::from_secs(seconds)) });
        circuit.record(&wish(7), now);
        assert!(circuit.check(now + Duration::from_secs(6)).is_err());
        assert_eq!(circuit.check(now + Duration::from_secs(7)), Ok(()));
        circuit.record(&wish(u64::MAX), now);
        assert_eq!(circuit.check(now + LONGEST_RETRY_AFTER), Ok(()));
    }
}
