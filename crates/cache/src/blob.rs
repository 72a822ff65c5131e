//! Blobs (end-2): from the store when this repository has them, else through one flight.

mod beside;
pub(crate) mod body;
mod bypass;
mod parts;
mod selected;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use hubcap_oci::{Digest, Selection};
use hubcap_store::{Content, HOLD_BACK, ReadError};
use hubcap_upstream::{Others, Permission, RegistryBlob, Upstream};
use tokio::time::{Instant, timeout_at};

use crate::access::Access;
use crate::cache::Cache;
use crate::error::{Error, Failure, fill_error};
use crate::fill::asked::Asked;
use crate::fill::stall::Stall;
use crate::fill::{FillError, FillHandle};
use crate::flight::{Role, Subscription, UNBEGUN};
use crate::hint::hint;
use crate::others::permission;
use crate::outcome::{Answer, Outcome};
use crate::plan::Stored;
use crate::question::{Known, Question};
use beside::Beside;
use body::BlobBody;
use bypass::Bypass;
use selected::Readable;

pub use selected::{Blob, BlobRequest};

/// How long a client waits for a stored blob's verification, which each process does once for each blob. At the speed
/// of SHA-256 most layers are through by then; the rest is verified while it is sent, with its last bytes held back.
const VERIFY_FIRST: Duration = Duration::from_millis(100);

/// A range of a blob of at most so many bytes waits until all of it has come and is verified.
const VERIFIED_WHOLE: u64 = 1 << 20;

/// A range of a larger one does so until its fill has run for so long, and then is what the registry sends: who asks for that
/// wants a little of much, and clients that do so verify each part.
const VERIFIED_SOON: Duration = Duration::from_secs(1);

/// A content that a flight fills, or has filled.
struct Filling {
    content: Content,
    /// What was asked of the registry beside it.
    asked: Asked,
    stall: Stall,
    begun: Instant,
}

/// What a flight gives a client.
enum Filled {
    Stored(Answer<Filling>),
    Bypassed(Box<Bypass>),
    /// From another origin, and not to be stored.
    Elsewhere(Box<Bypass>),
}

impl Cache {
    /// A blob of a repository.
    ///
    /// Knowing a digest is not permission: a blob that another repository brought into the store, or that is private,
    /// is given out only when the upstream says that this caller may have it from this repository.
    ///
    /// # Errors
    /// A [`Failure`] for everything that is known before the first byte, [`Error::UnsatisfiableRange`] among them. What
    /// breaks later is an error of the body.
    pub async fn blob(
        &self,
        access: &Access,
        digest: &Digest,
        request: BlobRequest,
    ) -> Result<Answer<Blob>, Failure> {
        self.await_content(digest).await;
        if let Some(content) = self.undamaged(digest, &request).await {
            match self.admit(access, digest, content.size()).await {
                Ok(Some(outcome)) => {
                    let found = Readable { content, beside: None, stall: Stall::never() };
                    return self.stored_blob(access, digest, &request, Answer::new(found, outcome));
                }
                // The registry has to bring it, as if it were not here.
                Ok(None) => {}
                Err(failure) => return self.blob_from_others(access, digest, failure).await,
            }
        }
        let upstream = self.upstream(access)?;
        let question = Question::blob(access, digest);
        if request == BlobRequest::Head && !self.0.filler.is_running(&access.target.registry, digest) {
            // A HEAD alone is not worth a fetch of gigabytes.
            let asking = self.blob_size(&upstream, access, digest);
            let size = self.0.negative.asked(&question, asking).await?;
            let (selection, body) = (Selection::Whole, BlobBody::empty());
            return Ok(Answer::new(Blob { size, selection, body }, Outcome::Passed));
        }
        // Not joined before it is polled: what was refused a moment ago is not asked again.
        let asking =
            async { self.filled(self.0.filler.join(upstream.clone(), access, digest), access, digest).await };
        match self.0.negative.asked(&question, asking).await? {
            Filled::Stored(Answer { value: Filling { mut content, asked, stall, begun }, outcome }) => {
                // A part of a blob, or its length, can be told only when that is known.
                let is_told = content.size().is_some();
                let is_short = content.size().is_none_or(|size| size <= VERIFIED_WHOLE);
                let verified = if request.is_for_ranges() && !is_short {
                    let soon = timeout_at(begun + VERIFIED_SOON, settled(&mut content));
                    soon.await.unwrap_or(Ok(0))
                } else if request.is_for_ranges() || (request == BlobRequest::Head && !is_told) {
                    settled(&mut content).await
                } else {
                    Ok(0)
                };
                match verified {
                    Err(Failure { error: Error::NoRoom { .. }, .. }) if request.is_for_ranges() => {
                        let past = self.past_the_store(access, digest).await?;
                        return Ok(Answer::new(Blob::not_stored(past), Outcome::Bypass));
                    }
                    verified => drop(verified?),
                }
                let beside = content.size().filter(|_| request.is_for_ranges()).map(|size| Beside {
                    blob: upstream.blob(&access.target.repository, digest),
                    asked,
                    size,
                    meter: Arc::clone(&self.0.meter),
                    target: access.target.clone(),
                });
                let found = Readable { content, beside, stall };
                self.stored_blob(access, digest, &request, Answer::new(found, outcome))
            }
            Filled::Bypassed(bypass) => Ok(Answer::new(Blob::not_stored(bypass), Outcome::Bypass)),
            Filled::Elsewhere(bypass) => Ok(Answer::new(Blob::not_stored(bypass), Outcome::Elsewhere)),
        }
    }

