//! Referrers (end-12).

use http::{HeaderMap, Method};
use hubcap_oci::{Descriptor, Digest, Endpoint, Reference, Repository, Tag, media_type};
use serde::Deserialize;

use super::{MAX_LIST, Upstream};
use crate::error::Error;
use crate::{body, link};

/// How many pages of a list are read; a longer list is cut.
const MAX_PAGES: usize = 16;

impl Upstream {
    /// end-12: the manifests that refer to `digest`. A registry without this endpoint is asked by the tag schema.
    ///
    /// # Errors
    /// [`Error`]; not being found is an empty list.
    pub async fn referrers(
        &self,
        repository: &Repository,
        digest: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, Error> {
        let mut found = match self.referrers_api(repository, digest, artifact_type).await {
            Err(Error::NotFound) => self.referrers_tag(repository, digest).await?,
            answered => answered?,
        };
        found.retain(|one| artifact_type.is_none_or(|wanted| one.artifact_type.as_deref() == Some(wanted)));
        Ok(found)
    }

    async fn referrers_api(
        &self,
        repository: &Repository,
        digest: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, Error> {
        let artifact_type = artifact_type.map(Into::into);
        let endpoint = Endpoint::Referrers { repository: repository.clone(), digest: *digest, artifact_type };
        let mut url = self.url(&endpoint)?;
        let mut found = Vec::new();
        for _ in 0..MAX_PAGES {
            // Not followed: GHCR redirects to a web page that is no registry's answer.
            let request = self.request(Method::GET, url.clone(), HeaderMap::new()).without_redirects();
            let response = self.authorized(request, repository).await?;
            if body::content_type(&response).as_deref() != Some(media_type::OCI_INDEX) {
                return Err(Error::NotFound);
            }
            let next = link::next(response.headers(), &url);
            let bytes = body::whole(response, MAX_LIST).await?;
            found.extend(read_index(&bytes)?);
            match next {
                // Only at the registry itself: the Authorization goes along.
                Some(next) if next.origin() == self.origin.url.origin() => url = next,
                _ => break,
            }
        }
        Ok(found)
    }

    /// distribution-spec, "Unavailable Referrers API": the tag `<alg>-<hash>`.
    async fn referrers_tag(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Vec<Descriptor>, Error> {
        let mut tag = format!("{}-{}", digest.algorithm().name(), digest.hex());
        tag.truncate(128);
        let Ok(tag) = tag.parse::<Tag>() else { return Ok(Vec::new()) };
        match self.manifest(repository, &Reference::Tag(tag)).await {
            Ok(manifest) => read_index(&manifest.bytes),
            Err(Error::NotFound) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

fn read_index(bytes: &[u8]) -> Result<Vec<Descriptor>, Error> {
    #[derive(Deserialize)]
    struct Index {
        #[serde(default)]
        manifests: Vec<Descriptor>,
    }
    let index: Index =
        serde_json::from_slice(bytes).map_err(|_| Error::invalid("the list of referrers is not an index"))?;
    Ok(index.manifests)
}
