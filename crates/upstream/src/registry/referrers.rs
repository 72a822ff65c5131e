//! Referrers (end-12).

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method};
use hubcap_oci::referrer::tag_of;
use hubcap_oci::{Digest, Endpoint, Page, Reference, Referrer, Repository};

use super::{MAX_LIST, Upstream, document};
use crate::error::Error;
use crate::link;
use crate::memory;
use crate::request::Redirects;

/// How many pages of a list are read; a longer list is cut.
const MAX_PAGES: usize = 100;
/// How long all pages of a list may be together, in bytes; a longer list is cut.
const MAX_PAGES_BYTES: usize = MAX_LIST;
/// How long the pages of a list may take together; a list that takes longer is cut: its client does not wait for ever.
const LONGEST: Duration = Duration::from_secs(20);
/// How many entries all pages of a list may have; a longer list is cut.
const MAX_REFERRERS: usize = 10_000;

/// The manifests that refer to one, of all types.
#[derive(Debug, Clone, PartialEq)]
pub struct ReferrerList {
    /// In the registry's order.
    pub referrers: Vec<Referrer>,
    /// Whether all are here. A list that is too long is cut.
    pub is_whole: bool,
    /// The pages as they came, which hold the memory for the list until the answer with it has gone out.
    pub memory: Vec<Bytes>,
}

impl Upstream {
    /// end-12: the manifests that refer to `digest`. A registry without this endpoint is asked by the tag schema.
    ///
    /// No filter is asked for: registries differ in how many types they filter by, and the whole list serves every filter.
    ///
    /// # Errors
    /// [`Error`]; not being found is an empty list.
    pub async fn referrers(&self, repository: &Repository, digest: &Digest) -> Result<ReferrerList, Error> {
        match self.referrers_api(repository, digest).await {
            Err(error) if lacks_endpoint(&error) => {
                let tagged = self.referrers_tag(repository, digest).await?;
                match error {
                    Error::Refused { .. } => tagged.ok_or(error),
                    _ => Ok(tagged.unwrap_or_default()),
                }
            }
            answered => answered,
        }
    }

    async fn referrers_api(&self, repository: &Repository, digest: &Digest) -> Result<ReferrerList, Error> {
        let (home, artifact_types) = (digest.to_string(), Vec::new());
        let endpoint =
            Endpoint::Referrers { repository: repository.clone(), digest: *digest, artifact_types };
        let mut url = self.url(&endpoint)?;
        let (mut referrers, mut memory) = (Vec::new(), Vec::new());
        let (mut seen, mut read) = (vec![Page::of_query(url.query()).pairs()], 0);
        let begun = Instant::now();
        while seen.len() <= MAX_PAGES
            && read <= MAX_PAGES_BYTES
            && referrers.len() < MAX_REFERRERS
            && begun.elapsed() < LONGEST
        {
            let patience = if seen.len() == 1 { memory::PATIENCE } else { memory::PATIENCE_OF_PAGE };
            let ask = async || {
                let request = self.request(Method::GET, url.clone(), HeaderMap::new());
                // A 303 of GHCR leads to a web page, which is no registry's answer.
                self.authorized(request.with_redirects(Redirects::FollowSame), repository).await
            };
            let document = document::read(ask().await?, &self.registry, MAX_LIST, patience, ask).await?;
            read += document.bytes.len();
            referrers.extend(Referrer::read_index(&document.bytes).ok_or(Error::NotFound)?);
            memory.push(match seen.len() {
                1 => document.bytes,
                // Many small pages are as large as one large one.
                _ => memory::hold(self.registry.as_str(), document.bytes).await?,
            });
            let next = link::next(&document.headers, &document.url, "referrers", &home);
            let Some(next) = next.filter(|next| !seen.contains(&next.pairs())) else {
                return Ok(ReferrerList { referrers, is_whole: true, memory });
            };
            seen.push(next.pairs());
            // At the registry itself, whatever host the link names: the Authorization goes along.
            let place = next.place().unwrap_or(&home);
            url = self.place(&format!("/v2/{repository}/referrers/{place}?{}", next.query()))?;
        }
        Ok(ReferrerList { referrers, is_whole: false, memory })
    }

    /// distribution-spec, "Unavailable Referrers API": the tag `<alg>-<hash>`; `None` where there is no such tag.
    async fn referrers_tag(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<ReferrerList>, Error> {
        let Some(tag) = tag_of(digest) else { return Ok(None) };
        match self.manifest(repository, &Reference::Tag(tag)).await {
            Ok(manifest) => {
                let no_index = || Error::invalid("the list of referrers is not an index");
                let referrers = Referrer::read_index(&manifest.bytes).ok_or_else(no_index)?;
                Ok(Some(ReferrerList { referrers, is_whole: true, memory: vec![manifest.bytes] }))
            }
            Err(Error::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl From<Vec<Referrer>> for ReferrerList {
    /// A whole list, which is short.
    fn from(referrers: Vec<Referrer>) -> Self {
        Self { referrers, is_whole: true, memory: Vec::new() }
    }
}

impl Default for ReferrerList {
    /// The whole list of what nothing refers to.
    fn default() -> Self {
        Vec::new().into()
    }
}

/// Whether an error is how registries without the endpoint answer: most with 404, others as if the request were wrong, or
/// with a redirect to what is none of theirs.
const fn lacks_endpoint(error: &Error) -> bool {
    matches!(
        error,
        Error::NotFound | Error::Refused { .. } | Error::Failed { status: 501 } | Error::Elsewhere { .. }
    )
}
