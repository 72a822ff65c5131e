//! Referrers (end-12): the upstream's while it can be asked, else what the store knows.

use hubcap_oci::{Digest, Referrer};

use crate::access::Access;
use crate::authorization::Admission;
use crate::cache::Cache;
use crate::error::Failure;
use crate::outcome::{Answer, Outcome};

impl Cache {
    /// The manifests that refer to `subject`, of these types, or all where none is named. A subject nobody refers to, or that
    /// does not exist, has an empty list.
    ///
    /// # Errors
    /// A [`Failure`]: denied, or an unknown registry. Trouble is answered with what the store has, as no client
    /// can do anything better than go on without.
    pub async fn referrers(
        &self,
        access: &Access,
        subject: &Digest,
        artifact_types: &[String],
    ) -> Result<Answer<Vec<Referrer>>, Failure> {
        let failure = match self.upstream_referrers(access, subject).await {
            Ok(mut list) => {
                list.retain(|one| one.is_of(artifact_types));
                return Ok(Answer::new(list, Outcome::Passed));
            }
            Err(failure) => failure,
        };
        let Some(because) = failure.stale_reason() else { return Err(failure) };
        let stored = match self.admission(access) {
            Admission::Ask => Vec::new(),
            Admission::Free | Admission::Lapsed => self.store().referrers(&access.target, subject)?,
        };
        let stored = stored.iter().map(Referrer::from).filter(|one| one.is_of(artifact_types)).collect();
        Ok(Answer::new(stored, Outcome::Stale { over: 0, because }))
    }

    async fn upstream_referrers(&self, access: &Access, subject: &Digest) -> Result<Vec<Referrer>, Failure> {
        let upstream = self.upstream(access)?;
        Ok(upstream.referrers(&access.target.repository, subject).await?.referrers)
    }
}
