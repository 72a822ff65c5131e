//! What a client asks for of a blob, and which bytes it gets.

use std::slice;

use hubcap_oci::{Digest, RangeRequest, Selection};
use hubcap_store::Content;

use super::beside::Beside;
use super::body::{BlobBody, Takeover};
use super::bypass::Bypass;
use super::parts::Parts;
use crate::access::Access;
use crate::cache::Cache;
use crate::error::{Error, Failure};
use crate::fill::stall::Stall;
use crate::outcome::Answer;

/// How a blob is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlobRequest {
    /// `HEAD`: headers only.
    Head,
    /// `GET`, with its `Range`.
    Get(RangeRequest),
}

/// A blob for a client.
pub struct Blob {
    /// The whole length in bytes; `None` while a blob is fetched whose length the upstream does not tell.
    pub size: Option<u64>,
    /// Which bytes the body has. A blob that is not stored is always whole: the range of a body that is not kept is not worth
    /// another request.
    pub selection: Selection,
    /// The bytes; of several ranges one after the other.
    pub body: BlobBody,
}

impl BlobRequest {
    /// Whether it names ranges.
    pub(super) const fn is_for_ranges(&self) -> bool {
        matches!(self, Self::Get(RangeRequest::Ranges(_)))
    }
}

impl Blob {
    pub(super) fn not_stored(bypass: Box<Bypass>) -> Self {
        Self { size: bypass.size(), selection: Selection::Whole, body: BlobBody::bypass(bypass) }
    }

    /// The content in the store, of a GET of the whole blob; `None` for a blob that is not stored.
    pub fn into_content(self) -> Option<Content> {
        self.body.into_content()
    }
}

/// A content that can be read, and the registry that may have meanwhile what it lacks.
pub(super) struct Readable {
    pub(super) content: Content,
    pub(super) beside: Option<Beside>,
    /// Of the fill that the content comes from.
    pub(super) stall: Stall,
}

impl Cache {
    /// The bytes that the request asks for. A blob whose length nobody has told yet is given out as a whole.
    pub(super) fn stored_blob(
        &self,
        access: &Access,
        digest: &Digest,
        request: &BlobRequest,
        Answer { value: Readable { content, beside, stall }, outcome }: Answer<Readable>,
    ) -> Result<Answer<Blob>, Failure> {
        let size = content.size();
        let BlobRequest::Get(wanted) = request else {
            let (selection, body) = (Selection::Whole, BlobBody::empty());
            return Ok(Answer::new(Blob { size, selection, body }, outcome));
        };
        let resolve = |size| {
            let unsatisfiable = Failure { error: Error::UnsatisfiableRange { size }, outcome };
            wanted.resolve(size).map_err(|_| unsatisfiable)
        };
        let selection = size.map_or(Ok(Selection::Whole), resolve)?;
        let body = match &selection {
            Selection::Range(range) if range.length() < range.size => {
                BlobBody::parts(Parts::new(content, beside, slice::from_ref(range)))
            }
            Selection::Ranges(ranges) => BlobBody::parts(Parts::new(content, beside, ranges)),
            Selection::Whole | Selection::Range(_) => {
                let (cache, access, digest) = (self.clone(), access.clone(), *digest);
                BlobBody::whole(Takeover { cache, access, digest, content, stall, not_before: None })
            }
        };
        Ok(Answer::new(Blob { size, selection, body }, outcome))
    }
}
