//! The circuits of one origin: whose a failure is, and whose calls are refused therefore.
//!
//! An origin to which no connection can be made, or that keeps everybody waiting, fails for all. A 429 is its limit for whoever asked. Everything else is the
//! trouble of one repository for who asked for it: a 5xx, a connection that ends, a token service or a host behind a redirect that
//! fails or has a limit and, while others are answered, a request that is not. Where there are no others, hubcap asks something
//! that is nobody's (end-1). What one client asks for must not keep the others from the registry, whatever it asks for, and
//! however often.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hubcap_oci::Repository;

use crate::auth::{Requester, Who};
use crate::circuit::{Circuit, CircuitState};
use crate::error::{Absence, Error, Failed};

/// When so many repositories fail, and none works, another one is left alone after its first failure: a gateway may answer for
/// an origin that is down.
const SEVERAL: usize = 3;
/// An origin that has answered well within this time, or since a request was sent, works: that the request gets no answer is
/// its repository's trouble.
const LATELY: Duration = Duration::from_secs(10);
/// Callers, and their repositories, that are remembered at most. What is not remembered is asked again, and fails again.
const MAX: usize = 1024;

/// Which calls to an origin are refused.
#[derive(Debug, Default)]
pub(crate) struct Circuits(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// For all calls.
    origin: Circuit,
    callers: HashMap<Who, Circuit>,
    requesters: HashMap<Requester, Circuit>,
    /// Those that failed since the origin last answered well, up to [`SEVERAL`].
    failing: Vec<Repository>,
    /// When that was.
    worked: Option<Instant>,
    /// When it last answered anything, be it nobody's question.
    answered: Option<Instant>,
}

/// What a failure may be the trouble of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Origin,
    Caller,
    /// One repository, for one caller.
    Requester,
}

/// A call that was let pass.
#[derive(Debug)]
pub(crate) struct Call {
    requester: Requester,
    began: Instant,
    /// Whether all others wait for what comes of it.
    is_probe: bool,
}

impl Call {
    /// One that needs no leave: it goes on with one that had it.
    pub(crate) const fn new(requester: Requester, began: Instant) -> Self {
        Self { requester, began, is_probe: false }
    }

    pub(crate) const fn is_probe(&self) -> bool {
        self.is_probe
    }
}

impl Circuits {
    /// How hubcap's own calls fare at `now`, whatever the repository is: where several fail and none works, as one of those.
    pub(crate) fn state(&self, now: Instant) -> CircuitState {
        let inner = self.lock();
        let are_several = inner.are_several_failing(now);
        let own = inner.requesters.iter().filter(|(one, _)| are_several && one.who == Who::Own);
        let repositories = own.map(|(_, circuit)| circuit);
        let mut states = std::iter::once(&inner.origin)
            .chain(inner.callers.get(&Who::Own))
            .chain(repositories)
            .map(|circuit| circuit.state(now));
        states.find(|state| *state != CircuitState::Closed).unwrap_or(CircuitState::Closed)
    }

    /// Lets a call pass at `now`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::RateLimited`] while such calls are refused.
    pub(crate) fn check(&self, requester: Requester, now: Instant) -> Result<Call, Error> {
        let mut inner = self.lock();
        // None is half-open for a call that another one refuses.
        inner.concerned(&requester).try_for_each(|(_, circuit)| circuit.check(now))?;
        let is_probe = inner.origin.state(now) != CircuitState::Closed;
        inner.concerned(&requester).for_each(|(_, circuit)| circuit.begin(now));
        drop(inner);
        Ok(Call { requester, began: now, is_probe })
    }

    /// Whether the origin has answered nothing at all since a call began.
    pub(crate) fn is_in_doubt(&self, call: &Call) -> bool {
        self.lock().answered.is_none_or(|answered| answered < call.began)
    }

    /// Notes an answer that tells nothing of any repository, and that the origin is there.
    pub(crate) fn note_answer(&self, now: Instant) {
        let mut inner = self.lock();
        inner.answered = Some(now);
        inner.origin.succeed(now);
    }

