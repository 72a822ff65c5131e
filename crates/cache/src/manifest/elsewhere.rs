//! Manifests from a registry's other origins, while the first one is in trouble.

use std::time::Instant;

use hubcap_oci::Reference;
use hubcap_upstream::Upstream;

use super::content::ManifestContent;
use crate::access::Access;
use crate::cache::Cache;
use crate::error::{Error, Failure};
use crate::others::{may_be_stored, permitted};
use crate::outcome::{Answer, Outcome, StaleBecause};
use crate::question::{Content, Known, Question};

impl Cache {
    /// A manifest from another origin, once for all who want it, when the first one is in trouble, or does not have what it
    /// has named before. A tag only where that is asked for.
    ///
    /// # Errors
    /// `failure`, the first origin's own, when no other origin may be asked or none has it.
    pub(crate) async fn manifest_from_others(
        &self,
        access: &Access,
        reference: &Reference,
        failure: Failure,
    ) -> Result<Answer<ManifestContent>, Failure> {
        // What the first origin has named in an index of this repository others may have, where it does not.
        let is_missing = match reference {
            Reference::Digest(digest) if matches!(failure.error, Error::NotFound) => {
                self.store().is_told(&access.target, digest)
            }
            _ => false,
        };
        if failure.stale_reason() != Some(StaleBecause::UpstreamFailed) && !is_missing {
            return Err(failure);
        }
        let upstream = self.upstream(access)?;
        let is_wanted = matches!(reference, Reference::Digest(_)) || upstream.takes_stale_tags();
        if !upstream.has_others() || !is_wanted {
            return Err(failure);
        }
        let question = Question::manifest(access, reference);
        let mut flight = self.join_question(&self.0.manifests, &question, || {
            let (cache, question, error) = (self.clone(), question.clone(), failure.error.clone());
            async move { cache.ask_others(&upstream, &question, error).await }
        });
        Ok(flight.value().await.unwrap_or_else(|| Err(Error::no_result()))?)
    }

    /// What a tag means by the word of the first origin, which limits hubcap, with the bytes of another one.
    pub(crate) async fn manifest_beyond_limit(
        &self,
        upstream: &Upstream,
        access: &Access,
        reference: &Reference,
        asked: Instant,
        error: &hubcap_upstream::Error,
    ) -> Option<Answer<ManifestContent>> {
        let is_limited = matches!(error, hubcap_upstream::Error::RateLimited { .. });
        let Reference::Tag(tag) = reference else { return None };
        if !is_limited || !upstream.has_others() {
            return None;
        }
        let target = &access.target;
        let digest = upstream.digest_beyond_limit(&target.repository, tag).await?;
        self.classify(upstream, &Question::manifest(access, reference), Known::Digest(digest)).await;
        let others = permitted(self.store().is_private(target));
        let body = upstream.manifest_from_others(&target.repository, &digest, others).await?;
        let content = ManifestContent::received(reference, body.bytes, body.media_type.as_deref()).ok()?;
        self.0.meter.manifest(target, content.manifest.descriptor.size);
        self.keep(target, &content, Some((tag, asked))).await;
        Some(Answer::new(content, Outcome::Miss))
    }

    async fn ask_others(
        &self,
        upstream: &Upstream,
        question: &Question,
        error: Error,
    ) -> Result<Answer<ManifestContent>, Error> {
        let Question { access: Access { target, .. }, content: Content::Manifest(reference) } = question
        else {
            return Err(error);
        };
        let others = self.0.grants.others_while_away(self.store(), upstream, question).await;
        let (given, outcome) = match reference {
            Reference::Digest(digest) => {
                let given = upstream.manifest_from_others(&target.repository, digest, others).await;
                (given, Outcome::Elsewhere)
            }
            Reference::Tag(tag) => {
                (upstream.stale_tag(&target.repository, tag, others).await, Outcome::StaleTag)
            }
        };
        let Some(body) = given else { return Err(error) };
        let content = ManifestContent::received(reference, body.bytes, body.media_type.as_deref())?;
        self.0.meter.manifest(target, content.manifest.descriptor.size);
        if outcome == Outcome::StaleTag {
            tracing::warn!(target: "hubcap::cache", upstream = %target, tag = %reference, digest = %content.digest(),
                "serving what another origin has under this tag, which may be older: {error}");
        }
        if may_be_stored(others) {
            // Not the tag: what that means only the first origin says.
            self.keep(target, &content, None).await;
        }
        Ok(Answer::new(content, outcome))
    }
}
