//! end-8: `GET /v2/<name>/tags/list`.

use http::{StatusCode, header};
use hubcap_cache::{Answer, Cache, NextPage};
use hubcap_oci::query::{parse_query, with_query};
use hubcap_oci::{Endpoint, Page, Repository};

use crate::api::error::failed;
use crate::api::held::held;
use crate::api::{Asked, Reply};

#[derive(serde::Serialize)]
struct List<'a> {
    name: &'a str,
    tags: Vec<String>,
}

pub(crate) async fn answer(cache: &Cache, asked: &Asked<'_>, name: &Repository, page: &Page) -> Reply {
    let mut query = parse_query(asked.parts.uri.query()).into_iter();
    let trail = query.find(|(key, _)| key == Page::TRAIL).and_then(|(_, text)| text.parse().ok());
    let Answer { value, outcome } = match cache.tags(&asked.access, page, &trail.unwrap_or_default()).await {
        Ok(answer) => answer,
        Err(failure) => return failed(&failure, asked),
    };
    let list = List { name: name.as_str(), tags: value.tags };
    let text = serde_json::to_string(&list).unwrap_or_default();
    let text = held(text, value.memory);
    let reply = Reply::new(StatusCode::OK, outcome).body("application/json", text.len() as u64, text);
    match value.next {
        Some(next) => reply.with(header::LINK, link(name.clone(), next, asked.selector.namespace())),
        None => reply,
    }
}

/// The upstream's link leads to the upstream; ours leads back here, to the same registry.
fn link(repository: Repository, NextPage { page, trail }: NextPage, namespace: Option<&str>) -> String {
    let place = page.place().map(|place| (Page::PLACE, place.to_owned()));
    let path = Endpoint::Tags { repository, page: page.clone().without_place() }.path();
    let namespace = namespace.map(|namespace| (Page::NAMESPACE, namespace.to_owned()));
    let trail = (!trail.is_empty()).then(|| (Page::TRAIL, trail.to_string()));
    format!("<{}>; rel=\"next\"", with_query(path, place.into_iter().chain(namespace).chain(trail)))
}

#[cfg(test)]
mod tests {
    use hubcap_cache::Trail;

    use super::*;

    #[test]
    fn the_next_page_is_here_at_the_same_registry_and_by_the_same_mark() {
        let link = |query: &str, trail: Trail, namespace: Option<&str>| {
            let page = Page::of_query(Some(query));
            link("a/b".parse().expect("a name"), NextPage { page, trail }, namespace)
        };
        assert_eq!(
            link("next_page=x%3D&n=5", Trail::default(), Some("quay.io")),
            "</v2/a/b/tags/list?next_page=x%3D&n=5&ns=quay.io>; rel=\"next\""
        );
        let trail: Trail = "1.0.ff.a".parse().expect("a trail");
        assert_eq!(
            link("next_page=x", trail, None),
            "</v2/a/b/tags/list?next_page=x&hubcap-trail=1.0.ff.a>; rel=\"next\""
        );
        assert_eq!(
            link("hubcap-place=list/2&n=5", Trail::default(), None),
            "</v2/a/b/tags/list?n=5&hubcap-place=list/2>; rel=\"next\""
        );
    }
}
