//! `Link: </v2/...?n=2&last=b>; rel="next"` (RFC 8288), as registries page with it, and as they get it wrong.

use http::{HeaderMap, header};
use hubcap_oci::Page;
use url::Url;

/// One link of a header.
#[derive(Debug, Default, PartialEq, Eq)]
struct Link {
    target: String,
    /// The value of `rel`, where there is one.
    rel: Option<String>,
    /// Whether the target stands in `<` and `>`.
    is_enclosed: bool,
}

/// The next page of the list that was asked for at `asked`. Of its path counts only what comes behind the list's
/// `collection` (`tags`), where that is not its `home` (`list`): whatever host, scheme or path a registry believes itself to
/// be at, it is asked where it was asked before.
///
/// A link that does not say what it is counts where no other does: clients follow it.
pub(crate) fn next(headers: &HeaderMap, asked: &Url, collection: &str, home: &str) -> Option<Page> {
    let values = headers.get_all(header::LINK).iter();
    let links: Vec<Link> =
        values.flat_map(|value| read(&String::from_utf8_lossy(value.as_bytes()))).collect();
    let next = links.iter().find(|link| link.is("next"));
    let unsaid = || links.iter().find(|link| link.is_enclosed && link.rel.is_none());
    let target = next.or_else(unsaid)?.target.split('#').next()?;
    let query = target.split_once('?').map(|(_, query)| query);
    let resolved = asked.join(target).ok();
    let place = resolved.as_ref().and_then(|url| url.path().rsplit_once(&format!("/{collection}/")));
    // A digest's colon may be written as it must not be.
    let place = place.map(|(_, place)| place).filter(|place| place.replace("%3A", ":") != home);
    Some(Page::of_link(query, place.map(Into::into)))
}

impl Link {
    /// Whether `relation` is among its relation types, which are separated by spaces and in any case (section 2.1).
    fn is(&self, relation: &str) -> bool {
        let types = self.rel.as_deref().unwrap_or_default();
        types.split_ascii_whitespace().any(|one| one.eq_ignore_ascii_case(relation))
    }
}

/// The links of one header, as appendix B.2 reads them.
fn read(value: &str) -> Vec<Link> {
    let mut links = Vec::new();
    let mut rest = skip(value);
    while !rest.is_empty() {
        let mut link = Link::default();
        if let Some(enclosed) = rest.strip_prefix('<') {
            let Some((target, behind)) = enclosed.split_once('>') else { break };
            (link.target, link.is_enclosed, rest) = (target.trim().to_owned(), true, behind);
        } else {
            // Quay has sent targets without '<' and '>'. A ',' may be a part of one.
            let (target, behind) = rest.split_at(rest.find(';').unwrap_or(rest.len()));
            (link.target, rest) = (target.trim().to_owned(), behind);
        }
        while let Some(parameter) = rest.trim_start().strip_prefix(';') {
            let (name, value, behind) = parameter_of(parameter);
            if name.eq_ignore_ascii_case("rel") && link.rel.is_none() {
                link.rel = Some(value);
            }
            rest = behind;
        }
        links.push(link);
        // What is no parameter belongs to nothing.
        rest = rest.find(',').map_or("", |comma| skip(&rest[comma..]));
    }
    links
}

/// Past what separates links.
fn skip(text: &str) -> &str {
    text.trim_start_matches([',', ' ', '\t'])
}

