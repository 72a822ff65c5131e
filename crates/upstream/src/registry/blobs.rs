//! Blobs (end-2).

use std::ops::Range;

use http::{HeaderMap, Method};
use hubcap_oci::{Digest, Endpoint, Repository};

use super::Upstream;
use crate::body::{self, BlobBody};
use crate::error::Error;
use crate::request::range;

impl Upstream {
    /// end-2, HEAD: the blob's length, where the upstream tells it.
    ///
    /// # Errors
    /// [`Error`]; see its variants.
    pub async fn head_blob(&self, repository: &Repository, digest: &Digest) -> Result<Option<u64>, Error> {
        let endpoint = Endpoint::Blob { repository: repository.clone(), digest: *digest };
        match self.ask(Method::HEAD, &endpoint, HeaderMap::new()).await {
            // What it redirects to is signed for GETs alone. One byte tells the length as well.
            Err(Error::Elsewhere { .. }) => {
                let response = self.ask(Method::GET, &endpoint, range(0, Some(1))).await?;
                Ok(BlobBody::new(response, 0..1)?.size)
            }
            answered => Ok(body::content_length(&answered?)),
        }
    }

    /// end-2, GET, from byte `offset` on. An upstream that ignores ranges begins at 0; the body says so.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an answer that is not the range that was asked for.
    pub async fn blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        offset: u64,
    ) -> Result<BlobBody, Error> {
        let endpoint = Endpoint::Blob { repository: repository.clone(), digest: *digest };
        let headers = if offset > 0 { range(offset, None) } else { HeaderMap::new() };
        BlobBody::new(self.ask(Method::GET, &endpoint, headers).await?, offset..u64::MAX)
    }

    /// end-2, GET, some bytes of a blob, over a connection that is one more than needed: what an upstream says
    /// against it does not count against the upstream.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an answer that is not the range that was asked for.
    pub async fn blob_part(
        &self,
        repository: &Repository,
        digest: &Digest,
        part: Range<u64>,
    ) -> Result<BlobBody, Error> {
        let endpoint = Endpoint::Blob { repository: repository.clone(), digest: *digest };
        let headers = range(part.start, Some(part.end));
        let request = self.request(Method::GET, self.url(&endpoint)?, headers);
        body::part_of(self.with_token(request, repository).await?, &part)
    }
}
