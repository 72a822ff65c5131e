//! Referrers (end-12): the upstream's while it can be asked, else what the store knows.

use hubcap_oci::{Digest, Referrer};

use crate::access::Access;
use crate::authorization::Admission;
use crate::cache::Cache;
use crate::error::Failure;
use crate::outcome::{Answer, Outcome};

impl Cache {
    /// The manifests that refer to `subject`, filtered by `artifact_type`. A subject nobody refers to, or that
    /// does not exist, has an empty list.
    ///
    /// # Errors
    /// A [`Failure`]: denied, or an unknown registry. Trouble is answered with what the store has, as no client
    /// can do anything better than go on without.
    pub async fn referrers(
        &self,
        access: &Access,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Answer<Vec<Referrer>>, Failure> {
        let failure = match self.upstream_referrers(access, subject, artifact_type).await {
            Ok(list) => return Ok(Answer::new(list, Outcome::Passed)),
            Err(failure) => failure,
        };
        let Some(because) = failure.stale_reason() else { return Err(failure) };
        let mut stored = match self.admission(access) {
            Admission::Ask => Vec::new(),
            Admission::Free | Admission::Lapsed => self.store().referrers(&access.target, subject)?,
        };
        stored.retain(|found| {
            artifact_type.is_none_or(|wanted| found.artifact_type.as_deref() == Some(wanted))
        });
        let stored = stored.iter().map(Referrer::from).collect();
        Ok(Answer::new(stored, Outcome::Stale { over: 0, because }))
    }

    async fn upstream_referrers(
        &self,
        access: &Access,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Referrer>, Failure> {
        let upstream = self.upstream(access)?;
        Ok(upstream.referrers(&access.target.repository, subject, artifact_type).await?)
    }
}
