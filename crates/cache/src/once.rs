//! Asking an upstream: once for all who want the same, and not at all for what it has just refused.

use crate::cache::Cache;
use crate::error::{Error, Failure};
use crate::flight::{Flights, Role};
use crate::outcome::Answer;
use crate::question::Question;

impl Cache {
    /// The answer to a question: the one that is remembered, that of the flight that runs, or else that of `ask`, which
    /// starts one.
    ///
    /// # Errors
    /// A [`Failure`] of `ask`, or the remembered one.
    pub(crate) async fn ask_once<V, F>(
        &self,
        flights: &Flights<Question, Result<Answer<V>, Error>>,
        question: &Question,
        ask: impl FnOnce() -> F,
    ) -> Result<Answer<V>, Failure>
    where
        V: Clone + Send + Sync + 'static,
        F: Future<Output = Result<Answer<V>, Error>> + Send + 'static,
    {
        let asking = async {
            let mut flight = flights.join(question.clone(), |publisher| {
                let asked = ask();
                async move { publisher.finish(asked.await) }
            });
            let Answer { value, outcome } =
                flight.value().await.unwrap_or_else(|| Err(Error::no_result()))?;
            Ok(match flight.role {
                Role::Leader => Answer::new(value, outcome),
                Role::Follower => Answer::new(value, outcome.followed()),
            })
        };
        self.0.negative.asked(question, asking).await
    }
}
