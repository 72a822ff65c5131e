//! Pages, and how registries name the next one (RFC 8288). No client is ever led in a circle.

use http::Method;
use hubcap_oci::media_type;
use serde_json::{Value, json};

use crate::quirks::{Situation, client};
use crate::support::hubcap::Place;
use crate::support::image;
use crate::support::origin::{Act, Origin, Quirk, Reply, quirk};

pub(crate) const SITUATIONS: &[Situation] = &[
    Situation::tags("Quay", "pages go on by `next_page`, a mark of its own", |origin| {
        paged(origin, "next_page", |next| vec![format!("<{next}>; rel=\"next\"")]);
    }),
    Situation::tags("Amazon ECR", "pages go on by a token with the characters of base64", |origin| {
        paged(origin, "NextToken", |next| vec![format!("<{next}>; rel=\"next\"")]);
    }),
    Situation::tags("Quay, years ago", "the link's URL is not in angle brackets", |origin| {
        paged(origin, "next_page", |next| vec![format!("{next}; rel=\"next\"")]);
    }),
    Situation::tags("home-made registries", "the link does not say what it is", |origin| {
        paged(origin, "last-token", |next| vec![format!("<{next}>")]);
    }),
    Situation::tags(
        "registries behind proxies",
        "the link leads to another host, by another scheme",
        |origin| {
            paged(origin, "cursor", |next| {
                vec![format!("<https://internal.example:8443{next}>; rel=\"next\"")]
            });
        },
    ),
    Situation::tags("registries behind proxies", "the link is relative", |origin| {
        paged(origin, "cursor", |next| {
            let (_, query) = next.split_once('?').expect("a query");
            vec![format!("<?{query}>; rel=\"next\"")]
        });
    }),
    Situation::tags("several", "`rel` is written otherwise: without quotes, in capitals", |origin| {
        paged(origin, "cursor", |next| vec![format!("<{next}> ;REL = Next")]);
    }),
    Situation::tags("several", "`rel` has several types", |origin| {
        paged(origin, "cursor", |next| vec![format!("<{next}>; title=\"a, b; c\"; rel=\"next last\"")]);
    }),
    Situation::tags("several", "the link's URL has commas and semicolons", |origin| {
        paged(origin, "a,b;cursor", |next| vec![format!("<{next}>; rel=\"next\"")]);
    }),
    Situation::tags("Pulp, GitLab", "several links in one header, the next page first", |origin| {
        paged(origin, "cursor", |next| {
            vec![format!("<{next}>; rel=\"next\", </v2/org/app/tags/list>; rel=\"first\"")]
        });
    }),
    Situation::tags("Pulp, GitLab", "several links in one header, the next page last", |origin| {
        paged(origin, "cursor", |next| {
            vec![format!("</v2/org/app/tags/list>; rel=\"first\", <{next}>; rel=\"next\"")]
        });
    })
    .endless(),
    Situation::tags("Pulp, GitLab", "several headers with links, the next page last", |origin| {
        paged(origin, "cursor", |next| {
            vec!["</v2/org/app/tags/list>; rel=\"first\"".into(), format!("<{next}>; rel=\"next\"")]
        });
    })
    .endless(),
    Situation::tags("registries with filters", "pages without a tag, and a next one", |origin| {
        origin.quirk(
            "at%2B2%3D",
            quirk::answer(|asked| {
                let next = asked.target.replace("at%2B2%3D", "at%2B2%3D&empty=1");
                (!asked.target.contains("empty")).then(|| list(&[], &next))
            }),
        );
        paged(origin, "cursor", |next| vec![format!("<{next}>; rel=\"next\"")]);
    }),
    Situation::tags("several", "`tags` is null", |origin| {
        origin.quirk(
            "tags/list",
            quirk::answer(|_| {
                let text = json!({"name": "org/app", "tags": null}).to_string();
                Some(Reply::new(text).with("content-type", "application/json"))
            }),
        );
    }),
    Situation::tags("home-made registries", "pages go on by a mark in the path", |origin| {
        tags(origin);
        origin.quirk(
            "tags/list",
            quirk::answer(|asked| {
                Some(match asked.path() {
                    "/v2/org/app/tags/list" => list(&["1", "2"], "/v2/org/app/tags/list/after/2;a=b%3D"),
                    "/v2/org/app/tags/list/after/2;a=b%3D" => list(&["3", "4"], "4?n=2"),
                    "/v2/org/app/tags/list/after/4" => list(&["5"], "").without("link"),
                    _ => Reply::status(404),
                })
            }),
        );
    }),
    Situation::tags("load balancers", "a list of tags breaks off in the middle, once", |origin| {
        tags(origin);
        origin.quirk("tags/list", quirk::cut_once(10));
    }),
    Situation::tags("any", "a lone surrogate in a list of tags, and keys in capitals", |origin| {
        tags(origin);
        origin.quirk(
            "tags/list",
            quirk::answer(|_| Some(Reply::new(r#"{"Name":"\ud800","Tags":["1","2","3","4","5"]}"#))),
        );
    }),
    Situation::tags("registries that cap `n`", "the next page has another `n`", |origin| {
        tags(origin);
        origin.quirk("tags/list", quirk::pages_of(2));
    }),
    Situation::tags("registries that do not read `last`", "a page names itself as the next", |origin| {
        tags(origin);
        origin
            .quirk("tags/list", quirk::answer(|asked| Some(list(&["1", "2", "3", "4", "5"], &asked.target))));
    })
    .endless(),
    Situation::tags(
        "registries that do not read `last`",
        "every page is the first, and has a next",
        |origin| {
            tags(origin);
            origin.quirk(
                "tags/list",
                quirk::answer(|_| Some(list(&["1", "2", "3", "4", "5"], "/v2/org/app/tags/list?last=5&n=5"))),
            );
        },
    )
    .endless(),
    Situation::tags(
        "registries that do not read `last`",
        "every page is the first, and names another next one each time",
        |origin| {
            tags(origin);
            origin.quirk(
                "tags/list",
                quirk::answer(|asked| {
                    let next = format!("/v2/org/app/tags/list?page={}", asked.target.len());
                    Some(list(
                        &["1", "2", "3", "4", "5"],
                        &format!("{next}{}", "x".repeat(asked.target.len())),
                    ))
                }),
            );
        },
    )
    .endless(),
    Situation::tags("registries that go wrong", "the pages lead in a circle", |origin| {
        tags(origin);
        origin.quirk(
            "tags/list",
            quirk::answer(|asked| {
                Some(match asked.query("p") {
                    None => list(&["1", "2"], "/v2/org/app/tags/list?p=2"),
                    Some("2") => list(&["3", "4"], "/v2/org/app/tags/list?p=3"),
                    Some(_) => list(&["5"], "/v2/org/app/tags/list?p=2"),
                })
            }),
        );
    })
    .endless(),
    Situation::tags("registries that go wrong", "empty pages without an end", |origin| {
        tags(origin);
        origin.quirk(
            "tags/list",
            quirk::answer(|asked| {
                let page: usize = asked.query("p").map_or(0, |page| page.parse().expect("a number"));
                let tags: &[&str] = if page == 0 { &["1", "2", "3", "4", "5"] } else { &[] };
                Some(list(tags, &format!("/v2/org/app/tags/list?p={}", page + 1)))
            }),
        );
    })
    .endless(),
];

/// Five tags.
fn tags(origin: &Origin) {
    for tag in ["1", "2", "3", "4", "5"] {
        image::put(origin, &format!("org/app:{tag}"), &[b"layer"]);
    }
}

/// Five tags in pages of two, which go on by a parameter that only this registry reads, and reads exactly. `link` is its
/// headers, made of the next page's path.
fn paged(origin: &Origin, parameter: &'static str, link: fn(&str) -> Vec<String>) {
    tags(origin);
    origin.quirk(
        "tags/list",
        Quirk::new(move |asked| {
            // hubcap escapes what clients cut links at, which means the same.
            let target = asked.target.replace("%2C", ",").replace("%3B", ";");
            let (path, query) = target.split_once('?').unwrap_or((&target, ""));
            let mark = query.split('&').find_map(|pair| pair.strip_prefix(parameter)?.strip_prefix('='));
            let begin = match mark {
                None if query.is_empty() => 0,
                Some(mark) => {
                    match mark.strip_prefix("at%2B").and_then(|mark| mark.strip_suffix("%3D")?.parse().ok()) {
                        Some(begin) => begin,
                        None => return Act::status(400),
                    }
                }
                None => return Act::status(400),
            };
            let next = format!("{path}?{parameter}=at%2B{}%3D", begin + 2);
            asked.target = path.to_owned();
            Act::change(move |mut reply| {
                let list: Value = serde_json::from_slice(&reply.bytes).expect("a list");
                let tags = list["tags"].as_array().expect("tags");
                let end = tags.len().min(begin + 2);
                let page = json!({"name": "org/app", "tags": tags[begin..end]});
                reply.bytes = page.to_string().into();
                if end == tags.len() {
                    return reply;
                }
                link(&next).iter().fold(reply, |reply, value| reply.and("link", value))
            })
        }),
    );
}

/// A page that names this one as the next.
fn list(tags: &[&str], next: &str) -> Reply {
    Reply::new(json!({"name": "org/app", "tags": tags}).to_string())
        .with("content-type", "application/json")
        .with("link", &format!("<{next}>; rel=\"next\""))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_asks_reaches_the_registry_as_it_was_written() {
    let (origin, place) = (Origin::start().await, Place::new());
    tags(&origin);
    let hubcap = place.start(&origin.url(), &[]);
    for query in ["n=1000", "n=2&last=2", "orderby=timedesc&n=3", "next_page=a%2Bb+c%3D", "last=%C3%A4"] {
        origin.forget();
        hubcap.get(&format!("/v2/org/app/tags/list?{query}&ns=docker.io")).await;
        let asked: Vec<String> = origin.log().into_iter().map(|asked| asked.target).collect();
        assert_eq!(asked, [format!("/v2/org/app/tags/list?{query}")]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_wants_pages_of_its_own_gets_all_of_them() {
    let (origin, place) = (Origin::start().await, Place::new());
    tags(&origin);
    let hubcap = place.start(&origin.url(), &[]);
    for n in [1, 2, 3, 1000] {
        let found = client::tags_from(&hubcap, &format!("/v2/org/app/tags/list?n={n}")).await;
        assert_eq!(found.expect("a list"), ["1", "2", "3", "4", "5"], "{n}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_registrys_own_mark_nothing_stored_stands_in() {
    let (origin, place) = (Origin::start().await, Place::new());
    tags(&origin);
    let hubcap = place.start(&origin.url(), &[]);
    assert_eq!(hubcap.get("/v2/org/app/manifests/1").await.status(), 200);
    origin.quirk("tags/list", quirk::status(500));
    assert_eq!(hubcap.get("/v2/org/app/tags/list?n=5").await.status(), 200);
    assert_eq!(hubcap.get("/v2/org/app/tags/list?next_page=x").await.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_pages_of_referrers_are_one_list_and_a_circle_of_them_ends() {
    let digest = |number: usize| format!("sha256:{number:064x}");
    let one = move |number: usize| json!({"mediaType": media_type::OCI_MANIFEST, "digest": digest(number), "size": 2, "artifactType": "a/b"});
    let page = move |number: usize, next: &str| {
        let index =
            json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [one(number)]});
        Reply::new(index.to_string())
            .with("content-type", media_type::OCI_INDEX)
            .with("link", &format!("<https://internal.example{next}>; rel=next"))
    };
    for leads_back in [false, true] {
        let (origin, place) = (Origin::start().await, Place::new());
        let image = image::put(&origin, "org/app:1", &[b"layer"]);
        let hubcap = place.start(&origin.url(), &[]);
        origin.quirk(
            "/referrers/",
            quirk::answer(move |asked| {
                let number: usize = asked.query("token").map_or(0, |token| token.parse().expect("a number"));
                Some(match number {
                    29 if leads_back => page(29, &format!("{}?token=3", asked.path())),
                    29 => page(29, "").without("link"),
                    number => page(number, &format!("{}?token={}", asked.path(), number + 1)),
                })
            }),
        );
        let answer = hubcap.get(&format!("/v2/org/app/referrers/{}", image.digest)).await;
        let index: Value = serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON");
        assert_eq!(index["manifests"].as_array().map(Vec::len), Some(30), "{leads_back}");
        assert_eq!(origin.count(&Method::GET, "/referrers/"), 30);
    }
}
