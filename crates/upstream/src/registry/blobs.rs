//! Blobs (end-2).

use std::fmt;
use std::ops::Range;

use http::{HeaderMap, Method};
use hubcap_oci::{Digest, Endpoint, Repository};

use super::Upstream;
use crate::body::{self, BlobBody};
use crate::error::Error;
use crate::fetch::limit::ConnectionLimit;
use crate::fetch::source::Source;
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

    /// end-2, GET: a blob to be fetched. `size` is its length in bytes, where the repository's manifest says it.
    pub fn blob(&self, repository: &Repository, digest: &Digest, size: Option<u64>) -> RegistryBlob {
        let endpoint = Endpoint::Blob { repository: repository.clone(), digest: *digest };
        RegistryBlob { upstream: self.clone(), endpoint, size }
    }
}

/// A blob of a repository, as a source.
#[derive(Debug, Clone)]
pub struct RegistryBlob {
    upstream: Upstream,
    endpoint: Endpoint,
    size: Option<u64>,
}

impl fmt::Display for RegistryBlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.upstream.registry(), self.endpoint.path())
    }
}

impl Source for RegistryBlob {
    fn size(&self) -> Option<u64> {
        self.size
    }

    fn limit(&self) -> &ConnectionLimit {
        self.upstream.limit()
    }

    async fn open(&self, offset: u64) -> Result<BlobBody, Error> {
        let headers = if offset > 0 { range(offset, None) } else { HeaderMap::new() };
        let response = self.upstream.ask(Method::GET, &self.endpoint, headers).await?;
        BlobBody::new(response, offset..u64::MAX)
    }

    /// What the registry says against one connection more than needed does not count for its circuit.
    async fn open_part(&self, part: Range<u64>) -> Result<BlobBody, Error> {
        let headers = range(part.start, Some(part.end));
        let response = self.upstream.ask_uncounted(Method::GET, &self.endpoint, headers).await?;
        body::part_of(response, &part)
    }
}
