//! Blobs (end-2).

use std::time::Instant;

use http::{HeaderMap, StatusCode};
use hubcap_oci::{Digest, Endpoint, Repository};
use reqwest::Response;

use super::Upstream;
use super::head::Head;
use super::source::RegistryBlob;
use crate::body::{self, BlobBody};
use crate::coding::Codings;
use crate::error::Error;
use crate::request::range;

impl Upstream {
    /// The blob's length, where the upstream tells it: by a HEAD, or by a GET of one byte where that does not help.
    ///
    /// # Errors
    /// [`Error`]; see its variants.
    pub async fn blob_size(&self, repository: &Repository, digest: &Digest) -> Result<Option<u64>, Error> {
        let endpoint = Endpoint::Blob { repository: repository.clone(), digest: *digest };
        let heads = &self.origin.blob_heads;
        let head = self.head(heads, &endpoint, HeaderMap::new(), |response| told(response, digest)).await?;
        if let Head::Told(size) = head {
            return Ok(Some(size));
        }
        let size = self.size_by_get(&head, &endpoint, digest).await?;
        if head == Head::Useless {
            heads.did_not_help(repository, Instant::now());
        }
        Ok(size)
    }

    async fn size_by_get(
        &self,
        head: &Head<u64>,
        endpoint: &Endpoint,
        digest: &Digest,
    ) -> Result<Option<u64>, Error> {
        if self.ranges().may_help(Instant::now()) {
            let first = self.get_after(head, endpoint, range(0, Some(1))).await;
            match first.and_then(|response| BlobBody::ranged(no_page(response)?, &(0..1))) {
                // Not all give ranges, and an empty blob has none.
                Err(error) if error.may_be_for_head_alone() => {}
                answered => return Ok(answered?.size),
            }
        }
        // Only the headers are read.
        let response = self.get_after(head, endpoint, HeaderMap::new()).await?;
        Ok(told(&no_page(response)?, digest))
    }

    /// end-2, GET: a blob to be fetched.
    pub fn blob(&self, repository: &Repository, digest: &Digest) -> RegistryBlob {
        RegistryBlob::new(self.clone(), repository, digest)
    }
}

/// The length that an answer tells. That of a web page, of something packed, of a part or of nothing is not the blob's.
fn told(response: &Response, digest: &Digest) -> Option<u64> {
    let is_whole = response.status() == StatusCode::OK && Codings::read(response.headers()).is_none();
    let is_possible = |length: &u64| *length > 0 || Digest::of(digest.algorithm(), b"") == *digest;
    body::content_length(response).filter(is_possible).filter(|_| is_whole && !is_page(response))
}

/// # Errors
/// [`Error::Invalid`] for a web page: with 200, too, it is no yes.
fn no_page(response: Response) -> Result<Response, Error> {
    if is_page(&response) { Err(Error::invalid("a web page came instead of a blob")) } else { Ok(response) }
}

fn is_page(response: &Response) -> bool {
    body::content_type(response.headers()).is_some_and(|text| text.eq_ignore_ascii_case("text/html"))
}
