//! Where a content ends whose length its origin does not tell: where its bytes have its digest, whatever the connection does.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use hubcap_oci::{Digest, Verifier};

use crate::error::Error;

/// A connection may be silent for so long before the bytes that are here are looked at.
const SILENCE: Duration = Duration::from_secs(1);

/// The longest content of unknown length, in bytes: a body that never ends must end somewhere. One that is hinted at as
/// longer may be so long.
const MAX_UNKNOWN: u64 = 4 << 30;

/// What finds the end. Its cost, a second hash, is that of contents of unknown length alone.
#[derive(Debug)]
pub(super) struct Ending {
    digest: Digest,
    verifier: Verifier,
    /// Bytes that came.
    length: u64,
    /// Where the content may end.
    hint: Option<u64>,
}

impl Ending {
    /// For a content of which nothing came yet.
    pub(super) fn new(digest: Digest) -> Self {
        Self { digest, verifier: Verifier::new(digest.algorithm()), length: 0, hint: None }
    }

    pub(super) fn hint(&mut self, size: u64) {
        self.hint = Some(size);
    }

    /// Takes the next bytes. True if the content ends in them where the hint says; then they are cut there.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a content that does not end.
    pub(super) fn take(&mut self, chunk: &mut Bytes) -> Result<bool, Error> {
        let left = self.hint.and_then(|hint| usize::try_from(hint.checked_sub(self.length)?).ok());
        if let Some(left) = left.filter(|left| (1..=chunk.len()).contains(left)) {
            let rest = chunk.slice(left..);
            self.add(&chunk[..left]);
            if self.is_complete() {
                chunk.truncate(left);
                return Ok(true);
            }
            self.add(&rest);
        } else {
            self.add(chunk);
        }
        if self.length > self.hint.unwrap_or(0).max(MAX_UNKNOWN) {
            return Err(Error::invalid("it does not end"));
        }
        Ok(false)
    }

    /// Whether the bytes that came are all.
    pub(super) fn is_complete(&self) -> bool {
        self.verifier.clone().finish() == self.digest
    }

    /// Waits for the next bytes, or for a silence after which all are here: that is the end.
    pub(super) async fn unless_complete(
        &self,
        coming: impl Future<Output = Result<Option<Bytes>, Error>>,
    ) -> Result<Option<Bytes>, Error> {
        let mut coming = pin!(coming);
        match tokio::time::timeout(SILENCE, &mut coming).await {
            Ok(came) => came,
            Err(_) if self.is_complete() => Ok(None),
            Err(_) => coming.await,
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        self.verifier.update(bytes);
        self.length += bytes.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use hubcap_oci::Algorithm;

    use super::*;

    fn ending(content: &[u8], hint: Option<u64>) -> Ending {
        let mut ending = Ending::new(Digest::of(Algorithm::Sha256, content));
        ending.hint = hint;
        ending
    }

    /// What is given on of chunks, and whether it was found to be all.
    fn taken(mut ending: Ending, chunks: &[&'static [u8]]) -> (Vec<u8>, bool) {
        let mut given = Vec::new();
        for chunk in chunks {
            let mut chunk = Bytes::from_static(chunk);
            let is_end = ending.take(&mut chunk).expect("it ends");
            given.extend_from_slice(&chunk);
            if is_end {
                return (given, true);
            }
        }
        let is_complete = ending.is_complete();
        (given, is_complete)
    }

    #[test]
    fn a_body_without_an_end_is_cut_where_the_hint_and_the_digest_agree() {
        for chunks in
            [&[&b"content, and more"[..]][..], &[b"con", b"tent", b" and more"], &[b"c", b"ontent, "]]
        {
            assert_eq!(taken(ending(b"content", Some(7)), chunks), (b"content".to_vec(), true));
        }
    }

    #[test]
    fn a_hint_that_is_wrong_changes_nothing() {
        for hint in [None, Some(0), Some(3), Some(6), Some(8), Some(u64::MAX)] {
            let given = taken(ending(b"content", hint), &[b"cont", b"ent"]);
            assert_eq!(given, (b"content".to_vec(), true), "{hint:?}");
        }
    }

    #[tokio::test]
    async fn a_silence_is_the_end_only_when_all_is_here() {
        let mut ending = ending(b"content", None);
        ending.take(&mut Bytes::from_static(b"conten")).expect("it ends");
        let later = async {
            tokio::time::sleep(SILENCE + SILENCE / 4).await;
            Ok(Some(Bytes::from_static(b"t")))
        };
        let mut last = ending.unless_complete(later).await.expect("bytes").expect("bytes");
        ending.take(&mut last).expect("it ends");
        assert_eq!(ending.unless_complete(std::future::pending()).await, Ok(None));
    }
}
