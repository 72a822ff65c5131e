//! An upstream that fails is left alone for a while: each client's request would only wait for the same failure.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::Error;

/// Failures in a row before the upstream is left alone: one object that fails must not close the others' way.
const PATIENCE: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// After a pause one request goes out, and all others are answered as before until it is known how that went, for at
/// most so long: the outage goes on perhaps, and would cost each of them a timeout.
const PROBE: Duration = Duration::from_secs(5);
/// What a `Retry-After` may ask for at most.
const LONGEST_WISH: Duration = Duration::from_secs(600);

#[derive(Debug, Default)]
pub(crate) struct Circuit(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    closed_until: Option<(Instant, String)>,
}

impl Circuit {
    /// Whether the upstream may be asked at `now`.
    pub(crate) fn check(&self, now: Instant) -> Result<(), Error> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut state.closed_until {
            Some((until, why)) if *until > now => {
                let left = until.duration_since(now).as_secs() + 1;
                Err(Error::unavailable(format!("{why}; not asked again for {left} s")))
            }
            Some((until, _)) => {
                *until = now + PROBE;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Notes how a request went.
    pub(crate) fn record<T>(&self, result: &Result<T, Error>, now: Instant) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pause = match result {
            Err(Error::RateLimited { retry_after: Some(wish) } | Error::Overloaded { retry_after: wish }) => {
                (*wish).min(LONGEST_WISH)
            }
            Err(error @ (Error::Unavailable { .. } | Error::RateLimited { .. })) => {
                state.failures += 1;
                // "Too many" is for all that comes, not for the one object.
                if matches!(error, Error::RateLimited { .. }) {
                    state.failures = state.failures.max(PATIENCE);
                }
                if state.failures < PATIENCE {
                    return;
                }
                let doublings = (state.failures - PATIENCE).min(5);
                (FIRST_PAUSE * 2_u32.pow(doublings)).min(LONGEST_PAUSE)
            }
            // Any other answer shows that it is there.
            _ => {
                *state = State::default();
                return;
            }
        };
        if let Err(error) = result {
            state.closed_until = Some((now + pause, error.to_string()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn down() -> Result<(), Error> {
        Err(Error::unavailable("down"))
    }

    #[test]
    fn it_closes_after_three_failures_and_opens_again_by_itself() {
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
    fn after_a_pause_one_request_goes_out_for_all() {
        let (circuit, start) = (Circuit::default(), Instant::now());
        for _ in 0..PATIENCE {
            circuit.record(&down(), start);
        }
        let after = start + FIRST_PAUSE;
        assert_eq!(circuit.check(after), Ok(()));
        assert!(circuit.check(after).is_err(), "a second one, before the first has come back");
        // One that never comes back does not close the way for ever.
        assert_eq!(circuit.check(after + PROBE), Ok(()));
        circuit.record(&Ok::<_, Error>(()), after + PROBE);
        assert_eq!([circuit.check(after + PROBE), circuit.check(after + PROBE)], [Ok(()), Ok(())]);
    }

    #[test]
    fn a_no_or_a_success_shows_that_it_is_there() {
        let (circuit, now) = (Circuit::default(), Instant::now());
        for answer in [Ok(()), Err(Error::NotFound), Err(Error::Denied { status: 403 })] {
            circuit.record(&down(), now);
            circuit.record(&down(), now);
            circuit.record(&answer, now);
            circuit.record(&down(), now);
            assert_eq!(circuit.check(now), Ok(()));
        }
    }

    #[test]
    fn too_many_requests_close_it_at_once() {
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
        assert_eq!(circuit.check(now + LONGEST_WISH), Ok(()));
    }
}
