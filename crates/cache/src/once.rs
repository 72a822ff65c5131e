//! Asking an upstream: once for all who want the same, not at all for what it has just refused, and not more at a time than
//! there are places.

use std::pin::pin;
use std::time::Duration;

use crate::cache::{Cache, Questions};
use crate::error::{Error, Failure};
use crate::flight::{Role, Subscription, UNBEGUN, UNWANTED};
use crate::outcome::Answer;
use crate::question::Question;

impl Cache {
    /// The answer to a question: the one that is remembered, that of the flight that runs, or else that of `ask`, which
    /// starts one. The flight of another request may hang: who has waited for it for a while asks as well, and takes what
    /// comes first.
    ///
    /// # Errors
    /// A [`Failure`] of `ask`, or the remembered one.
    pub(crate) async fn ask_once<V, F>(
        &self,
        flights: &Questions<V>,
        question: &Question,
        ask: impl Fn() -> F,
    ) -> Result<Answer<V>, Failure>
    where
        V: Clone + Send + Sync + 'static,
        F: Future<Output = Result<Answer<V>, Error>> + Send + 'static,
    {
        let asking = async {
            let first = self.join_question(flights, question, &ask);
            if first.role == Role::Leader {
                return Ok(answer_of(first).await?);
            }
            let mut first = pin!(answer_of(first));
            if let Ok(answer) = tokio::time::timeout(UNBEGUN, &mut first).await {
                return Ok(answer?);
            }
            let mut second = pin!(answer_of(self.join_question(flights, question, &ask)));
            Ok(tokio::select! {
                answer = &mut first => if answer.is_ok() { answer } else { second.await },
                answer = &mut second => if answer.is_ok() { answer } else { first.await },
            }?)
        };
        self.0.negative.asked(question, asking).await
    }

    /// Joins the flight of a question, or starts it. It ends when nobody waits for it any more.
    pub(crate) fn join_question<V, F>(
        &self,
        flights: &Questions<V>,
        question: &Question,
        ask: impl FnOnce() -> F,
    ) -> Subscription<Result<Answer<V>, Error>>
    where
        V: Clone + Send + Sync + 'static,
        F: Future<Output = Result<Answer<V>, Error>> + Send + 'static,
    {
        flights.join(question.clone(), |publisher| {
            let (asked, places, target) = (ask(), self.0.questions.clone(), question.access.target.clone());
            async move {
                let unwanted = || Err(Error::unavailable("nobody waits for it any more"));
                // Before it is asked, at once: those who wait have their turn sooner.
                let place = tokio::select! {
                    place = places.take(&target) => place,
                    () = publisher.unwanted(Duration::ZERO) => return publisher.finish(unwanted()),
                };
                let Some(_place) = place else {
                    let busy = format!("too many questions are asked of {target} already");
                    return publisher.finish(Err(Error::unavailable(busy)));
                };
                let answer = tokio::select! {
                    answer = asked => answer,
                    () = publisher.unwanted(UNWANTED) => unwanted(),
                };
                publisher.finish(answer);
            }
        })
    }
}

/// What a flight answers to one of its requests.
async fn answer_of<V: Clone>(mut flight: Subscription<Result<Answer<V>, Error>>) -> Result<Answer<V>, Error> {
    let Answer { value, outcome } = flight.value().await.unwrap_or_else(|| Err(Error::no_result()))?;
    Ok(match flight.role {
        Role::Leader => Answer::new(value, outcome),
        Role::Follower => Answer::new(value, outcome.followed()),
    })
}
