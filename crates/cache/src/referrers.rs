//! Referrers (end-12): the upstream's while it can be asked, else what the store knows.

use hubcap_oci::{Descriptor, Digest};

use crate::authorization::{Access, Admission};
use crate::cache::Cache;
use crate::error::{Error, Failure};
use crate::outcome::{Answer, Outcome, StaleBecause};

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
    ) -> Result<Answer<Vec<Descriptor>>, Failure> {
        let asked = match self.upstream(access) {
            Ok(upstream) => upstream
                .referrers(&access.target.repository, subject, artifact_type)
                .await
                .map_err(|error| Failure::asked(error.into())),
            Err(failure) => Err(failure),
        };
        let because = match asked {
            Ok(list) => return Ok(Answer::new(list, Outcome::Passed)),
            Err(Failure { error: Error::Offline, .. }) => StaleBecause::Offline,
            Err(Failure { error, .. }) if error.is_trouble() => StaleBecause::UpstreamFailed,
            Err(failure) => return Err(failure),
        };
        if self.admission(access) == Admission::Ask {
            return Ok(Answer::new(Vec::new(), Outcome::Stale { over: 0, because }));
        }
        let mut stored = self.store().referrers(&access.target, subject).map_err(Error::from)?;
        stored.retain(|found| {
            artifact_type.is_none_or(|wanted| found.artifact_type.as_deref() == Some(wanted))
        });
        Ok(Answer::new(stored, Outcome::Stale { over: 0, because }))
    }
}
