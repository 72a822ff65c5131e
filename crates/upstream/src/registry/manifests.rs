//! Manifests (end-3).

use std::time::Instant;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method};
use hubcap_oci::{Algorithm, Digest, Endpoint, Manifest, Reference, Repository, Tag, media_type};
use reqwest::Response;

use super::document::{self, Document, is_of, told_digest};
use super::head::Head;
use super::{Others, Upstream};
use crate::body;
use crate::error::{Error, Failed};
use crate::memory::PATIENCE;
use crate::origin::Origin;

/// A manifest as it came; its digest is not checked here.
#[derive(Debug, Clone)]
pub struct ManifestBody {
    /// At most [`Manifest::MAX_SIZE`].
    pub bytes: Bytes,
    /// Its media type, as the upstream says.
    pub media_type: Option<String>,
}

impl Upstream {
    /// The digest of what the upstream has under a reference: by a HEAD, which is free of the rate limit on Docker Hub, or by
    /// a GET where that does not help.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Invalid`] when another manifest comes for a digest, or none for a tag.
    pub async fn manifest_digest(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Digest, Error> {
        let endpoint = endpoint(repository, reference);
        let head = self.head_manifest(&endpoint, reference).await?;
        if let Head::Told(digest) = head {
            return Ok(digest);
        }
        let body = self.receive(self.get_after(&head, &endpoint, accept()).await?, &endpoint).await?;
        if head == Head::Useless {
            self.origin.manifest_heads.did_not_help(repository, Instant::now());
        }
        match reference {
            Reference::Digest(asked) => is_of(asked, &body.bytes).then_some(*asked).ok_or_else(|| {
                let digest = Digest::of(asked.algorithm(), &body.bytes);
                Error::invalid(format!("asked for {asked}, got {digest}"))
            }),
            Reference::Tag(_) => {
                let digest = Digest::of(Algorithm::Sha256, &body.bytes);
                // A sign-in page is none, whatever its status.
                match Manifest::parse(digest, &body.bytes, body.media_type.as_deref()) {
                    Ok(_) => Ok(digest),
                    Err(error) => Err(Error::invalid(error.to_string())),
                }
            }
        }
    }

    /// What a tag means at the first origin, although that limits hubcap: on Docker Hub a HEAD is no pull, and is answered
    /// beyond the limit.
    pub async fn digest_beyond_limit(&self, repository: &Repository, tag: &Tag) -> Option<Digest> {
        let Origin { manifest_heads, heads_beyond_limit, .. } = &*self.origin;
        let now = Instant::now();
        if !manifest_heads.may_help(repository, now) || !heads_beyond_limit.may_help(now) {
            return None;
        }
        let reference = Reference::Tag(tag.clone());
        let endpoint = endpoint(repository, &reference);
        let answer = self.ask_uncounted(Method::HEAD, &endpoint, accept()).await;
        if matches!(answer, Err(Failed { error: Error::RateLimited { .. }, .. })) {
            // The limit is one of all requests.
            heads_beyond_limit.did_not_help(Instant::now());
        }
        told(&reference, answer.ok()?.headers(), None)
    }

    /// What the upstream has under a reference, unless that is still `known`. A HEAD tells that, or a GET where a HEAD
    /// does not help. The other origins may give what the HEAD told, when the GET fails. The bytes' own digest decides: what a HEAD says may be of something else.
    ///
    /// # Errors
    /// [`Error`]; see its variants.
    pub async fn manifest_unless(
        &self,
        repository: &Repository,
        reference: &Reference,
        known: &Digest,
        others: Others,
    ) -> Result<Option<ManifestBody>, Error> {
        let endpoint = endpoint(repository, reference);
        let head = self.head_manifest(&endpoint, reference).await?;
        if head == Head::Told(*known) {
            return Ok(None);
        }
        // By the reference itself, not by the digest that a HEAD told: some registries have what a tag means and do not give
        // it by its digest.
        let body = match self.get_after(&head, &endpoint, accept()).await {
            Ok(response) => self.receive(response, &endpoint).await?,
            // The HEAD was the first origin's word. Others have the bytes.
            Err(error) if error.is_trouble() => match head {
                Head::Told(digest) => {
                    let given = self.manifest_from_others(repository, &digest, others).await;
                    return given.map(Some).ok_or(error);
                }
                _ => return Err(error),
            },
            Err(error) => return Err(error),
        };
        let is_known = Digest::of(known.algorithm(), &body.bytes) == *known;
        if misled(&head, is_known) {
            self.origin.manifest_heads.did_not_help(repository, Instant::now());
        }
        Ok((!is_known).then_some(body))
    }

    /// end-3, GET: a rate limit counts it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for more than [`Manifest::MAX_SIZE`].
    pub async fn manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<ManifestBody, Error> {
        let endpoint = endpoint(repository, reference);
        self.receive(self.ask(Method::GET, &endpoint, accept()).await?, &endpoint).await
    }

    /// The manifest that an answer brings. One that breaks off in the middle is asked for once more.
    async fn receive(&self, response: Response, endpoint: &Endpoint) -> Result<ManifestBody, Error> {
        let again = async || self.ask(Method::GET, endpoint, accept()).await;
        let Document { headers, bytes, .. } =
            document::read(response, &self.registry, Manifest::MAX_SIZE, PATIENCE, again).await?;
        Ok(ManifestBody { bytes, media_type: body::content_type(&headers) })
    }

    async fn head_manifest(&self, endpoint: &Endpoint, reference: &Reference) -> Result<Head<Digest>, Error> {
        let heads = &self.origin.manifest_heads;
        self.head(heads, endpoint, accept(), |response| {
            told(reference, response.headers(), body::content_type(response.headers()).as_deref())
        })
        .await
    }
}

/// The digest that the answer to a HEAD tells, where it can be believed.
fn told(reference: &Reference, headers: &HeaderMap, media_type: Option<&str>) -> Option<Digest> {
    match (reference, told_digest(headers)) {
        (Reference::Tag(_), digest) => digest,
        (Reference::Digest(asked), Some(digest)) => (*asked == digest).then_some(digest),
        // A registry need not say it. A web page would not be a manifest's yes.
        (Reference::Digest(asked), None) => media_type.and_then(media_type::kind).map(|_| *asked),
    }
}

/// Whether a HEAD was sent in vain: it told nothing, or another digest although the manifest is the known one.
const fn misled(head: &Head<Digest>, is_known: bool) -> bool {
    match head {
        Head::Spared => false,
        Head::Useless => true,
        Head::Told(_) => is_known,
    }
}

fn endpoint(repository: &Repository, reference: &Reference) -> Endpoint {
    Endpoint::Manifest { repository: repository.clone(), reference: reference.clone() }
}

/// What hubcap takes, in one line and in a line for each type: some registries read the first line alone, others compare
/// each line as a whole.
fn accept() -> HeaderMap {
    let all = HeaderValue::from_str(&media_type::ACCEPTED.join(", "));
    let each = media_type::ACCEPTED.map(HeaderValue::from_static);
    let mut headers = HeaderMap::new();
    headers.extend(all.into_iter().chain(each).map(|value| (header::ACCEPT, value)));
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(content: &[u8]) -> Digest {
        Digest::of(Algorithm::Sha256, content)
    }

    fn tells(reference: &Reference, header: Option<&str>, media_type: Option<&str>) -> Option<Digest> {
        let header = header.map(|value| value.parse().expect("a value"));
        let headers =
            header.into_iter().map(|value| (header::HeaderName::from_static("docker-content-digest"), value));
        told(reference, &headers.collect(), media_type)
    }

    #[test]
    fn a_tags_digest_is_what_the_header_says_if_it_can_be_read() {
        let tag = Reference::Tag("latest".parse().expect("a tag"));
        let text = digest(b"a").to_string();
        assert_eq!(tells(&tag, Some(&text), None), Some(digest(b"a")));
        for header in [None, Some("sha256:"), Some("md5:00"), Some("\"x\"")] {
            assert_eq!(tells(&tag, header, Some(media_type::OCI_INDEX)), None, "{header:?}");
        }
    }

    #[test]
    fn a_yes_to_a_digest_is_one_if_it_is_a_manifests() {
        let asked = Reference::Digest(digest(b"a"));
        let (right, other) = (digest(b"a").to_string(), digest(b"b").to_string());
        assert_eq!(tells(&asked, Some(&right), None), Some(digest(b"a")));
        assert_eq!(tells(&asked, None, Some(media_type::OCI_MANIFEST)), Some(digest(b"a")));
        assert_eq!(tells(&asked, Some(&other), Some(media_type::OCI_MANIFEST)), None);
        assert_eq!(tells(&asked, None, Some("text/html")), None);
    }

    #[test]
    fn a_head_was_in_vain_when_the_get_would_have_told_as_much() {
        assert!(misled(&Head::Useless, false) && misled(&Head::Useless, true));
        assert!(misled(&Head::Told(digest(b"b")), true));
        assert!(!misled(&Head::Told(digest(b"b")), false), "the tag has moved");
        assert!(!misled(&Head::Spared, true));
    }
}
