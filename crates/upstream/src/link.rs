//! `Link: </v2/...?n=2&last=b>; rel="next"` (RFC 8288), as registries page with it.

use http::{HeaderMap, header};
use hubcap_oci::Page;
use url::Url;

/// The URL of the next page, resolved against the one that was asked.
pub(crate) fn next(headers: &HeaderMap, asked: &Url) -> Option<Url> {
    headers.get_all(header::LINK).iter().filter_map(|value| value.to_str().ok()).find_map(|value| {
        let (target, parameters) = value.trim().strip_prefix('<')?.split_once('>')?;
        let is_next =
            parameters.split(';').any(|parameter| matches!(parameter.trim(), "rel=\"next\"" | "rel=next"));
        is_next.then(|| asked.join(target).ok())?
    })
}

/// The page that a URL asks for.
pub(crate) fn page(url: &Url) -> Page {
    let find = |key: &str| url.query_pairs().find(|(k, _)| k == key).map(|(_, value)| value.into_owned());
    Page { n: find("n").and_then(|n| n.parse().ok()), last: find("last") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found_and_rubbish_is_none() {
        let asked: Url = "https://r.example/v2/a/tags/list?n=2".parse().expect("a URL");
        let find = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::LINK, value.parse().expect("a value"));
            next(&headers, &asked).map(|url| (url.to_string(), page(&url)))
        };
        let expected = "https://r.example/v2/a/tags/list?n=2&last=b".to_owned();
        let second = Page { n: Some(2), last: Some("b".into()) };
        for value in ["</v2/a/tags/list?n=2&last=b>; rel=\"next\"", "<?n=2&last=b>;rel=next"] {
            assert_eq!(find(value), Some((expected.clone(), second.clone())), "{value}");
        }
        for value in ["", "<", "<x", "<x>", "<x>; rel=\"prev\"", "x; rel=\"next\""] {
            assert_eq!(find(value), None, "{value}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_value_makes_it_panic(target in "[ -~]*", rest in "[ -~]*") {
            let asked: Url = "https://r.example/v2/a/tags/list".parse().expect("a URL");
            for value in [rest.clone(), format!("<{target}>; rel=\"next\""), format!("<{target}>{rest}")] {
                let mut headers = HeaderMap::new();
                if let Ok(value) = value.parse() {
                    headers.insert(header::LINK, value);
                }
                if let Some(url) = next(&headers, &asked) {
                    let _ = page(&url);
                }
            }
        }
    }
}
