//! Tags (end-8).

use http::{HeaderMap, Method};
use hubcap_oci::{Endpoint, Page, Repository};
use serde::Deserialize;

use super::{MAX_LIST, Upstream};
use crate::error::Error;
use crate::{body, link};

/// A page of tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagList {
    /// In the upstream's order.
    pub tags: Vec<String>,
    /// What to ask for next.
    pub next: Option<Page>,
}

impl Upstream {
    /// end-8: a page of tags.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is not a list.
    pub async fn tags(&self, repository: &Repository, page: &Page) -> Result<TagList, Error> {
        #[derive(Deserialize)]
        struct List {
            // Some registries say null for none.
            tags: Option<Vec<String>>,
        }
        let endpoint = Endpoint::Tags { repository: repository.clone(), page: page.clone() };
        let response = self.ask(Method::GET, &endpoint, HeaderMap::new()).await?;
        let next = link::next(response.headers(), &self.url(&endpoint)?);
        let bytes = body::whole(response, MAX_LIST).await?;
        let list: List = serde_json::from_slice(&bytes)
            .map_err(|_| Error::invalid("the list of tags is not the JSON of one"))?;
        let tags = list.tags.unwrap_or_default();
        let next = next.map(|url| {
            let mut next = link::page(&url);
            // A registry that pages with a mark of its own (GHCR, Quay) goes on after the last tag as well.
            next.last = next.last.or_else(|| tags.last().cloned());
            next
        });
        Ok(TagList { tags, next })
    }
}
