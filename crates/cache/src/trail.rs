//! Lists that come in pages, from registries that lead in circles. A client follows each link that it gets; hubcap gives none
//! that leads back.
//!
//! Nothing is kept between two requests: what has to be known of the pages before goes along in the link.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::str::FromStr;

use hubcap_oci::Page;

/// Pages that are known again: the first, and the newest.
const KNOWN: usize = 16;
/// Pages without an entry that may follow each other.
const MAX_EMPTY: u32 = 16;
/// Pages of one list. One that goes by the specification's order needs no limit, and has none.
const MAX_PAGES: u32 = 10_000;

/// How a client came to a page, where the pages' own names do not tell that it comes forward.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trail {
    pages: u32,
    /// Pages without an entry, up to the last one.
    empty: u32,
    /// What the last page had.
    entries: u32,
    seen: Vec<u32>,
}

impl Trail {
    /// Whether nothing has to be remembered.
    pub fn is_empty(&self) -> bool {
        self.pages == 0
    }

    /// Whether a page has only what the one before had: its registry does not read the mark that it gave itself.
    pub(crate) fn repeats(&self, asked: &Page, entries: &[String], next: &Page) -> bool {
        let Some(last) = entries.last() else { return false };
        (!self.is_empty() && self.entries == hash(entries))
            || (next.pairs() == asked.pairs() && asked.last().as_ref() == Some(last))
    }

    /// The way on to the page `next` that a registry names, from `asked` and its `entries`; `None` where it leads back, or
    /// nowhere.
    pub(crate) fn on(&self, asked: &Page, entries: &[String], next: &Page) -> Option<Self> {
        if next.is_first() || next.pairs() == asked.pairs() {
            return None;
        }
        if self.is_empty() && comes_forward(asked, entries, next) {
            return Some(Self::default());
        }
        let mut seen = self.seen.clone();
        if seen.len() == KNOWN {
            seen.remove(1);
        }
        seen.push(hash(&asked.pairs()));
        let empty = if entries.is_empty() { self.empty + 1 } else { 0 };
        let on = Self { pages: self.pages + 1, empty, entries: hash(entries), seen };
        let ends = on.seen.contains(&hash(&next.pairs())) || on.empty > MAX_EMPTY || on.pages > MAX_PAGES;
        (!ends).then_some(on)
    }
}

/// Whether `next` is what the specification says: all after the last entry, which is after all that were asked for before.
fn comes_forward(asked: &Page, entries: &[String], next: &Page) -> bool {
    next.is_plain() && next.last().as_ref() == entries.last() && next.last() > asked.last()
}

fn hash(value: &(impl Hash + ?Sized)) -> u32 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    // Sixteen of them need no more.
    hasher.finish() as u32
}

impl fmt::Display for Trail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{:x}", self.pages, self.empty, self.entries)?;
        self.seen.iter().try_for_each(|page| write!(f, ".{page:x}"))
    }
}

impl FromStr for Trail {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('.');
        let mut decimal =
            || parts.next().and_then(|part| part.parse().ok()).filter(|n| *n <= MAX_PAGES).ok_or(());
        let (pages, empty) = (decimal()?, decimal()?);
        let mut hashes = parts.map(|part| u32::from_str_radix(part, 16).map_err(drop));
        let entries = hashes.next().ok_or(())??;
        let seen = hashes.take(KNOWN).collect::<Result<Vec<_>, ()>>()?;
        Ok(Self { pages, empty, entries, seen })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Follows links until they end: `lead` gives a page's entries and its next one.
    fn follow(lead: impl Fn(&str) -> (Vec<String>, String)) -> Vec<String> {
        let (mut page, mut trail, mut found) = (Page::default(), Trail::default(), Vec::new());
        for _ in 0..2 * MAX_PAGES {
            let (entries, next) = lead(page.query());
            let next = Page::of_query(Some(&next));
            if trail.repeats(&page, &entries, &next) {
                return found;
            }
            let on = trail.on(&page, &entries, &next);
            found.extend(entries);
            let Some(on) = on else { return found };
            trail = on.to_string().parse().expect("a trail");
            page = next;
        }
        panic!("the list does not end")
    }

    fn one(entry: &str) -> Vec<String> {
        vec![entry.to_owned()]
    }

    #[test]
    fn the_specifications_order_needs_no_trail() {
        let next = Page::new(Some(1), Some("b"));
        let trail = Trail::default().on(&Page::new(Some(1), Some("a")), &one("b"), &next);
        assert_eq!(trail, Some(Trail::default()));
    }

    #[test]
    fn a_page_that_names_itself_or_the_first_one_is_the_last() {
        assert_eq!(follow(|query| (one("a"), query.to_owned())), ["a"]);
        assert_eq!(follow(|_| (one("a"), "last=a".to_owned())), ["a"]);
        assert_eq!(follow(|_| (one("a"), "n=100".to_owned())), ["a"]);
    }

    #[test]
    fn a_circle_ends_before_a_page_comes_twice() {
        let circle = |query: &str| match query {
            "" => (one("a"), "p=b".to_owned()),
            "p=b" => (one("b"), "p=c".to_owned()),
            _ => (one("c"), "p=b".to_owned()),
        };
        assert_eq!(follow(circle), ["a", "b", "c"]);
    }

    #[test]
    fn a_registry_that_does_not_read_its_own_mark_is_noticed() {
        let next = |query: &str| format!("p={}", query.len());
        assert_eq!(follow(|query| (one("a"), next(query) + query)), ["a"]);
    }

    #[test]
    fn some_empty_pages_are_followed_and_not_any_number_of_them() {
        let number = |query: &str| query.trim_start_matches("p=").parse::<u32>().unwrap_or(0);
        let some = |query: &str| match number(query) {
            5 => (one("a"), "p=6".to_owned()),
            7 => (one("b"), String::new()),
            n => (Vec::new(), format!("p={}", n + 1)),
        };
        assert_eq!(follow(some), ["a", "b"]);
        assert_eq!(follow(|query| (Vec::new(), format!("p={}", number(query) + 1))), [""; 0]);
    }

    #[test]
    fn a_list_of_many_pages_with_marks_is_whole_and_an_endless_one_ends() {
        let number = |query: &str| query.trim_start_matches("p=").parse::<u32>().unwrap_or(0);
        let page = |n: u32| (one(&n.to_string()), format!("p={}", n + 1));
        assert_eq!(
            follow(|query| if number(query) == 999 {
                (one("999"), String::new())
            } else {
                page(number(query))
            })
            .len(),
            1000
        );
        assert_eq!(follow(|query| page(number(query))).len(), MAX_PAGES as usize + 1);
    }

    #[test]
    fn what_is_no_trail_is_none() {
        for text in ["", "1", "1.2", "x.0.0", "1.0.zz", "99999999.0.0", "1.0.1.q"] {
            assert_eq!(text.parse::<Trail>(), Err(()), "{text}");
        }
    }
}