/// A parameter's name and value, and what is behind it.
fn parameter_of(text: &str) -> (&str, String, &str) {
    let text = text.trim_start();
    let (name, rest) = text.split_at(text.find(['=', ';', ',']).unwrap_or(text.len()));
    let Some(rest) = rest.strip_prefix('=') else { return (name.trim(), String::new(), rest) };
    let rest = rest.trim_start();
    let Some(quoted) = rest.strip_prefix('"') else {
        let (value, rest) = rest.split_at(rest.find([';', ',']).unwrap_or(rest.len()));
        return (name.trim(), value.trim().to_owned(), rest);
    };
    let (mut value, mut is_escaped) = (String::new(), false);
    for (at, character) in quoted.char_indices() {
        match character {
            '\\' if !is_escaped => is_escaped = true,
            '"' if !is_escaped => return (name.trim(), value, &quoted[at + 1..]),
            _ => {
                value.push(character);
                is_escaped = false;
            }
        }
    }
    (name.trim(), value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page_of(headers: &HeaderMap) -> Option<Page> {
        let asked = "https://r.example/v2/a/tags/list?n=2".parse().expect("a URL");
        next(headers, &asked, "tags", "list")
    }

    fn page(values: &[&str]) -> Option<Page> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::LINK, value.parse().expect("a value"));
        }
        page_of(&headers)
    }

    fn query(values: &[&str]) -> Option<String> {
        page(values).map(|page| page.query().to_owned())
    }

    fn found(value: &str) -> Option<String> {
        query(&[value])
    }

    #[test]
    fn the_next_page_is_found_however_its_relation_is_written() {
        for value in [
            "</v2/a/tags/list?n=2&last=b>; rel=\"next\"",
            "<?n=2&last=b>;rel=next",
            "<?n=2&last=b> ; REL = Next",
            "<?n=2&last=b>; rel=\"next last\"",
            "<?n=2&last=b>; rel=\"\\next\"; type=x",
            "<http://other.example/x?n=2&last=b#part>; rel=next",
            "</v2/a/tags/list?n=2&last=b>",
            "/v2/a/tags/list?n=2&last=b; rel=\"next\"",
        ] {
            assert_eq!(found(value).as_deref(), Some("n=2&last=b"), "{value}");
        }
    }

    #[test]
    fn a_mark_in_the_path_is_found_whatever_is_before_it() {
        for (value, place) in [
            ("</v2/a/tags/list/page/2>; rel=next", Some("list/page/2")),
            ("<list/2?n=2>; rel=next", Some("list/2")),
            ("<https://internal.example/hub/v2/a/tags/after-b>; rel=next", Some("after-b")),
            ("</v2/a/tags/list;after=b%3D>; rel=next", Some("list;after=b%3D")),
            ("</v2/a/tags/list?last=b>; rel=next", None),
            ("</v2/a/tags/../manifests/1>; rel=next", None),
            ("</v2/a/next/2>; rel=next", None),
        ] {
            assert_eq!(page(&[value]).expect("a page").place(), place, "{value}");
        }
    }

    #[test]
    fn it_is_found_among_several_links_and_headers() {
        let first = "<?n=2>; rel=first, <?last=a,b;c>; rel=\"prev\"; title=\"next\"";
        let next = "<?last=x>; rel=\"next\"";
        assert_eq!(found(&format!("{first}, {next}")).as_deref(), Some("last=x"));
        assert_eq!(query(&[first, next]).as_deref(), Some("last=x"));
        assert_eq!(found("<?last=x>; rel=canonical, <?last=y>").as_deref(), Some("last=y"));
        // The first `rel` counts.
        assert_eq!(found("<?last=x>; rel=prev; rel=next, <?last=y>; rel=next").as_deref(), Some("last=y"));
    }

    #[test]
    fn commas_and_semicolons_within_are_no_separators() {
        assert_eq!(found("<?token=a,b;c>; rel=next").as_deref(), Some("token=a%2Cb%3Bc"));
        assert_eq!(found("<?a=1>; title=\"x>; rel=prev, <?b=2>\"; rel=next").as_deref(), Some("a=1"));
    }

    #[test]
    fn what_says_something_else_is_not_the_next_page() {
        for value in ["", "<", "<x", "<x>; rel=\"prev\"", "x", "<?a=1>; rel=nextpage", ",,,", "; rel=next2"] {
            assert_eq!(found(value), None, "{value}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_value_makes_it_panic(target in "[ -~]*", rest in "[ -~]*") {
            for value in [rest.clone(), format!("<{target}>; rel=\"next\""), format!("<{target}>{rest}")] {
                let mut headers = HeaderMap::new();
                if let Ok(value) = value.parse() {
                    headers.insert(header::LINK, value);
                }
                let _ = page_of(&headers);
            }
        }
    }
}
