//! end-8: `GET /v2/<name>/tags/list`.

use http::{StatusCode, header};
use hubcap_cache::{Answer, Cache};
use hubcap_oci::endpoint::with_query;
use hubcap_oci::{Endpoint, Page, Repository};

use crate::api::error::{Noun, failed};
use crate::api::{Asked, Reply};

#[derive(serde::Serialize)]
struct List<'a> {
    name: &'a str,
    tags: Vec<String>,
}

pub(crate) async fn answer(cache: &Cache, asked: &Asked<'_>, name: &Repository, page: &Page) -> Reply {
    let Answer { value, outcome } = match cache.tags(&asked.access, page).await {
        Ok(answer) => answer,
        Err(failure) => return failed(&failure, Noun::Name, asked),
    };
    let list = List { name: name.as_str(), tags: value.tags };
    let text = serde_json::to_string(&list).unwrap_or_default();
    let reply = Reply::new(StatusCode::OK, outcome).json("application/json", text);
    let Some(next) = value.next else { return reply };
    // The upstream's link leads to the upstream; ours leads back here, to the same registry.
    let path = Endpoint::Tags { repository: name.clone(), page: next }.path();
    let path = with_query(path, asked.selector.namespace().map(|namespace| ("ns", namespace.to_owned())));
    reply.with(header::LINK, format!("<{path}>; rel=\"next\""))
}
