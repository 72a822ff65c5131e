//! Referrers (end-12).

use http::{HeaderMap, Method};
use hubcap_oci::{Digest, Endpoint, Page, Reference, Referrer, Repository, Tag};
use serde_json::Value;

use super::{MAX_LIST, Upstream};
use crate::error::Error;
use crate::{body, link};

/// How many pages of a list are read; a longer list is cut.
const MAX_PAGES: usize = 100;
/// How long all pages of a list may be together, in bytes; a longer list is cut.
const MAX_PAGES_BYTES: usize = 4 * MAX_LIST;

/// The manifests that refer to one, of all types.
#[derive(Debug, Clone, PartialEq)]
pub struct ReferrerList {
    /// In the registry's order.
    pub referrers: Vec<Referrer>,
    /// Whether all are here. A list that is too long is cut.
    pub is_whole: bool,
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
                let referrers = match error {
                    Error::Refused { .. } => tagged.ok_or(error)?,
                    _ => tagged.unwrap_or_default(),
                };
                Ok(ReferrerList { referrers, is_whole: true })
            }
            answered => answered,
        }
    }

    async fn referrers_api(&self, repository: &Repository, digest: &Digest) -> Result<ReferrerList, Error> {
        let (digest, artifact_types) = (*digest, Vec::new());
        let endpoint = Endpoint::Referrers { repository: repository.clone(), digest, artifact_types };
        let mut url = self.url(&endpoint)?;
        let mut referrers = Vec::new();
        let (mut seen, mut read) = (vec![Page::of_query(url.query()).pairs()], 0);
        while seen.len() <= MAX_PAGES && read <= MAX_PAGES_BYTES {
            // Not followed: GHCR redirects to a web page that is no registry's answer.
            let request = self.request(Method::GET, url.clone(), HeaderMap::new()).without_redirects();
            let response = self.authorized(request, repository).await?;
            let next = link::next(response.headers());
            let bytes = body::whole(response, MAX_LIST).await?;
            read += bytes.len();
            referrers.extend(read_index(&bytes).ok_or(Error::NotFound)?);
            let Some(next) = next.filter(|next| !seen.contains(&next.pairs())) else {
                return Ok(ReferrerList { referrers, is_whole: true });
            };
            seen.push(next.pairs());
            // At the registry itself, whatever host the link names: the Authorization goes along.
            url.set_query(Some(next.query()));
        }
        Ok(ReferrerList { referrers, is_whole: false })
    }

    /// distribution-spec, "Unavailable Referrers API": the tag `<alg>-<hash>`; `None` where there is no such tag.
    async fn referrers_tag(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Vec<Referrer>>, Error> {
        let mut tag = format!("{}-{}", digest.algorithm().name(), digest.hex());
        tag.truncate(128);
        let Ok(tag) = tag.parse::<Tag>() else { return Ok(None) };
        match self.manifest(repository, &Reference::Tag(tag)).await {
            Ok(manifest) => {
                let index = read_index(&manifest.bytes);
                index.map(Some).ok_or_else(|| Error::invalid("the list of referrers is not an index"))
            }
            Err(Error::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Whether an error is how registries without the endpoint answer: most with 404, others as if the request were wrong.
const fn lacks_endpoint(error: &Error) -> bool {
    matches!(error, Error::NotFound | Error::Refused { .. } | Error::Failed { status: 501 })
}

/// The entries of an index. What is no object is none.
fn read_index(bytes: &[u8]) -> Option<Vec<Referrer>> {
    let mut index: Value = serde_json::from_slice(bytes).ok()?;
    match index.as_object_mut()?.remove("manifests")? {
        Value::Null => Some(Vec::new()),
        Value::Array(list) => {
            Some(list.into_iter().filter_map(|one| serde_json::from_value(one).ok()).collect())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_entry_costs_the_others_nothing_and_odd_ones_stay() {
        let text = r#"{"manifests":[{"digest":"md4:00","size":-1},null,{"artifactType":"a/b"}]}"#;
        let found = read_index(text.as_bytes()).expect("an index");
        let types: Vec<_> = found.iter().map(Referrer::artifact_type).collect();
        assert_eq!(types, [None, Some("a/b")]);
    }

    #[test]
    fn a_web_page_is_no_index_and_null_is_an_empty_one() {
        assert_eq!(read_index(b"<html>"), None);
        assert_eq!(read_index(b"[]"), None);
        assert_eq!(read_index(br#"{"errors":[]}"#), None);
        assert_eq!(read_index(br#"{"manifests":null}"#), Some(Vec::new()));
    }
}
