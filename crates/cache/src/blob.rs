//! Blobs (end-2): from the store when this repository has them, else through one flight.

use std::time::Duration;

use hubcap_oci::{Digest, Verifier};
use hubcap_store::{Content, HOLD_BACK};
use hubcap_upstream::Fetch;

use crate::authorization::Access;
use crate::bypass::Through;
use crate::cache::{Body, Cache};
use crate::error::{Error, Failure, fill_error};
use crate::fill::{Fallen, Filling, fill};
use crate::flight::{Role, Subscription};
use crate::outcome::{Answer, Outcome};
use crate::plan::Stored;
use crate::question::Question;

/// How long a client waits for a stored blob's verification, which each process does once for each blob. At the speed
/// of SHA-256 most layers are through by then; the rest is verified while it is sent, with its last bytes held back.
const VERIFY_FIRST: Duration = Duration::from_millis(100);

/// A blob for a client.
pub enum BlobContent {
    /// Stored or growing; the size is known.
    Stored(StoredBlob),
    /// From the upstream, past the store, which takes nothing.
    Through(Box<Through>),
    /// For a HEAD only: the length that the upstream told.
    Size(u64),
}

/// A blob in the store.
pub struct StoredBlob {
    /// Its bytes.
    pub content: Content,
}

impl Cache {
    /// A blob of a repository.
    ///
    /// Knowing a digest is not permission: a blob that another repository brought into the store, or that is private,
    /// is given out only when the upstream says that this caller may have it from this repository.
    ///
    /// # Errors
    /// A [`Failure`] for everything that is known before the first byte. What breaks later is an error of the
    /// delivery.
    pub async fn blob(
        &self,
        access: &Access,
        digest: &Digest,
        body: Body,
    ) -> Result<Answer<BlobContent>, Failure> {
        self.await_content(digest).await;
        if let Some(content) = self.right(digest).await {
            return self.stored_blob(access, digest, content).await;
        }
        let upstream = self.upstream(access)?;
        let question = Question::blob(access, digest);
        if body == Body::Head && !self.0.blobs.is_running(digest) {
            // A HEAD alone is not worth a fetch of gigabytes.
            let asking = async { Ok(upstream.head_blob(&access.target.repository, digest).await?) };
            let size = self.0.negative.asked(&question, asking).await?;
            let size = size.or_else(|| self.store().linked_size(&access.target, digest));
            let size = size.ok_or_else(|| Error::wrong_content("it has no Content-Length"))?;
            return Ok(Answer::new(BlobContent::Size(size), Outcome::Passed));
        }
        let asking = async {
            let wanted = (access.clone(), *digest);
            let flight =
                self.0.blobs.join(*digest, |publisher| fill(self.clone(), upstream, wanted, publisher));
            self.board(flight, access, digest).await
        };
        self.0.negative.asked(&question, asking).await
    }

    async fn stored_blob(
        &self,
        access: &Access,
        digest: &Digest,
        content: Content,
    ) -> Result<Answer<BlobContent>, Failure> {
        let stored = Stored::by_digest(self.store().is_linked(&access.target, digest));
        let admission = self.admission(access);
        let outcome = match stored.hit(admission) {
            Some(hit) => hit,
            None => match self.check_access(access, digest).await {
                Ok(()) => Outcome::Granted,
                Err(failure) => {
                    let stale = failure.stale_reason().and_then(|because| stored.stale(admission, because));
                    stale.ok_or(failure)?
                }
            },
        };
        Ok(Answer::new(BlobContent::Stored(StoredBlob { content }), outcome))
    }

    /// A stored blob, unless it is found damaged before its first byte has to go out: then it is put aside already,
    /// and can be fetched again for this same request.
    async fn right(&self, digest: &Digest) -> Option<Content> {
        let stored = self.store().blob(digest).unwrap_or_else(|error| {
            tracing::warn!(target: "hubcap::cache", "going on without what is stored: {error}");
            None
        });
        let mut content = stored?;
        match tokio::time::timeout(VERIFY_FIRST, content.settled()).await {
            Ok(Err(_)) => None,
            Ok(Ok(_)) | Err(_) => Some(content),
        }
    }

    /// Waits until the flight has a content whose size is known.
    async fn board(
        &self,
        mut seat: Subscription<Result<Filling, Fallen>>,
        access: &Access,
        digest: &Digest,
    ) -> Result<Answer<BlobContent>, Failure> {
        let fallen = || Fallen { access: access.clone(), error: Error::no_result() };
        let Filling { mut content, access: leader } = match seat.value().await {
            Some(Ok(filling)) => filling,
            other => match other.and_then(Result::err).unwrap_or_else(fallen) {
                Fallen { error: error @ Error::NoRoom { .. }, .. } => {
                    self.store_takes_nothing(&error);
                    return self.through(access, digest).await;
                }
                // What the leader may not have this caller perhaps may.
                Fallen { access: leader, error: Error::NotFound | Error::Denied } if leader != *access => {
                    return self.through(access, digest).await;
                }
                Fallen { error, .. } => return Err(error.into()),
            },
        };
        if leader != *access {
            self.check_access(access, digest).await?;
        }
        if content.size().is_none_or(|size| size <= HOLD_BACK) {
            // Nothing of it could be sent before the end anyway, and an error can still become a status.
            if let Err(error) = content.settled().await {
                return match fill_error(&error) {
                    Some(Error::NoRoom { .. }) => self.through(access, digest).await,
                    Some(error) => Err(error.clone().into()),
                    None => Err(Error::unavailable("the fetch broke off").into()),
                };
            }
            if content.size().is_none() {
                let stored = self.store().blob(digest).map_err(Error::from)?;
                content = stored.ok_or_else(Error::no_result)?;
            }
        }
        let outcome = match seat.role {
            Role::Leader => Outcome::Miss,
            Role::Follower => Outcome::Collapsed,
        };
        Ok(Answer::new(BlobContent::Stored(StoredBlob { content }), outcome))
    }

    /// A fetch for this client alone.
    async fn through(&self, access: &Access, digest: &Digest) -> Result<Answer<BlobContent>, Failure> {
        let size = self.store().linked_size(&access.target, digest);
        let blob = self.upstream(access)?.blob(&access.target.repository, digest, size);
        let fetch = Fetch::begin(blob, 0).await?;
        let through = Box::new(Through::new(fetch, *digest, Verifier::new(digest.algorithm())));
        Ok(Answer::new(BlobContent::Through(through), Outcome::Bypass))
    }

    /// Asks the upstream whether this caller may have the blob from this repository, and remembers a yes.
    async fn check_access(&self, access: &Access, digest: &Digest) -> Result<(), Failure> {
        let upstream = self.upstream(access)?;
        let question = Question::blob(access, digest);
        self.0.negative.asked(&question, async { Ok(question.head(&upstream).await?) }).await?;
        self.classify(&upstream, &question).await;
        self.store().link(&access.target, digest);
        Ok(())
    }
}
