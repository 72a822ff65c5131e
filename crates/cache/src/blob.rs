//! Blobs (end-2): from the store when this repository has them, else through one flight.

use std::time::Duration;

use hubcap_oci::{Digest, Target};
use hubcap_store::{Content, HOLD_BACK};

use crate::fill::{Filling, fill};
use crate::flight::{Role, Seat};
use crate::{Answer, Body, Cache, Error, Failure, Outcome, Through};

/// How long a client waits for a stored blob's verification, which each process does once for each blob. At the speed
/// of SHA-256 most layers are through by then; the rest is verified while it is sent, with its last bytes held back.
const VERIFY_FIRST: Duration = Duration::from_millis(100);

/// A blob for a client.
pub enum BlobContent {
    /// The bytes, stored or growing; the size is known.
    Stored(Content),
    /// From the upstream, past the store: the disk is full.
    Through(Box<Through>),
    /// For a HEAD only: the length that the upstream told.
    Size(u64),
}

impl Cache {
    /// A blob of a repository.
    ///
    /// Knowing a digest is not permission: a blob that another repository brought into the store is given out
    /// only when the upstream says that this one has it too.
    ///
    /// # Errors
    /// A [`Failure`] for everything that is known before the first byte. What breaks later is an error of the
    /// content's reader.
    pub async fn blob(
        &self,
        target: &Target,
        digest: &Digest,
        body: Body,
    ) -> Result<Answer<BlobContent>, Failure> {
        if let Some(content) = self.right(digest).await? {
            if self.store().is_linked(target, digest) {
                return Ok(Answer::new(BlobContent::Stored(content), Outcome::Hit { ttl: None }));
            }
            self.check_access(target, digest).await?;
            return Ok(Answer::new(BlobContent::Stored(content), Outcome::Granted));
        }
        let upstream = self.upstream(target)?;
        if body == Body::Head && self.0.blobs.running(digest).is_none() {
            // A HEAD alone is not worth a fetch of gigabytes.
            let size = upstream.head_blob(&target.repository, digest).await.map_err(Error::from)?;
            let size = size.ok_or_else(|| Error::WrongContent { why: "it has no Content-Length".into() })?;
            return Ok(Answer::new(BlobContent::Size(size), Outcome::Passed));
        }
        let wanted = (target.clone(), *digest);
        let seat = self.0.blobs.join(*digest, |publisher| fill(self.clone(), upstream, wanted, publisher));
        self.board(seat, target, digest).await
    }

    /// A stored blob, unless it is found damaged before its first byte has to go out: then it is put aside already,
    /// and can be fetched again for this same request.
    async fn right(&self, digest: &Digest) -> Result<Option<Content>, Error> {
        let Some(mut content) = self.store().blob(digest)? else { return Ok(None) };
        match tokio::time::timeout(VERIFY_FIRST, content.settled()).await {
            Ok(Err(_)) => Ok(None),
            Ok(Ok(_)) | Err(_) => Ok(Some(content)),
        }
    }

    /// Waits until the flight has a content whose size is known.
    async fn board(
        &self,
        mut seat: Seat<Result<Filling, Error>>,
        target: &Target,
        digest: &Digest,
    ) -> Result<Answer<BlobContent>, Failure> {
        let silent = || Error::Internal { why: "the fetch ended without a result".into() };
        let published = seat.value().await.unwrap_or_else(|| Err(silent()));
        let outcome = match seat.role {
            Role::Leader => Outcome::Miss,
            Role::Follower => Outcome::Collapsed,
        };
        let Filling { mut content, target: leader, failure } = match published {
            Ok(filling) => {
                self.disk_is_full(None);
                filling
            }
            Err(error @ Error::NoRoom { .. }) => {
                self.disk_is_full(Some(&error));
                return self.through(target, digest).await;
            }
            // The leader's "no" is only about its own repository.
            Err(error) => return Err(error.into()),
        };
        if leader != *target {
            self.check_access(target, digest).await?;
        }
        if content.size().is_none_or(|size| size <= HOLD_BACK) {
            // Nothing of it could be sent before the end anyway, and an error can still become a status.
            if content.settled().await.is_err() {
                let why = || Error::Unavailable { why: "the fetch broke off".into() };
                return Err(failure.get().cloned().unwrap_or_else(why).into());
            }
            if content.size().is_none() {
                let stored = self.store().blob(digest).map_err(Error::from)?;
                content = stored.ok_or_else(silent)?;
            }
        }
        Ok(Answer::new(BlobContent::Stored(content), outcome))
    }

    /// A fetch for this client alone.
    async fn through(&self, target: &Target, digest: &Digest) -> Result<Answer<BlobContent>, Failure> {
        let body = self.upstream(target)?.blob(&target.repository, digest, 0).await.map_err(Error::from)?;
        let through = Box::new(Through::new(body, *digest));
        Ok(Answer::new(BlobContent::Through(through), Outcome::Bypass))
    }

    /// Asks the upstream whether this repository has the blob, and remembers a yes.
    async fn check_access(&self, target: &Target, digest: &Digest) -> Result<(), Failure> {
        self.upstream(target)?.head_blob(&target.repository, digest).await.map_err(Error::from)?;
        self.store().link(target, digest).map_err(Error::from)?;
        Ok(())
    }
}