    /// The length of a blob, where an origin that may tell it does.
    async fn blob_size(
        &self,
        upstream: &Upstream,
        access: &Access,
        digest: &Digest,
    ) -> Result<Option<u64>, Failure> {
        let repository = &access.target.repository;
        let asked = upstream.blob_size(repository, digest).await;
        let permission = permission(self.store(), &access.target, digest);
        let may_others = |error: &hubcap_upstream::Error| error.is_trouble() || permission.overrules(error);
        if asked.as_ref().is_err_and(may_others) && upstream.has_others() {
            let others = self.others_while_away(upstream, access, digest).await;
            let size = upstream.blob_size_from_others(repository, digest, others).await;
            if size.is_some() {
                return Ok(size);
            }
        }
        Ok(asked?)
    }

    /// As what a stored blob may be served to this caller; `None` where no yes of the registry is enough.
    async fn admit(
        &self,
        access: &Access,
        digest: &Digest,
        size: Option<u64>,
    ) -> Result<Option<Outcome>, Failure> {
        let stored = Stored::by_digest(self.store().is_linked(&access.target, digest));
        let admission = self.admission(access);
        if let Some(hit) = stored.hit(admission) {
            return Ok(Some(hit));
        }
        if !stored.is_linked && !self.store().is_confirmable(&access.target, digest) {
            return Ok(None);
        }
        match self.is_confirmed(access, digest, size).await {
            Ok(is_confirmed) => Ok(is_confirmed.then_some(Outcome::Granted)),
            Err(failure) => {
                let stale = failure.stale_reason().and_then(|because| stored.stale(admission, because));
                stale.map(Some).ok_or(failure)
            }
        }
    }

    /// A stored blob, unless it is found damaged before its first byte has to go out: then it is quarantined already,
    /// and can be fetched again for this same request. Ranges wait until all of it is verified: what is wrong in a part would
    /// not be found by the part's end.
    async fn undamaged(&self, digest: &Digest, request: &BlobRequest) -> Option<Content> {
        let stored = self.store().blob(digest).unwrap_or_else(|error| {
            tracing::warn!(target: "hubcap::cache", "going on without what is stored: {error}");
            None
        });
        let mut content = stored?;
        if request.is_for_ranges() {
            return content.settled().await.is_ok().then_some(content);
        }
        match tokio::time::timeout(VERIFY_FIRST, content.settled()).await {
            Ok(Err(_)) => None,
            Ok(Ok(_)) | Err(_) => Some(content),
        }
    }

