//! Tags (end-8).

use bytes::Bytes;
use http::{HeaderMap, Method};
use hubcap_oci::json::{self, Object};
use hubcap_oci::{Endpoint, Page, Repository};

use super::document::{self, Document};
use super::{MAX_LIST, Upstream};
use crate::error::Error;
use crate::link;
use crate::memory::PATIENCE;

/// The most tags that one page may have: with less of a limit a list of very short tags would take much more memory than its
/// bytes.
const MAX_TAGS: usize = 250_000;

/// A page of tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagList {
    /// In the upstream's order.
    pub tags: Vec<String>,
    /// What the upstream says to ask for next. It may be what was asked before.
    pub next: Option<Page>,
    /// The list as it came, which holds the memory for it until the answer with its tags has gone out.
    pub memory: Bytes,
}

impl Upstream {
    /// end-8: a page of tags.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is not a list.
    pub async fn tags(&self, repository: &Repository, page: &Page) -> Result<TagList, Error> {
        let endpoint = Endpoint::Tags { repository: repository.clone(), page: page.clone() };
        let ask = async || self.ask(Method::GET, &endpoint, HeaderMap::new()).await;
        let Document { url, headers, bytes } =
            document::read(ask().await?, &self.registry, MAX_LIST, PATIENCE, ask).await?;
        let next = link::next(&headers, &url, "tags", "list");
        let tags = read(&bytes).ok_or_else(|| Error::invalid("the list of tags is not the JSON of one"))?;
        if tags.len() > MAX_TAGS {
            return Err(Error::invalid(format!("a page of more than {MAX_TAGS} tags came")));
        }
        Ok(TagList { tags, next, memory: bytes })
    }
}

/// The tags of a list. Some registries say null for none; what is no text is no tag.
pub(crate) fn read(bytes: &[u8]) -> Option<Vec<String>> {
    let text = String::from_utf8_lossy(bytes);
    let list = Object::read(&text, &["tags"])?;
    let is_list = list.value("tags").is_none_or(|tags| tags.get() == "null" || tags.get().starts_with('['));
    is_list.then(|| list.array("tags", MAX_TAGS + 1).into_iter().filter_map(json::text).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_may_be_written_in_any_way() {
        for text in [r#"{"name":"a","tags":[]}"#, r#"{"name":"a","tags":null}"#, r#"{"name":"a"}"#] {
            assert_eq!(read(text.as_bytes()), Some(Vec::new()), "{text}");
        }
    }

    #[test]
    fn tags_are_texts_and_what_else_is_among_them_is_left_out() {
        let text = r#"{"name":"\ud800","tags":["b",null,"a",1],"manifest":{}}"#;
        assert_eq!(read(text.as_bytes()), Some(vec!["b".to_owned(), "a".to_owned()]));
    }

    #[test]
    fn what_is_no_list_is_none() {
        for text in ["", "<html>", "[]", r#"{"tags":"a"}"#] {
            assert_eq!(read(text.as_bytes()), None, "{text}");
        }
    }
}
