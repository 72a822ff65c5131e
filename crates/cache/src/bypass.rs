//! A blob that the disk has no room for is streamed through, unstored: a full disk must not fail a pull.

use bytes::Bytes;
use hubcap_oci::{Digest, Verifier};
use hubcap_upstream::BlobBody;

use crate::Error;

/// A blob on its way from the upstream to one client. It is verified as well: its last piece is given out only after
/// the digest was found right.
#[derive(Debug)]
pub struct Through {
    body: BlobBody,
    digest: Digest,
    /// Gone when the end was seen.
    verifier: Option<Verifier>,
    held: Option<Bytes>,
}

impl Through {
    pub(crate) fn new(body: BlobBody, digest: Digest) -> Self {
        Self { body, digest, verifier: Some(Verifier::new(digest.algorithm())), held: None }
    }

    /// The whole length in bytes, where the upstream tells it.
    pub const fn size(&self) -> Option<u64> {
        self.body.size
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the upstream breaks off, [`Error::WrongContent`] in place of the last bytes.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        while let Some(verifier) = &mut self.verifier {
            match self.body.chunk().await? {
                Some(chunk) if chunk.is_empty() => {}
                Some(chunk) => {
                    verifier.update(&chunk);
                    if let Some(ready) = self.held.replace(chunk) {
                        return Ok(Some(ready));
                    }
                }
                None => {
                    let actual = self.verifier.take().map(Verifier::finish);
                    if actual != Some(self.digest) {
                        return Err(Error::WrongContent { why: format!("it is not {}", self.digest) });
                    }
                    return Ok(self.held.take());
                }
            }
        }
        Ok(None)
    }
}
