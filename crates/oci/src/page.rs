//! A page of a list, as its query names it.

use std::fmt::Write as _;

use crate::query::{parse_query, with_query};

/// Parameters that are between a client and hubcap: no registry gets them, and a registry's own of that name is lost.
const OWN: [&str; 3] = [Page::NAMESPACE, Page::TRAIL, Page::PLACE];

/// The longest place, in bytes.
const MAX_PLACE: usize = 2048;

/// A page of a list. `n` and `last` are the specification's; what else is in its query is a mark of the registry's own
/// (Quay has `next_page`, ECR has tokens), which is carried as it was written. Some registries have that mark in the path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Page {
    query: String,
    place: Option<String>,
}

impl Page {
    /// The parameter with which a client names the registry.
    pub const NAMESPACE: &str = "ns";
    /// The parameter with which hubcap's links tell how a client came to a page.
    pub const TRAIL: &str = "hubcap-trail";
    /// The parameter with which hubcap's links tell a page's [place](Self::place).
    pub const PLACE: &str = "hubcap-place";

    /// The page that the query of a client's request asks for.
    pub fn of_query(query: Option<&str>) -> Self {
        let place = parse_query(query).into_iter().find(|(key, _)| key == Self::PLACE);
        Self::of_link(query, place.map(|(_, place)| place))
    }

    /// The page to which a registry's link leads. A place that may lead out of the list is ignored.
    pub fn of_link(query: Option<&str>, place: Option<String>) -> Self {
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
        Self { query: kept, place: place.filter(|place| is_place(place)) }
    }

    /// At most `n` entries, and only those after `last`, as the specification names a page.
    pub fn new(n: Option<usize>, last: Option<&str>) -> Self {
        let n = n.map(|n| ("n", n.to_string()));
        let last = last.map(|last| ("last", last.to_owned()));
        let query = with_query(String::new(), n.into_iter().chain(last));
        Self { query: query.trim_start_matches('?').to_owned(), place: None }
    }

    /// The query, without its `?`; empty for the first page.
    pub fn query(&self) -> &str {
        &self.query
    }

    /// Where the page is instead of the list itself: what comes behind `tags/` in its path, as it was written. It is always
    /// below that.
    pub fn place(&self) -> Option<&str> {
        self.place.as_deref()
    }

    /// The same at the list itself.
    pub fn without_place(self) -> Self {
        Self { place: None, ..self }
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
        let mut pairs = parse_query(Some(&self.query));
        pairs.extend(self.place.clone().map(|place| (Self::PLACE.to_owned(), place)));
        pairs.sort_unstable();
        pairs
    }

    fn find(&self, key: &str) -> Option<String> {
        parse_query(Some(&self.query)).into_iter().find(|(k, _)| k == key).map(|(_, value)| value)
    }
}

/// Whether a part of a path stays below where it is put, however a server reads it.
fn is_place(place: &str) -> bool {
    let is_character = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;:@=%/".contains(&byte);
    // Servers in Java pass over what is behind a ';': "..;" is ".." for them.
    let leads_up = |part: &str| matches!(part.split(';').next(), Some("." | ".."));
    let lower = place.to_ascii_lowercase();
    let plain = lower.replace("%2e", ".").replace("%2f", "/").replace("%3b", ";");
    !place.is_empty()
        && place.len() <= MAX_PLACE
        && place.bytes().all(is_character)
        && !plain.contains("%5c")
        && !plain.split('/').any(leads_up)
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
    fn a_mark_in_the_path_is_told_beside_the_query_and_is_no_first_page() {
        let made = page("n=2&hubcap-place=list%2Fa%253D%3Bb&ns=quay.io");
        assert_eq!((made.query(), made.place()), ("n=2", Some("list/a%3D;b")));
        assert!(!made.is_first() && !made.is_plain());
        assert_eq!(made.without_place(), page("n=2"));
    }

    #[test]
    fn no_place_leads_out_of_the_list() {
        for place in [
            "",
            "..",
            "../manifests/1",
            "a/../../b",
            "%2e%2E/b",
            "a/.%2e",
            "a%2F..%2Fb",
            "a\\..",
            "a%5C..",
            "..;/b",
            "a/..;x/b",
            "a/%2E.%3b/b",
            "a?b",
            "a#b",
            "\u{e4}",
        ] {
            assert_eq!(Page::of_link(None, Some(place.into())), Page::default(), "{place}");
        }
    }

    #[test]
    fn a_page_by_n_and_last_reads_them_back() {
        let made = Page::new(Some(2), Some("a b&c"));
        assert_eq!((made.n(), made.last().as_deref()), (Some(2), Some("a b&c")));
        assert_eq!(page(made.query()), made);
        assert_eq!(Page::new(None, None), Page::default());
    }
}