    /// Notes how a call went.
    pub(crate) fn record<T>(&self, call: &Call, result: &Result<T, Failed>, now: Instant) {
        let Call { requester, began, .. } = call;
        let mut inner = self.lock();
        let Err((blamed, error)) = inner.judge(call, result, now) else {
            inner.failing.clear();
            inner.worked = Some(now);
            inner.answered = Some(now);
            return inner.concerned(requester).for_each(|(_, circuit)| circuit.succeed(now));
        };
        let are_several = inner.are_several_failing(now);
        for (part, circuit) in inner.concerned(requester) {
            match part {
                _ if !blamed.contains(&part) => circuit.pass(now),
                Part::Requester if are_several => circuit.fail_again(*began, error, now),
                _ => circuit.fail(*began, error, now),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Whether the origin has answered well lately.
    fn works(&self, now: Instant) -> bool {
        self.worked.is_some_and(|worked| now.duration_since(worked) < LATELY)
    }

    /// Whether the origin was silent for all since `began`, and lately.
    fn is_silent(&self, began: Instant, now: Instant) -> bool {
        self.answered.is_none_or(|answered| answered < began && now.duration_since(answered) >= LATELY)
    }

    /// Whether several repositories fail, and none works.
    fn are_several_failing(&self, now: Instant) -> bool {
        self.failing.len() >= SEVERAL && !self.works(now)
    }

    /// What has failed; `Ok` for what shows that all works.
    fn judge<'a, T>(
        &mut self,
        call: &Call,
        result: &'a Result<T, Failed>,
        now: Instant,
    ) -> Result<(), (&'static [Part], &'a Error)> {
        let Call { requester, began, .. } = call;
        let Err(Failed { error, is_elsewhere }) = result else { return Ok(()) };
        let blamed: &[Part] = match error {
            // Not implemented: that says something of the request, and nothing of the origin's state.
            Error::Failed { status: 501 } => return Ok(()),
            // What another host says tells nothing of this one.
            _ if *is_elsewhere && !error.is_trouble() => &[],
            _ if *is_elsewhere => &[Part::Requester],
            Error::Unavailable { absence: Absence::Unreachable, .. } => &[Part::Origin],
            // Each of these costs a timeout.
            Error::Unavailable { absence: Absence::Silent, .. } if self.is_silent(*began, now) => {
                &[Part::Requester, Part::Origin]
            }
            Error::Unavailable { .. } => &[Part::Requester],
            Error::RateLimited { .. } => &[Part::Caller],
            Error::Failed { .. } | Error::Overloaded { .. } => &[Part::Requester],
            // The question that comes next, without the range, shows whether it works.
            Error::NoRange { .. } => &[],
            // Any other answer is one.
            _ => return Ok(()),
        };
        for part in blamed {
            match part {
                Part::Origin => {}
                Part::Caller => remember(&mut self.callers, &requester.who, Circuit::default, now),
                Part::Requester => {
                    remember(&mut self.requesters, requester, Circuit::of_repository, now);
                    let repository = &requester.repository;
                    if !is_elsewhere && self.failing.len() < SEVERAL && !self.failing.contains(repository) {
                        self.failing.push(repository.clone());
                    }
                }
            }
        }
        Err((blamed, error))
    }

    /// The circuits that a call goes through.
    fn concerned(&mut self, requester: &Requester) -> impl Iterator<Item = (Part, &mut Circuit)> {
        let Self { origin, callers, requesters, .. } = self;
        let caller = callers.get_mut(&requester.who).map(|circuit| (Part::Caller, circuit));
        let own = requesters.get_mut(requester).map(|circuit| (Part::Requester, circuit));
        std::iter::once((Part::Origin, origin)).chain(caller).chain(own)
    }
}

/// Has a circuit for `key`, unless there are too many that refuse calls.
fn remember<K: Clone + Eq + Hash>(
    circuits: &mut HashMap<K, Circuit>,
    key: &K,
    new: impl FnOnce() -> Circuit,
    now: Instant,
) {
    if circuits.len() >= MAX && !circuits.contains_key(key) {
        circuits.retain(|_, circuit| circuit.check(now).is_err());
    }
    if circuits.len() < MAX {
        circuits.entry(key.clone()).or_insert_with(new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::Secret;

    fn requester(who: &Who, repository: &str) -> Requester {
        Requester { who: who.clone(), repository: repository.parse().expect("a repository") }
    }

    /// A call of hubcap's own, which ends so.
    fn end(circuits: &Circuits, repository: &str, result: &Result<(), Error>, now: Instant) {
        let result = result.clone().map_err(Failed::here);
        circuits.record(&Call::new(requester(&Who::Own, repository), now), &result, now);
    }

    fn passes(circuits: &Circuits, repository: &str, now: Instant) -> bool {
        circuits.check(requester(&Who::Own, repository), now).is_ok()
    }

    #[test]
    fn connections_that_fail_close_the_way_for_all() {
        let (circuits, now) = (Circuits::default(), Instant::now());
        for repository in ["a", "a", "b"] {
            end(&circuits, repository, &Err(Error::unreachable("no connection")), now);
        }
        assert!(!passes(&circuits, "c", now));
        assert!(circuits.check(requester(&Who::Anonymous, "c"), now).is_err());
        assert!(matches!(circuits.state(now), CircuitState::Open { .. }));
    }

    #[test]
    fn a_request_that_gets_no_answer_is_its_repositorys_trouble_while_others_are_answered() {
        let (circuits, now) = (Circuits::default(), Instant::now());
        let silent = Err(Error::silent("no answer in time"));
        end(&circuits, "good", &Ok(()), now);
        for second in 0..30 {
            let now = now + Duration::from_secs(second);
            end(&circuits, "bad", &silent, now);
            assert!(passes(&circuits, "good", now));
            assert_eq!(passes(&circuits, "bad", now), second < 2);
            end(&circuits, "good", &Ok(()), now);
        }
        let later = now + Duration::from_secs(30) + LATELY;
        for repository in ["bad", "good", "good"] {
            end(&circuits, repository, &silent, later);
        }
        assert!(!passes(&circuits, "another", later), "nothing was answered lately");
    }

    #[test]
    fn a_silence_blames_the_origin_only_if_it_answers_nothing_at_all_meanwhile() {
        let (circuits, began) = (Circuits::default(), Instant::now());
        let silent = Err::<(), _>(Failed::here(Error::silent("no answer in time")));
        let timeout = 3 * LATELY;
        for number in 0..10 {
            let began = began + number * timeout;
            let call = circuits.check(requester(&Who::Own, &format!("evil{number}")), began).expect("a call");
            assert!(!call.is_probe() && circuits.is_in_doubt(&call));
            circuits.note_answer(began + Duration::from_secs(1));
            assert!(!circuits.is_in_doubt(&call));
            circuits.record(&call, &silent, began + timeout);
            assert!(passes(&circuits, "good", began + timeout));
        }
    }

    #[test]
    fn an_answer_to_nobodys_question_ends_the_wait_for_a_probe_that_gets_none() {
        let (circuits, now) = (Circuits::default(), Instant::now());
        for _ in 0..3 {
            end(&circuits, "evil", &Err(Error::silent("no answer in time")), now);
        }
        let after = now + Duration::from_millis(1001);
        let probe = circuits.check(requester(&Who::Own, "evil2"), after).expect("the probe");
        assert!(probe.is_probe() && !passes(&circuits, "good", after));
        circuits.note_answer(after);
        assert!(passes(&circuits, "good", after));
        let silent = Err::<(), _>(Failed::here(Error::silent("no answer in time")));
        circuits.record(&probe, &silent, after + 3 * LATELY);
        assert!(passes(&circuits, "good", after + 3 * LATELY));
    }

    #[test]
    fn the_first_probe_of_an_origin_is_of_another_repository_than_the_one_that_failed() {
        let (circuits, now) = (Circuits::default(), Instant::now());
        for _ in 0..3 {
            end(&circuits, "bad", &Err(Error::silent("no answer in time")), now);
        }
        let after = now + Duration::from_millis(1001);
        assert!(!passes(&circuits, "good", now) && !passes(&circuits, "bad", after));
        assert!(passes(&circuits, "good", after));
    }

    #[test]
    fn what_another_host_does_is_at_most_the_trouble_of_who_asked_for_the_repository() {
        let long = Duration::from_secs(600);
        for error in [
            Error::unreachable("no connection to the token service"),
            Error::Failed { status: 500 },
            Error::RateLimited { retry_after: Some(long) },
            Error::Overloaded { retry_after: long },
        ] {
            let (circuits, now) = (Circuits::default(), Instant::now());
            let failed = Err::<(), _>(Failed::elsewhere(error));
            for _ in 0..10 {
                circuits.record(&Call::new(requester(&Who::Own, "bad"), now), &failed, now);
            }
            assert!(!passes(&circuits, "bad", now) && passes(&circuits, "good", now), "{failed:?}");
        }
        let (circuits, now) = (Circuits::default(), Instant::now());
        let denied = Err::<(), _>(Failed::elsewhere(Error::Denied { status: 403 }));
        for repository in ["a", "b", "c"] {
            circuits.record(&Call::new(requester(&Who::Own, "denied"), now), &denied, now);
            end(&circuits, repository, &Err(Error::silent("no answer in time")), now);
        }
        assert!(!passes(&circuits, "d", now), "a token service's no does not show that the registry works");
    }

    #[test]
    fn no_number_of_repositories_that_fail_closes_the_way_to_others() {
        let long = Duration::from_secs(600);
        for failed in [
            Failed::here(Error::Failed { status: 500 }),
            Failed::here(Error::Overloaded { retry_after: long }),
            Failed::here(Error::unavailable("the connection was closed")),
            Failed::elsewhere(Error::unreachable("no connection to the token service")),
            Failed::elsewhere(Error::unavailable("no answer of the host that it redirects to")),
            Failed::elsewhere(Error::RateLimited { retry_after: Some(long) }),
        ] {
            let (circuits, now) = (Circuits::default(), Instant::now());
            let result = Err::<(), _>(failed);
            for number in (0..3).flat_map(|_| 0..MAX) {
                let call = Call::new(requester(&Who::Own, &format!("r{number}")), now);
                circuits.record(&call, &result, now);
            }
            assert!(!passes(&circuits, "r0", now) && passes(&circuits, "another", now), "{result:?}");
        }
    }

    #[test]
    fn what_a_token_service_refuses_one_caller_is_not_refused_to_another() {
        let (circuits, now) = (Circuits::default(), Instant::now());
        let limited = Err::<(), _>(Failed::elsewhere(Error::RateLimited { retry_after: None }));
        circuits.record(&Call::new(requester(&Who::Own, "a"), now), &limited, now);
        assert!(!passes(&circuits, "a", now) && passes(&circuits, "b", now));
        let client = Who::Client(Secret::new("Bearer 1".to_owned()));
        assert!(circuits.check(requester(&client, "a"), now).is_ok());
    }

    #[test]
    fn a_429_is_the_limit_of_its_caller_alone() {
        let (circuits, now) = (Circuits::default(), Instant::now());
        let client = |number: u32| Who::Client(Secret::new(format!("Bearer {number}")));
        let limited = Err::<(), _>(Error::RateLimited { retry_after: Some(Duration::from_secs(600)) });
        let of_client = limited.clone().map_err(Failed::here);
        for number in 0..10 {
            circuits.record(&Call::new(requester(&client(number), "a"), now), &of_client, now);
            let refused = circuits.check(requester(&client(number), "b"), now);
            assert!(matches!(refused, Err(Error::RateLimited { .. })));
        }
        assert!(passes(&circuits, "a", now));
        assert!(circuits.check(requester(&client(10), "a"), now).is_ok());
        assert_eq!(circuits.state(now), CircuitState::Closed);
        end(&circuits, "a", &limited, now);
        assert!(matches!(circuits.state(now), CircuitState::Open { .. }), "hubcap's own is told");
    }

    #[test]
    fn a_5xx_is_the_trouble_of_its_repository_and_one_is_enough_when_several_have_it() {
        let (circuits, now) = (Circuits::default(), Instant::now());
        let failed = Err(Error::Failed { status: 500 });
        for _ in 0..60 {
            end(&circuits, "a", &failed, now);
            end(&circuits, "b", &failed, now);
        }
        assert_eq!(
            ["a", "b", "c"].map(|repository| passes(&circuits, repository, now)),
            [false, false, true]
        );
        end(&circuits, "c", &failed, now);
        assert!(!passes(&circuits, "c", now));
        assert!(matches!(circuits.state(now), CircuitState::Open { .. }));
        end(&circuits, "d", &Ok(()), now);
        assert_eq!(circuits.state(now), CircuitState::Closed);
        end(&circuits, "e", &failed, now);
        assert!(passes(&circuits, "e", now), "the origin works");
    }

    #[test]
    fn what_another_repository_gives_shows_that_the_origin_works() {
        let (circuits, now) = (Circuits::default(), Instant::now());
        for _ in 0..10 {
            for repository in ["a", "b", "c"] {
                end(&circuits, repository, &Err(Error::Failed { status: 503 }), now);
                end(&circuits, "d", &Ok(()), now);
            }
        }
        assert_eq!(["a", "d"].map(|repository| passes(&circuits, repository, now)), [false, true]);
    }

    #[test]
    fn a_no_is_an_answer_that_shows_that_the_origin_works() {
        for answer in [
            Ok(()),
            Err(Error::NotFound),
            Err(Error::Denied { status: 403 }),
            Err(Error::Refused { status: 400 }),
            Err(Error::Failed { status: 501 }),
        ] {
            let (circuits, now) = (Circuits::default(), Instant::now());
            for result in [&Err(Error::unreachable("down")), &Err(Error::unreachable("down")), &answer] {
                end(&circuits, "a", result, now);
            }
            end(&circuits, "a", &Err(Error::unreachable("down")), now);
            assert!(passes(&circuits, "a", now), "{answer:?}");
        }
    }

    #[test]
    fn no_number_of_callers_is_remembered_without_a_limit() {
        let (circuits, now) = (Circuits::default(), Instant::now());
        let limited = Err::<(), _>(Failed::here(Error::RateLimited { retry_after: None }));
        for number in 0..2 * MAX {
            let who = Who::Client(Secret::new(format!("Bearer {number}")));
            circuits.record(&Call::new(requester(&who, "a"), now), &limited, now);
        }
        assert_eq!(circuits.lock().callers.len(), MAX);
    }
}
