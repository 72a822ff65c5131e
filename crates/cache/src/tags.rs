//! Tag lists (end-8): the upstream's while it can be asked, else what the store knows.

use hubcap_oci::{Page, Tag};

use crate::access::Access;
use crate::authorization::Admission;
use crate::cache::Cache;
use crate::error::Failure;
use crate::outcome::{Answer, Outcome};

/// A page of tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagPage {
    /// In the order of the upstream.
    pub tags: Vec<String>,
    /// What to ask for next, if there is more.
    pub next: Option<Page>,
}

impl Cache {
    /// A page of a repository's tags. Lists are never stored; when the upstream cannot be asked, the tags that
    /// were pulled through are better than none.
    ///
    /// # Errors
    /// A [`Failure`]: not found, denied, or the upstream cannot be used and no tag is stored.
    pub async fn tags(&self, access: &Access, page: &Page) -> Result<Answer<TagPage>, Failure> {
        let failure = match self.upstream_tags(access, page).await {
            Ok(page) => return Ok(Answer::new(page, Outcome::Passed)),
            Err(failure) => failure,
        };
        let stored = self.store().tags(&access.target);
        match failure.stale_reason() {
            Some(because) if !stored.is_empty() && self.admission(access) != Admission::Ask => {
                Ok(Answer::new(paged(&stored, page), Outcome::Stale { over: 0, because }))
            }
            _ => Err(failure),
        }
    }

    async fn upstream_tags(&self, access: &Access, page: &Page) -> Result<TagPage, Failure> {
        let list = self.upstream(access)?.tags(&access.target.repository, page).await?;
        Ok(TagPage { tags: list.tags, next: list.next })
    }
}

/// The page of a sorted list: after `last`, at most `n`. "n=0" is an empty list without a next one.
fn paged(all: &[Tag], page: &Page) -> TagPage {
    let after = |tag: &&Tag| page.last.as_ref().is_none_or(|last| tag.as_str() > last.as_str());
    let mut rest = all.iter().filter(after).map(|tag| tag.as_str().to_owned());
    let tags: Vec<String> = rest.by_ref().take(page.n.unwrap_or(usize::MAX)).collect();
    let next = match (tags.last(), rest.next()) {
        (Some(last), Some(_)) => Some(Page { n: page.n, last: Some(last.clone()) }),
        _ => None,
    };
    TagPage { tags, next }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(n: Option<usize>, last: Option<&str>) -> (Vec<String>, Option<String>) {
        let all: Vec<Tag> = ["a", "b", "c"].iter().map(|tag| tag.parse().expect("a tag")).collect();
        let page = paged(&all, &Page { n, last: last.map(Into::into) });
        (page.tags, page.next.and_then(|next| next.last))
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
