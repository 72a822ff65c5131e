//! Manifests (end-3).

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method};
use hubcap_oci::{Algorithm, Digest, Endpoint, Manifest, Reference, Repository, media_type};

use super::Upstream;
use crate::body;
use crate::error::Error;

/// A manifest as it came; its digest is not checked here.
#[derive(Debug, Clone)]
pub struct ManifestBody {
    /// At most [`Manifest::MAX_SIZE`], 4 MiB.
    pub bytes: Bytes,
    /// Its media type, as the upstream says.
    pub media_type: Option<String>,
}

impl Upstream {
    /// end-3, HEAD: the manifest's digest, where the upstream tells it. Free of the rate limit on Docker Hub.
    ///
    /// # Errors
    /// [`Error`]; see its variants.
    pub async fn head_manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Option<Digest>, Error> {
        let endpoint = Endpoint::Manifest { repository: repository.clone(), reference: reference.clone() };
        match self.ask(Method::HEAD, &endpoint, accept()).await {
            // What it redirects to is signed for GETs alone.
            Err(Error::Elsewhere { .. }) => {
                let manifest = self.manifest(repository, reference).await?;
                Ok(Some(Digest::of(Algorithm::Sha256, &manifest.bytes)))
            }
            answered => {
                let answered = answered?;
                let digest = answered.headers().get("docker-content-digest");
                Ok(digest.and_then(|value| value.to_str().ok()?.parse().ok()))
            }
        }
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
        let endpoint = Endpoint::Manifest { repository: repository.clone(), reference: reference.clone() };
        let response = self.ask(Method::GET, &endpoint, accept()).await?;
        let media_type = body::content_type(&response);
        let bytes = body::whole(response, Manifest::MAX_SIZE).await?;
        Ok(ManifestBody { bytes, media_type })
    }
}

fn accept() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.extend(media_type::MANIFESTS.map(|text| (header::ACCEPT, HeaderValue::from_static(text))));
    headers
}
