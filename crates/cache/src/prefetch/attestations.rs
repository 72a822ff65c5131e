//! What today's clients take beside an image: its attestations, the lists of what refers to them and to the image, and the
//! signatures in those lists. None of it is needed to run the image, so what cannot be had is a note.

use std::sync::Arc;

use hubcap_oci::{Digest, Reference, Referrer};

use super::{Prefetch, Stored};
use crate::access::Access;
use crate::outcome::{Answer, Outcome, StaleBecause};

/// Signatures that are fetched of one attestation, at most: a list may be long.
const MAX_SIGNATURES: usize = 100;

impl Prefetch {
    /// Stores an attestation, the list of its referrers, and those of them that are signatures.
    pub(super) async fn attestation(self: Arc<Self>, access: Access, digest: Digest) -> Stored {
        let mut stored = Stored::default();
        self.described(&access, digest, "attestation", &mut stored).await;
        let listed = self.list(&access, digest, &mut stored.notes).await;
        let signatures = listed.iter().filter(|one| one.is_signature()).filter_map(Referrer::digest);
        for signature in signatures.take(MAX_SIGNATURES) {
            self.described(&access, signature, "signature", &mut stored).await;
        }
        stored
    }

    /// Stores the list of a manifest's referrers.
    pub(super) async fn referrers(self: Arc<Self>, access: Access, subject: Digest) -> Stored {
        let mut stored = Stored::default();
        self.list(&access, subject, &mut stored.notes).await;
        stored
    }

    /// Stores a manifest with its blobs, or notes that this `kind` of it is left out.
    async fn described(self: &Arc<Self>, access: &Access, digest: Digest, kind: &str, stored: &mut Stored) {
        let result = async {
            let manifest = self.manifest(access, Reference::Digest(digest), &mut stored.bytes).await?;
            for blob in manifest.links.blobs() {
                if self.is_first(blob.digest) {
                    let one = Arc::clone(self).blob(access.clone(), blob.clone()).await?;
                    stored.bytes += one.bytes;
                    stored.notes.extend(one.notes);
                }
            }
            Ok::<_, super::Error>(())
        };
        if let Err(error) = result.await {
            stored.notes.push(format!("its {kind} {digest} is left out: {error}"));
        }
    }

    async fn list(&self, access: &Access, subject: Digest, notes: &mut Vec<String>) -> Vec<Referrer> {
        let mut note =
            |why: &str| notes.push(format!("the list of what refers to {subject} is not fetched: {why}"));
        match self.cache.referrers(access, &subject, &[]).await {
            Ok(Answer { value, outcome }) => {
                if matches!(outcome, Outcome::Stale { because: StaleBecause::UpstreamFailed, .. }) {
                    note("the registry does not answer as it should");
                }
                value.referrers
            }
            Err(failure) => {
                note(&failure.error.to_string());
                Vec::new()
            }
        }
    }
}
