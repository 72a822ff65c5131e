//! A blob that is streamed to one client without being stored: a store that takes nothing must not fail a pull.

use bytes::Bytes;
use hubcap_oci::{Digest, Verifier};
use hubcap_upstream::{Fetch, RegistryBlob};

use crate::error::Error;

/// A blob on its way from the upstream to one client. It is verified as well: its last piece is given out only after
/// the digest was found right.
#[derive(Debug)]
pub(crate) struct Bypass {
    fetch: Fetch<RegistryBlob>,
    digest: Digest,
    /// Gone when the end was seen.
    verifier: Option<Verifier>,
    held: Option<Bytes>,
}

impl Bypass {
    /// Begins at the blob's start.
    ///
    /// # Errors
    /// [`hubcap_upstream::Error`], as the upstream's answer means.
    pub(crate) async fn begin(
        blob: RegistryBlob,
        digest: &Digest,
    ) -> Result<Box<Self>, hubcap_upstream::Error> {
        let fetch = Fetch::begin(blob, 0).await?;
        // Nobody reads a body of no bytes, so nothing would be found wrong at its end.
        if fetch.size() == Some(0) && Digest::of(digest.algorithm(), b"") != *digest {
            fetch.source().note_wrong();
            return Err(hubcap_upstream::Error::Invalid { why: format!("nothing came instead of {digest}") });
        }
        Ok(Box::new(Self::new(fetch, *digest, Verifier::new(digest.algorithm()))))
    }

    /// `verifier` has seen what the client has already.
    pub(crate) const fn new(fetch: Fetch<RegistryBlob>, digest: Digest, verifier: Verifier) -> Self {
        Self { fetch, digest, verifier: Some(verifier), held: None }
    }

    /// What fetches it.
    pub(crate) const fn fetch(&mut self) -> &mut Fetch<RegistryBlob> {
        &mut self.fetch
    }

    /// The whole length in bytes, where the upstream tells it.
    pub(crate) const fn size(&self) -> Option<u64> {
        self.fetch.size()
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the upstream breaks off for good, [`Error::WrongContent`] in place of the last
    /// bytes.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        while let Some(verifier) = &mut self.verifier {
            match self.fetch.chunk().await? {
                Some(chunk) => {
                    verifier.update(&chunk);
                    if let Some(ready) = self.held.replace(chunk) {
                        return Ok(Some(ready));
                    }
                }
                None => {
                    let actual = self.verifier.take().map(Verifier::finish);
                    if actual != Some(self.digest) {
                        self.fetch.source().note_wrong();
                        return Err(Error::WrongContent { why: format!("it is not {}", self.digest) });
                    }
                    return Ok(self.held.take());
                }
            }
        }
        Ok(None)
    }
}
