//! Token services, and what registries say of tokens that they do not take.

use serde_json::json;

use crate::quirks::Situation;
use crate::support::image;
use crate::support::origin::{Origin, Quirk, Reply, Role, quirk};

pub(crate) const SITUATIONS: &[Situation] = &[
    Situation::pull("Harbor", "a token that is not taken is refused with Basic alone", |origin| {
        refuses_the_first(origin, &["Basic realm=\"harbor\""]);
    }),
    Situation::pull("Harbor", "the same, with a login", |origin| {
        origin.like_docker_hub(Some("me:hunter2"));
        image::real(origin);
        origin.quirk("/v2/org", quirk::refuses_tokens(1, vec!["Basic realm=\"harbor\"".into()]));
    })
    .with_login("me:hunter2"),
    Situation::pull(
        "Docker Hardened Images",
        "a token that is not taken is refused without a challenge",
        |origin| {
            refuses_the_first(origin, &[]);
        },
    ),
    Situation::pull(
        "Docker Hub",
        "a token that is not taken is refused with `error=\"invalid_token\"`",
        |origin| {
            let bearer =
                format!("Bearer realm=\"{}\",service=\"s\",error=\"invalid_token\"", origin.token_url());
            refuses_the_first(origin, &[&bearer]);
        },
    ),
    Situation::pull(
        "Amazon ECR Public",
        "a scope that is always `aws`, and a HEAD of a blob is refused",
        |origin| {
            challenged(origin, "Bearer realm=\"REALM/\",service=\"public.ecr.aws\",scope=\"aws\"");
            origin.quirk(
                "/token",
                quirk::answer(|asked| {
                    (!asked.target.contains("/token/?") || !asked.target.contains("scope=aws"))
                        .then(|| Reply::status(400))
                }),
            );
            origin.quirk("/blobs/", quirk::no_head(401));
        },
    ),
    Situation::pull("GitLab", "a service of its own, and no scope", |origin| {
        challenged(origin, "Bearer realm=\"REALM\",service=\"dependency_proxy\"");
        origin.quirk("/token", wants_in_query("service=dependency_proxy"));
    }),
    Situation::pull("Nexus", "the service is a URL with parameters", |origin| {
        challenged(origin, "Bearer realm=\"REALM\",service=\"https://nexus.example/v2/token?a=b&c=d\"");
        origin.quirk("/token", wants_in_query("a%3Db%26c%3Dd"));
    }),
    Situation::pull("small servers", "a challenge whose values are not quoted", |origin| {
        challenged(origin, "Bearer realm=REALM,service=s,scope=repository:org/app:pull");
    }),
    Situation::pull("small servers", "an empty service, and a comma at the end", |origin| {
        challenged(origin, "Bearer realm=\"REALM\", service=\"\", ,");
    }),
    Situation::pull("small servers", "a realm with commas and a fragment", |origin| {
        challenged(origin, "Bearer realm=\"REALM?a=1,b=2#part\",service=\"s\"");
        origin.quirk("/token", wants_in_query("a=1,b=2"));
    }),
    Situation::pull("proxies", "an empty challenge before the right one", |origin| {
        origin.like_docker_hub(None);
        image::real(origin);
        let bearer = format!("Bearer realm=\"{}\",service=\"s\"", origin.token_url());
        origin.quirk("/v2/", quirk::challenges(vec![String::new(), bearer]));
    }),
    Situation::pull("regclient's third party", "Basic with a realm that is not quoted, `/`", |origin| {
        image::real(origin);
        origin.quirk(
            "/v2/",
            quirk::wants(Role::Registry, "Basic bWU6aHVudGVyMg==", vec!["Basic realm=/".into()]),
        );
    })
    .with_login("me:hunter2"),
    Situation::pull("home-made token services", "the answer's keys are in capitals", |origin| {
        tokens(origin, Reply::new(r#"{"Token":"token-1","Expires_In":300}"#));
    }),
    Situation::pull("home-made token services", "a lone surrogate beside the token", |origin| {
        tokens(origin, Reply::new(r#"{"token":"token-1","issued_to":"\ud800"}"#));
    }),
    Situation::pull("home-made token services", "a token with white space around it", |origin| {
        tokens(origin, Reply::new("{\"token\":\"token-1\\n\"}\n"));
    }),
    Situation::pull("home-made token services", "a token comes with 201", |origin| {
        tokens(origin, Reply::new(r#"{"token":"token-1"}"#).but(201));
    }),
    Situation::pull("home-made token services", "a token is text/html", |origin| {
        tokens(origin, Reply::new(r#"{"token":"token-1"}"#).with("content-type", "text/html"));
    }),
    Situation::pull("home-made token services", "a token's length is not told", |origin| {
        origin.like_docker_hub(None);
        image::real(origin);
        origin.quirk("/token", quirk::no_length());
    }),
    Situation::pull("proxies that compress", "a token comes packed by gzip", |origin| {
        origin.like_docker_hub(None);
        image::real(origin);
        origin.quirk("/token", quirk::packed("gzip"));
    }),
    Situation::pull("single sign-on", "a token of 12 KiB", |origin| {
        origin.like_docker_hub(None);
        image::real(origin);
        origin.quirk(
            "/token",
            quirk::answer(|_| {
                Some(Reply::new(json!({"token": format!("token-1{}", "x".repeat(12 << 10))}).to_string()))
            }),
        );
        origin.quirk("/v2/", shortened());
    }),
];

/// Docker Hub with one image, which refuses the first token that it is shown, by these challenges.
fn refuses_the_first(origin: &Origin, challenges: &[&str]) {
    origin.like_docker_hub(None);
    image::real(origin);
    let challenges = challenges.iter().map(|one| (*one).to_owned()).collect();
    origin.quirk("/v2/org", quirk::refuses_tokens(1, challenges));
}

/// Docker Hub with one image, which asks for tokens by another challenge; `REALM` in it is the token service.
fn challenged(origin: &Origin, challenge: &str) {
    origin.like_docker_hub(None);
    image::real(origin);
    origin.quirk("/v2/", quirk::challenges(vec![challenge.replace("REALM", &origin.token_url())]));
}

/// Docker Hub with one image, whose token service answers so.
fn tokens(origin: &Origin, reply: Reply) {
    origin.like_docker_hub(None);
    image::real(origin);
    let Reply { status, headers, bytes, .. } = reply;
    origin.quirk(
        "/token",
        quirk::answer(move |_| {
            let mut reply = Reply::new(bytes.clone());
            (reply.status, reply.headers) = (status, headers.clone());
            Some(reply)
        }),
    );
}

/// The token service refuses what does not have this in its query.
fn wants_in_query(part: &'static str) -> Quirk {
    quirk::answer(move |asked| (!asked.target.contains(part)).then(|| Reply::status(400)))
}

/// A long token is the short one that it begins with.
fn shortened() -> Quirk {
    Quirk::new(|asked| {
        let shown = asked.headers.get("authorization").map(|value| value.to_str().expect("text").to_owned());
        if let Some(shown) = shown {
            let short = shown.trim_end_matches('x').parse().expect("a value");
            asked.headers.insert("authorization", short);
        }
        None
    })
}
