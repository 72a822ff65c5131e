//! HEAD, which is a shortcut: where it does not help, a GET is asked. Some registries refuse HEADs that they should answer
//! (404, 405, 401, ...), and others answer them with less than they should.

use std::time::Instant;

use http::{HeaderMap, Method};
use hubcap_oci::Endpoint;
use reqwest::Response;

use super::{Upstream, repository_of};
use crate::circuits::Call;
use crate::error::{Error, Failed};
use crate::shortcut::Shortcuts;

/// What became of a HEAD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head<T> {
    /// None was sent, because the last one did not help.
    Spared,
    /// It did not tell what it was sent for.
    Useless,
    /// What it was sent for.
    Told(T),
}

impl Upstream {
    /// Sends a HEAD, and reads what it is sent for with `tell`.
    ///
    /// # Errors
    /// [`Error`], where a GET would fare the same.
    pub(super) async fn head<T>(
        &self,
        heads: &Shortcuts,
        endpoint: &Endpoint,
        headers: HeaderMap,
        tell: impl FnOnce(&Response) -> Option<T>,
    ) -> Result<Head<T>, Error> {
        let repository = repository_of(endpoint)?;
        if !heads.may_help(repository, Instant::now()) {
            return Ok(Head::Spared);
        }
        let call = self.origin.circuits.check(self.requester(repository), Instant::now())?;
        let result = self.in_doubt(&call, self.ask_uncounted(Method::HEAD, endpoint, headers)).await;
        // A failure that is perhaps the HEAD's alone does not count: the GET that follows does.
        if !matches!(result, Err(Failed { error: Error::Failed { .. }, .. })) {
            self.origin.circuits.record(&call, &result, Instant::now());
        }
        match result.map_err(Error::from) {
            Ok(response) => Ok(tell(&response).map_or(Head::Useless, Head::Told)),
            Err(error) if error.may_be_for_head_alone() => {
                tracing::debug!(target: "hubcap::upstream", upstream = %self.registry(), path = endpoint.path(),
                    "a HEAD did not help, a GET is sent: {error}");
                Ok(Head::Useless)
            }
            Err(error) => Err(error),
        }
    }

    /// Sends the GET that a HEAD did not spare. The circuits have let this call pass if the HEAD was sent.
    pub(super) async fn get_after<T>(
        &self,
        head: &Head<T>,
        endpoint: &Endpoint,
        headers: HeaderMap,
    ) -> Result<Response, Error> {
        if matches!(head, Head::Spared) {
            return self.ask(Method::GET, endpoint, headers).await;
        }
        let (request, repository) =
            (self.request(Method::GET, self.url(endpoint)?, headers), repository_of(endpoint)?);
        let call = Call::new(self.requester(repository), Instant::now());
        self.patiently(request, repository, &call).await
    }
}