    /// Waits until the flight has a content of which something can be sent, or all.
    async fn filled(
        &self,
        mut flight: Subscription<Result<FillHandle, FillError>>,
        access: &Access,
        digest: &Digest,
    ) -> Result<Filled, Failure> {
        let no_result = || FillError { access: access.clone(), error: Error::no_result() };
        let given = match flight.role {
            Role::Leader => flight.value().await,
            // Another repository, or another login, may have it at once.
            Role::Follower => match tokio::time::timeout(UNBEGUN, flight.value()).await {
                Ok(value) => value,
                Err(_) => return self.filled_alone(access, digest).await,
            },
        };
        let FillHandle { mut content, asked, mut stall, begun, leader } = match given {
            Some(Ok(filling)) => filling,
            other => match other.and_then(Result::err).unwrap_or_else(no_result) {
                FillError { error: error @ Error::NoRoom { .. }, .. } => {
                    self.store_takes_nothing(&error);
                    return self.bypass(access, digest).await;
                }
                // What the leader may not have this caller perhaps may, and what it does not get this caller perhaps gets.
                FillError { access: leader, .. } if leader != *access => {
                    return self.filled_alone(access, digest).await;
                }
                FillError { error, .. } => {
                    let from_others = self.bypass_first(access, digest, &error).await;
                    return from_others.map(Filled::Elsewhere).ok_or_else(|| error.into());
                }
            },
        };
        let may_have_it = match leader {
            Some(leader) => leader == *access || self.is_confirmed(access, digest, content.size()).await?,
            None => self.admit(access, digest, content.size()).await?.is_some(),
        };
        if !may_have_it {
            return self.bypass(access, digest).await;
        }
        // Where there are as many fills as there may be, this one is as good as any.
        let may_leave = !stall.is_now();
        let waited = tokio::select! {
            biased;
            waited = can_begin(&mut content) => waited,
            () = stall.begins(), if may_leave => {
                // Others may have filled it meanwhile.
                if let Some(content) = self.filled_meanwhile(access, digest)
                    && self.is_confirmed(access, digest, content.size()).await?
                {
                    let filling = Filling { content, asked, stall: Stall::never(), begun };
                    return Ok(Filled::Stored(Answer::new(filling, Outcome::Collapsed)));
                }
                let another = self.0.filler.join(self.upstream(access)?, access, digest);
                return Box::pin(self.filled(another, access, digest)).await;
            }
        };
        if let Err(error) = waited {
            return match failure(&error) {
                Error::NoRoom { .. } => self.bypass(access, digest).await,
                // The origin that sent it is passed over now, where there is another one.
                Error::WrongContent { .. } if self.upstream(access)?.has_others() => {
                    self.bypass(access, digest).await
                }
                error => Err(error.into()),
            };
        }
        let outcome = match flight.role {
            Role::Leader => Outcome::Miss,
            Role::Follower => Outcome::Collapsed,
        };
        Ok(Filled::Stored(Answer::new(Filling { content, asked, stall, begun }, outcome)))
    }

    /// The same of a flight for this access alone.
    async fn filled_alone(&self, access: &Access, digest: &Digest) -> Result<Filled, Failure> {
        let own = self.0.filler.join_alone(self.upstream(access)?, access, digest);
        Box::pin(self.filled(own, access, digest)).await
    }

    /// What others have filled while a fill stalled, where the yes of this registry is enough for it.
    pub(super) fn filled_meanwhile(&self, access: &Access, digest: &Digest) -> Option<Content> {
        let store = self.store();
        store.blob(digest).ok()?.filter(|_| store.is_confirmable(&access.target, digest))
    }

