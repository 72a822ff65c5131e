//! Whether a stored image that its registry no longer has is served in place of the registry's no.

use std::time::Instant;

use hubcap_oci::{Tag, Target};

use crate::access::Access;
use crate::cache::Cache;
use crate::error::{Error, Failure};
use crate::lock::lock;
use crate::outcome::StaleBecause;
use crate::removed::OnRemoved;

impl Cache {
    /// Whether `error` says that an image is gone which is served all the same. `ask_as_anybody` asks the upstream for it
    /// without a login, and is only polled where a login has been refused: that may be the login's fault.
    pub(crate) async fn serves_removed<T>(
        &self,
        access: &Access,
        tag: Option<&Tag>,
        error: &Error,
        ask_as_anybody: impl Future<Output = Result<T, Error>>,
    ) -> bool {
        let target = &access.target;
        if !error.is_gone()
            || self.config().removed.on_removed(target, tag) == OnRemoved::Refuse
            || self.store().is_private(target)
        {
            return false;
        }
        let Ok(upstream) = self.upstream(access) else { return false };
        if !upstream.is_privileged().await {
            return true;
        }
        let (confirmed, asked) = (&self.0.removed.confirmed, (access.clone(), tag.cloned()));
        if lock(confirmed).get(&asked, Instant::now()).is_some() {
            return true;
        }
        let is_gone = ask_as_anybody.await.is_err_and(|error| error.is_gone());
        if is_gone {
            lock(confirmed).insert(asked, (), Instant::now());
        }
        is_gone
    }

    /// Why what is stored of a list is served in place of a failure; `None` where it is not. One that is served because the
    /// repository is gone is told of.
    pub(crate) async fn list_is_stale_because<T>(
        &self,
        access: &Access,
        failure: &Failure,
        ask_as_anybody: impl Future<Output = Result<T, Error>>,
    ) -> Option<StaleBecause> {
        let because = failure.stale_reason();
        if because.is_some() || !self.serves_removed(access, None, &failure.error, ask_as_anybody).await {
            return because;
        }
        self.tell_removed(&access.target, None, &failure.error);
        Some(StaleBecause::Removed)
    }

    /// Tells of an image that is served although it is gone.
    pub(crate) fn tell_removed(&self, target: &Target, tag: Option<&Tag>, error: &Error) {
        let name = tag.map_or_else(|| target.to_string(), |tag| format!("{target}:{tag}"));
        let entry = tag.and_then(|tag| self.store().tag(target, tag));
        let confirmed = entry.and_then(|entry| entry.validated.time());
        self.0.removed.serve(name, confirmed, error);
    }
}
