//! Tag lists (end-8): the upstream's while it can be asked, else what the store knows.

use bytes::Bytes;
use hubcap_oci::{Page, Tag};
use hubcap_upstream::TagList;

use crate::access::Access;
use crate::authorization::Admission;
use crate::cache::Cache;
use crate::error::Failure;
use crate::outcome::{Answer, Outcome};
use crate::trail::Trail;

/// A page of tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagPage {
    /// In the order of the upstream.
    pub tags: Vec<String>,
    /// What to ask for next, if there is more.
    pub next: Option<NextPage>,
    /// What holds the memory for it until it has gone out.
    pub memory: Bytes,
}

/// The page that follows another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextPage {
    /// The page.
    pub page: Page,
    /// What is asked with it.
    pub trail: Trail,
}

impl Cache {
    /// A page of a repository's tags, to which a client came by `trail`. Lists are never stored; when the upstream cannot be
    /// asked, the tags that were pulled through are better than none.
    ///
    /// # Errors
    /// A [`Failure`]: not found, denied, or the upstream cannot be used and no tag is stored.
    pub async fn tags(
        &self,
        access: &Access,
        page: &Page,
        trail: &Trail,
    ) -> Result<Answer<TagPage>, Failure> {
        let failure = match self.upstream_tags(access, page, trail).await {
            Ok(page) => return Ok(Answer::new(page, Outcome::Passed)),
            Err(failure) => failure,
        };
        // Behind a registry's own mark there is nobody else who knows what follows.
        let stored = if page.is_plain() { self.store().tags(&access.target) } else { Vec::new() };
        if stored.is_empty() || self.admission(access) == Admission::Ask {
            return Err(failure);
        }
        let ask_as_anybody = async {
            let upstream = self.upstream(access).map_err(|failure| failure.error)?.for_anybody();
            Ok(upstream.tags(&access.target.repository, page).await?)
        };
        let Some(because) = self.list_is_stale_because(access, &failure, ask_as_anybody).await else {
            return Err(failure);
        };
        Ok(Answer::new(paged(&stored, page), Outcome::Stale { over: 0, because }))
    }

    async fn upstream_tags(&self, access: &Access, page: &Page, trail: &Trail) -> Result<TagPage, Failure> {
        let list = self.upstream(access)?.tags(&access.target.repository, page).await?;
        Ok(TagPage::on_the_way(page, trail, list))
    }
}

impl TagPage {
    /// A page as a client gets it that must not be led in a circle.
    fn on_the_way(asked: &Page, trail: &Trail, TagList { tags, next, memory }: TagList) -> Self {
        let Some(page) = next else { return Self { tags, next: None, memory } };
        if trail.repeats(asked, &tags, &page) {
            return Self { tags: Vec::new(), next: None, memory };
        }
        let next = trail.on(asked, &tags, &page).map(|trail| NextPage { page, trail });
        Self { tags, next, memory }
    }
}

/// The page of a sorted list: after `last`, at most `n`. "n=0" is an empty list without a next one.
fn paged(all: &[Tag], page: &Page) -> TagPage {
    let (n, begin) = (page.n(), page.last());
    let after = |tag: &&Tag| begin.as_ref().is_none_or(|last| tag.as_str() > last.as_str());
    let mut rest = all.iter().filter(after).map(|tag| tag.as_str().to_owned());
    let tags: Vec<String> = rest.by_ref().take(n.unwrap_or(usize::MAX)).collect();
    let next = match (tags.last(), rest.next()) {
        (Some(last), Some(_)) => Some(NextPage { page: Page::new(n, Some(last)), trail: Trail::default() }),
        _ => None,
    };
    TagPage { tags, next, memory: Bytes::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(n: Option<usize>, last: Option<&str>) -> (Vec<String>, Option<String>) {
        let all: Vec<Tag> = ["a", "b", "c"].iter().map(|tag| tag.parse().expect("a tag")).collect();
        let page = paged(&all, &Page::new(n, last));
        (page.tags, page.next.and_then(|next| next.page.last()))
    }

    #[test]
    fn pages_follow_each_other_without_gap_or_overlap() {
        assert_eq!(page(None, None), (vec!["a".into(), "b".into(), "c".into()], None));
        assert_eq!(page(Some(2), None), (vec!["a".into(), "b".into()], Some("b".into())));
        assert_eq!(page(Some(2), Some("b")), (vec!["c".into()], None));
        assert_eq!(page(Some(3), None).1, None);
        assert_eq!(page(Some(0), None), (vec![], None));
        assert_eq!(page(None, Some("bb")), (vec!["c".into()], None));
    }
}