    async fn bypass(&self, access: &Access, digest: &Digest) -> Result<Filled, Failure> {
        self.past_the_store(access, digest).await.map(Filled::Bypassed)
    }

    /// A fetch for this client alone.
    async fn past_the_store(&self, access: &Access, digest: &Digest) -> Result<Box<Bypass>, Failure> {
        let upstream = self.upstream(access)?;
        let blob = upstream.blob(&access.target.repository, digest);
        if upstream.has_others() {
            let permission = permission(self.store(), &access.target, digest);
            blob.allow(self.others_while_away(&upstream, access, digest).await, permission).await;
        }
        Ok(self.begin_bypass(blob, access, digest).await?)
    }

    async fn begin_bypass(
        &self,
        blob: RegistryBlob,
        access: &Access,
        digest: &Digest,
    ) -> Result<Box<Bypass>, hubcap_upstream::Error> {
        let mut bypass = Bypass::begin(blob, digest).await?;
        if bypass.size().is_none() {
            hint(bypass.fetch(), self.store(), &access.target, *digest).await;
        }
        Ok(bypass)
    }

    /// The same without the first origin, which is in trouble, for what was not stored therefore; `None` when no other one may
    /// be asked, or none has it.
    async fn bypass_first(&self, access: &Access, digest: &Digest, error: &Error) -> Option<Box<Bypass>> {
        let upstream = self.upstream(access).ok().filter(|upstream| upstream.has_others())?;
        if !error.is_trouble() {
            return None;
        }
        let others = self.others_while_away(&upstream, access, digest).await;
        let blob = upstream.blob(&access.target.repository, digest);
        blob.allow(others, Permission::Asked).await;
        if !blob.leave_first() {
            return None;
        }
        self.begin_bypass(blob, access, digest).await.ok()
    }

    /// A blob that is stored, and that only the first origin, which is in trouble, could permit.
    async fn blob_from_others(
        &self,
        access: &Access,
        digest: &Digest,
        failure: Failure,
    ) -> Result<Answer<Blob>, Failure> {
        match self.bypass_first(access, digest, &failure.error).await {
            Some(bypass) => Ok(Answer::new(Blob::not_stored(bypass), Outcome::Elsewhere)),
            None => Err(failure),
        }
    }

    async fn others_while_away(&self, upstream: &Upstream, access: &Access, digest: &Digest) -> Others {
        let question = Question::blob(access, digest);
        self.0.grants.others_while_away(self.store(), upstream, &question).await
    }

    /// Asks the upstream whether this caller may have a blob of this length from this repository, and remembers a yes. False for
    /// an answer that is none: then the upstream has to bring the blob.
    async fn is_confirmed(
        &self,
        access: &Access,
        digest: &Digest,
        size: Option<u64>,
    ) -> Result<bool, Failure> {
        let upstream = self.upstream(access)?;
        let (question, known) = (Question::blob(access, digest), Known::Length(size));
        let asking = async { Ok(question.confirms(&upstream, known).await?) };
        if !self.0.negative.asked(&question, asking).await? {
            return Ok(false);
        }
        self.classify(&upstream, &question, known).await;
        self.store().link(&access.target, digest);
        Ok(true)
    }
}

/// Waits until something of a content can be sent. Of a short one nothing could be before the end, and an error can still
/// become a status.
async fn can_begin(content: &mut Content) -> Result<u64, ReadError> {
    match content.size() {
        Some(size) if size <= HOLD_BACK => content.settled().await,
        Some(size) => Ok(size),
        None => content.grown(HOLD_BACK).await,
    }
}

/// Waits for all of a content.
async fn settled(content: &mut Content) -> Result<u64, Failure> {
    content.settled().await.map_err(|error| failure(&error).into())
}

/// Why a fill's content cannot be had.
fn failure(error: &ReadError) -> Error {
    fill_error(error).cloned().unwrap_or_else(|| Error::unavailable("the fetch broke off"))
}
