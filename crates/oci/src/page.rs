//! A page of a list, as its query names it.

use std::fmt::Write as _;

use crate::query::{parse_query, with_query};

/// Parameters that are between a client and hubcap: no registry gets them, and a registry's own of that name is lost.
const OWN: [&str; 2] = [Page::NAMESPACE, Page::TRAIL];

/// A page of a list. `n` and `last` are the specification's; what else is in its query is a mark of the registry's own
/// (Quay has `next_page`, ECR has tokens), which is carried as it was written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Page(String);

impl Page {
    /// The parameter with which a client names the registry.
    pub const NAMESPACE: &str = "ns";
    /// The parameter with which hubcap's links tell how a client came to a page.
    pub const TRAIL: &str = "hubcap-trail";

    /// The page that a query asks for, of a client's request or of a registry's link.
    pub fn of_query(query: Option<&str>) -> Self {
        let pairs = query.unwrap_or_default().split('&').filter(|pair| {
            let key = pair.split('=').next().unwrap_or_default();
            !pair.is_empty() && !OWN.contains(&key)
        });
        let mut kept = String::new();
        for pair in pairs {
            if !kept.is_empty() {
                kept.push('&');
            }
            for byte in pair.bytes() {
                // Clients cut links at the first ';', ',' or '>', wherever it stands.
                if byte.is_ascii_alphanumeric() || b"-._~!$'()*+/:@?=%".contains(&byte) {
                    kept.push(char::from(byte));
                } else {
                    let _ = write!(kept, "%{byte:02X}");
                }
            }
        }
        Self(kept)
    }

    /// At most `n` entries, and only those after `last`, as the specification names a page.
    pub fn new(n: Option<usize>, last: Option<&str>) -> Self {
        let n = n.map(|n| ("n", n.to_string()));
        let last = last.map(|last| ("last", last.to_owned()));
        let query = with_query(String::new(), n.into_iter().chain(last));
        Self(query.trim_start_matches('?').to_owned())
    }

    /// The query, without its `?`; empty for the first page.
    pub fn query(&self) -> &str {
        &self.0
    }

    /// At most so many; without it, all. What is no number counts as missing.
    pub fn n(&self) -> Option<usize> {
        self.find("n")?.parse().ok()
    }

    /// Only those after this one, itself not included. It need not be one that exists.
    pub fn last(&self) -> Option<String> {
        self.find("last").filter(|last| !last.is_empty())
    }

    /// Whether nothing in it says where it begins.
    pub fn is_first(&self) -> bool {
        self.pairs().iter().all(|(key, value)| key == "n" || (key == "last" && value.is_empty()))
    }

    /// Whether it says all that it says in the specification's words.
    pub fn is_plain(&self) -> bool {
        self.pairs().iter().all(|(key, _)| key == "n" || key == "last")
    }

    /// Its parameters, decoded and in an order that does not depend on how it was written.
    pub fn pairs(&self) -> Vec<(String, String)> {
        let mut pairs = parse_query(Some(&self.0));
        pairs.sort_unstable();
        pairs
    }

    fn find(&self, key: &str) -> Option<String> {
        parse_query(Some(&self.0)).into_iter().find(|(k, _)| k == key).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(query: &str) -> Page {
        Page::of_query(Some(query))
    }

    #[test]
    fn a_registrys_own_marks_are_kept_as_they_were_written() {
        let query = "next_page=gAAAAABg1i7j_X%2BRsgyD%3D&n=50&a=1+2";
        assert_eq!(page(query).query(), query);
        assert_eq!((page(query).n(), page(query).last()), (Some(50), None));
    }

    #[test]
    fn what_a_client_could_cut_a_link_at_is_escaped() {
        assert_eq!(page("token=a;b,c>d\"e").query(), "token=a%3Bb%2Cc%3Ed%22e");
        assert_eq!(page("last=\u{e4}").query(), "last=%C3%A4");
    }

    #[test]
    fn what_is_between_a_client_and_hubcap_goes_to_no_registry() {
        assert_eq!(page("ns=docker.io&n=2&hubcap-trail=x&last=b").query(), "n=2&last=b");
        assert_eq!(page("ns=docker.io"), Page::default());
    }

    #[test]
    fn the_first_page_is_the_one_that_says_nothing_but_how_many() {
        for query in ["", "n=2", "n=2&last=", "ns=docker.io"] {
            assert!(page(query).is_first(), "{query}");
        }
        for query in ["last=a", "n=2&next_page=x", "last=0", "gAAAABg1i7j"] {
            assert!(!page(query).is_first(), "{query}");
        }
    }

    #[test]
    fn the_specifications_words_are_told_from_others() {
        assert!(page("n=2&last=b").is_plain() && Page::default().is_plain());
        assert!(!page("n=2&next_page=b").is_plain());
    }

    #[test]
    fn a_page_by_n_and_last_reads_them_back() {
        let made = Page::new(Some(2), Some("a b&c"));
        assert_eq!((made.n(), made.last().as_deref()), (Some(2), Some("a b&c")));
        assert_eq!(page(made.query()), made);
        assert_eq!(Page::new(None, None), Page::default());
    }
}
