//! Blobs whose bodies are said to be packed, although nobody asked for that. Some proxies pack whatever they pass on; some
//! content networks call a layer "gzip" because it is a gzip file. The digest says which of the two has come.

use hubcap_oci::{Digest, Verifier};
use reqwest::Response;

use crate::body::BlobBody;
use crate::coding::{Codings, Decoded, Decoder};
use crate::error::Error;

/// The longest content that is read only to find out its form, in bytes.
const MAX: u64 = 16 << 30;

/// How such a body is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// What comes is the content.
    AsItComes,
    /// What comes has to be unpacked; the content has so many bytes, where that is known.
    Packed { size: Option<u64> },
}

impl Form {
    /// The content of an answer of this form.
    pub(super) fn read(self, response: Response) -> BlobBody {
        let codings = Codings::read(response.headers());
        match self {
            Self::Packed { size } if !codings.is_none() => BlobBody::packed(response, codings, size),
            _ => BlobBody::whole(response),
        }
    }
}

/// The form as far as the headers show it: what is packed for the transfer has to be unpacked.
pub(super) fn form(codings: &Codings) -> Option<Form> {
    codings.is_of_transfer().then_some(Form::Packed { size: None })
}

/// Reads a body to its end in both forms, and returns the one that has the digest. The bytes are not kept: a blob may have
/// gigabytes, and whoever waits for it must not be given the wrong ones, so it is asked for once more.
///
/// # Errors
/// [`Error::Invalid`] when neither has the digest; [`Error::Unavailable`] when the connection breaks.
pub(super) async fn find_out(mut body: BlobBody, codings: Codings, digest: &Digest) -> Result<Form, Error> {
    let (mut as_it_comes, mut unpacked) =
        (Verifier::new(digest.algorithm()), Verifier::new(digest.algorithm()));
    let mut size = 0;
    let mut decoder = Some(Decoder::new(codings));
    loop {
        let chunk = body.chunk().await?;
        let is_end = chunk.is_none();
        if let Some(chunk) = &chunk {
            as_it_comes.update(chunk);
        }
        if let Some(mut decoding) = decoder.take() {
            match chunk {
                Some(chunk) => decoding.give(chunk),
                None => decoding.end(),
            }
            // What cannot be unpacked is not packed.
            decoder = loop {
                match decoding.take() {
                    Ok(Decoded::Bytes(bytes)) => {
                        size += bytes.len() as u64;
                        unpacked.update(&bytes);
                    }
                    Ok(Decoded::NeedsMore | Decoded::End) => break Some(decoding),
                    Err(_) => break None,
                }
                if size > MAX {
                    break None;
                }
            };
        }
        if body.position > MAX {
            return Err(Error::invalid("it does not end"));
        }
        if is_end {
            break;
        }
    }
    if as_it_comes.finish() == *digest {
        return Ok(Form::AsItComes);
    }
    if decoder.is_some() && unpacked.finish() == *digest {
        return Ok(Form::Packed { size: Some(size) });
    }
    Err(Error::invalid(format!("it is packed, and neither as it comes nor unpacked is it {digest}")))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use http::{HeaderMap, HeaderValue, header};
    use hubcap_oci::Algorithm;

    use super::*;

    fn codings() -> Codings {
        Codings::read(&[(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))].into_iter().collect())
    }

    async fn found(bytes: &[u8], digest: &Digest) -> Result<Form, Error> {
        let response = http::Response::new(reqwest::Body::from(bytes.to_vec()));
        find_out(BlobBody::whole(response.into()), codings(), digest).await
    }

    #[tokio::test]
    async fn the_digest_says_in_which_form_a_body_is_the_content() {
        let content = [b"a layer".as_slice(), &[0; 100_000]].concat();
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&content).expect("packed");
        let packed = encoder.finish().expect("packed");
        let digest = |bytes: &[u8]| Digest::of(Algorithm::Sha256, bytes);
        let size = Some(content.len() as u64);
        assert_eq!(found(&packed, &digest(&packed)).await, Ok(Form::AsItComes));
        assert_eq!(found(&packed, &digest(&content)).await, Ok(Form::Packed { size }));
        assert_eq!(found(&content, &digest(&content)).await, Ok(Form::AsItComes));
        assert!(matches!(found(&packed, &digest(b"other")).await, Err(Error::Invalid { .. })));
    }

    #[test]
    fn what_is_packed_for_the_transfer_is_no_question() {
        assert_eq!(form(&codings()), None);
        let headers: HeaderMap =
            [(header::TRANSFER_ENCODING, HeaderValue::from_static("gzip, chunked"))].into_iter().collect();
        assert_eq!(form(&Codings::read(&headers)), Some(Form::Packed { size: None }));
    }
}
