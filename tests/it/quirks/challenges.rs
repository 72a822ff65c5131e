//! Challenges: what a registry says that it wants, and how tokens and logins are had.

use serde_json::{Value, json};

use crate::quirks::{REGISTRY, REPOSITORY, Situation, TAG};
use crate::support::hubcap::{Place, blob, manifest};
use crate::support::image;
use crate::support::origin::{Act, Origin, Quirk, Reply, Role, quirk};

/// `me:hunter2`.
const BASIC: &str = "Basic bWU6aHVudGVyMg==";

/// Docker Hub with one image, which asks for tokens by other challenges; `REALM` in them is the token service.
fn challenged(origin: &Origin, challenges: &[&str]) {
    origin.like_docker_hub(None);
    image::real(origin);
    let challenges: Vec<String> =
        challenges.iter().map(|text| text.replace("REALM", &origin.token_url())).collect();
    origin.quirk("/v2/", quirk::challenges(challenges));
}

/// Docker Hub with one image, whose token service gives answers of its own.
fn tokens(origin: &Origin, answer: fn() -> Value) {
    origin.like_docker_hub(None);
    image::real(origin);
    origin.quirk("/token", quirk::change(move |reply| reply.has(answer().to_string())));
}

fn bearer(origin: &Origin) -> String {
    format!("Bearer realm=\"{}\",service=\"s\"", origin.token_url())
}

/// The token service gives a token only for these scopes, each a parameter of its own.
fn for_scopes(scopes: &'static [&'static str]) -> Quirk {
    quirk::answer(move |asked| {
        let escaped = |scope: &str| scope.replace(':', "%3A").replace('/', "%2F").replace(',', "%2C");
        let has = |scope: &&str| asked.target.contains(&format!("scope={}", escaped(scope)));
        (!scopes.iter().all(has)).then(|| Reply::status(403))
    })
}

pub(crate) const SITUATIONS: &[Situation] = &[
    Situation::pull("Windows gateways", "Negotiate and NTLM in headers before Bearer", |origin| {
        challenged(origin, &["Negotiate", "NTLM TlRMTVNTUAA=", "Bearer realm=\"REALM\",service=\"s\""]);
    }),
    Situation::pull("Kerberos gateways", "Negotiate and Bearer in one header", |origin| {
        challenged(origin, &["Negotiate YIIByw==, Bearer realm=\"REALM\",service=\"s\""]);
    }),
    Situation::pull("proxies", "a scheme in capitals", |origin| {
        challenged(origin, &["BEARER realm=\"REALM\",service=\"s\""]);
    }),
    Situation::pull("proxies", "parameters in capitals, with spaces", |origin| {
        challenged(origin, &["BEARER  Realm = \"REALM\" , SERVICE=s , Scope=\"repository:org/app:pull\""]);
    }),
    Situation::pull(
        "gateways",
        "a Digest challenge with odd bytes and an open quote before Bearer",
        |origin| {
            challenged(
                origin,
                &["Digest realm=\"\u{e4}\u{f6}, nonce=\"x, Bearer realm=\"REALM\",service=\"s\""],
            );
        },
    ),
    Situation::pull("Gitea", "Basic beside Bearer, without a login", |origin| {
        challenged(origin, &["Basic realm=\"Artifactory Realm\"", "Bearer realm=\"REALM\",service=\"s\""]);
    }),
    Situation::pull("Gitea", "Basic beside Bearer, with a login", |origin| {
        origin.like_docker_hub(Some("me:hunter2"));
        image::real(origin);
        origin.quirk("/v2/", quirk::challenges(vec![bearer(origin), "Basic realm=\"x\"".into()]));
    })
    .with_login("me:hunter2"),
    Situation::pull("Nexus", "Basic alone", |origin| {
        image::real(origin);
        origin.quirk(
            "/v2/",
            quirk::wants(Role::Registry, BASIC, vec!["BASIC realm=\"Sonatype Nexus\"".into()]),
        );
    })
    .with_login("me:hunter2"),
    Situation::pull(
        "Artifactory",
        "404 instead of 401 without a token; the challenge is at `/v2/`",
        |origin| {
            origin.quirk("/v2/org", quirk::hidden(404));
            challenged(origin, &["Bearer realm=\"REALM\",service=\"s\""]);
        },
    ),
    Situation::pull(
        "small servers",
        "403 instead of 401 without a token; the challenge is at `/v2/`",
        |origin| {
            origin.like_docker_hub(None);
            image::real(origin);
            origin.quirk("/v2/org", quirk::hidden(403));
        },
    ),
    Situation::pull("registries with roles", "a scope of the registry's own", |origin| {
        challenged(origin, &["Bearer realm=\"REALM\",service=\"s\",scope=\"repository:org/app:pull,push\""]);
        origin.quirk("/token", for_scopes(&["repository:org/app:pull,push"]));
    }),
    Situation::pull("registries with roles", "several scopes in one challenge", |origin| {
        let challenge =
            "Bearer realm=\"REALM\",service=\"s\",scope=\"repository:org/app:pull repository:org/base:pull\"";
        challenged(origin, &[challenge]);
        origin.quirk("/token", for_scopes(&["repository:org/app:pull", "repository:org/base:pull"]));
    }),
    Situation::pull("distribution", "`/v2/` has another scope than the image", |origin| {
        origin.quirk("/v2/org", quirk::silent());
        challenged(origin, &["Bearer realm=\"REALM\",service=\"s\",scope=\"registry:catalog:*\""]);
        origin.quirk("/token", for_scopes(&["repository:org/app:pull"]));
    }),
    Situation::pull("small servers", "a realm with parameters", |origin| {
        challenged(origin, &["Bearer realm=\"REALM?account=x&service=y\""]);
        let has = |part: &'static str| {
            quirk::answer(move |asked| (!asked.target.contains(part)).then(|| Reply::status(403)))
        };
        origin.quirk("/token", has("/token?account=x&service=y&"));
    }),
    Situation::pull("small servers", "a realm that is a path of the registry", |origin| {
        challenged(origin, &["Bearer realm=\"/token\",service=\"s\""]);
        origin.quirk(
            "/token",
            quirk::answer(|asked| {
                (asked.host == Role::Registry).then(|| Reply::new(json!({"token": "token-1"}).to_string()))
            }),
        );
    }),
    Situation::pull("small servers", "a challenge without a service", |origin| {
        challenged(origin, &["Bearer realm=\"REALM\""]);
        origin.quirk(
            "/token",
            quirk::answer(|asked| asked.target.contains("service").then(|| Reply::status(400))),
        );
    }),
    Situation::pull("small servers", "a token without `expires_in`", |origin| {
        tokens(origin, || json!({"token": "token-1"}));
    }),
    Situation::pull("small servers", "`expires_in` is 0", |origin| {
        tokens(origin, || json!({"token": "token-1", "expires_in": 0}));
    }),
    Situation::pull("small servers", "`expires_in` is negative", |origin| {
        tokens(origin, || json!({"token": "token-1", "expires_in": -1}));
    }),
    Situation::pull("Azure AD", "`expires_in` is a string", |origin| {
        tokens(origin, || json!({"token": "token-1", "expires_in": "300"}));
    }),
    Situation::pull("small servers", "`expires_in` is no whole number", |origin| {
        tokens(origin, || json!({"token": "token-1", "expires_in": 299.5}));
    }),
    Situation::pull("OAuth 2 servers", "an empty `token` beside `access_token`", |origin| {
        tokens(origin, || json!({"token": "", "access_token": "token-1", "expires_in": 300}));
    }),
    Situation::pull("ACR", "`token` is null beside `access_token`", |origin| {
        tokens(origin, || json!({"token": null, "access_token": "token-1"}));
    }),
    Situation::pull("clocks", "`issued_at` is long ago", |origin| {
        tokens(
            origin,
            || json!({"token": "token-1", "expires_in": 300, "issued_at": "2001-01-01T00:00:00Z"}),
        );
    }),
    Situation::pull("Windows servers", "a token's JSON begins with a byte order mark", |origin| {
        origin.like_docker_hub(None);
        image::real(origin);
        origin.quirk("/token", quirk::change(|reply| reply.has("\u{feff}{\"token\":\"token-1\"}")));
    }),
    Situation::pull("OAuth 2 servers", "the token service takes POST only", |origin| {
        origin.like_docker_hub(None);
        image::real(origin);
        origin.quirk("/token", posts_only(405, &["service=origin"]));
    }),
    Situation::pull("OAuth 2 servers", "the token service takes logins by POST only", |origin| {
        origin.like_docker_hub(Some("me:hunter2"));
        image::real(origin);
        origin.quirk("/token", posts_only(404, &["username=me", "password=hunter2"]));
    })
    .with_login("me:hunter2"),
    Situation::pull(
        "every registry",
        "a public image, and a login that the token service refuses",
        |origin| {
            origin.like_docker_hub(None);
            image::real(origin);
            origin.quirk(
                "/token",
                quirk::answer(|asked| asked.authorization.is_some().then(|| Reply::status(401))),
            );
        },
    )
    .with_login("me:wrong"),
    Situation::pull("GHCR", "a public image, and a login that may not have it", |origin| {
        origin.like_docker_hub(None);
        image::real(origin);
        origin.quirk(
            "/token",
            quirk::answer(|asked| asked.authorization.is_some().then(|| Reply::status(403))),
        );
    })
    .with_login("me:wrong"),
    Situation::pull("Nexus", "a public image, and a login that the registry refuses", |origin| {
        image::real(origin);
        origin.quirk(
            "/v2/",
            quirk::answer(|asked| {
                let refused = asked.authorization.is_some() || asked.path() == "/v2/";
                (refused && asked.host == Role::Registry)
                    .then(|| Reply::status(401).with("www-authenticate", "Basic realm=\"x\""))
            }),
        );
    })
    .with_login("me:wrong"),
    Situation::pull("clusters", "a token is not known everywhere at once", |origin| {
        origin.like_docker_hub(None);
        image::real(origin);
        origin.quirk("/v2/org", quirk::refuses_tokens(1, vec![bearer(origin)]));
    }),
];

/// The token service answers a GET with this status, and takes a form that has these in it.
fn posts_only(status: u16, form: &'static [&'static str]) -> Quirk {
    Quirk::new(move |asked| match asked.method.as_str() {
        "POST"
            if form.iter().all(|part| asked.body.contains(part))
                && asked.body.contains("scope=repository%3Aorg%2Fapp%3Apull") =>
        {
            Some(Act::Answer(Reply::new(json!({"access_token": "token-1"}).to_string())))
        }
        "POST" => Act::status(401),
        _ => Act::status(status),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_refused_is_told_once_and_not_tried_again_and_again() {
    let (origin, place) = (Origin::start().await, Place::new());
    origin.like_docker_hub(Some("me:right"));
    origin.quirk(
        "/token",
        quirk::answer(|asked| {
            let answer = || Reply::new(json!({"token": "token-1"}).to_string());
            (asked.authorization.is_none() && asked.method == reqwest::Method::GET).then(answer)
        }),
    );
    for name in ["org/a:1", "org/b:1", "org/c:1"] {
        image::put(&origin, name, &[b"layer"]);
    }
    let hubcap = Situation::pull("", "", |_| {}).with_login("me:hunter2").hubcap(&place, &origin);
    for name in ["org/a", "org/b", "org/c"] {
        assert_eq!(hubcap.get(&manifest(&format!("{REGISTRY}/{name}"), "1")).await.status(), 200);
    }
    let log = hubcap.log();
    assert_eq!(log.matches("login is refused").count(), 1, "{log}");
    assert!(!log.contains("hunter2") && !log.contains("aHVudGVyMg"), "{log}");
    let logins = origin.log().into_iter().filter(|one| one.authorization.as_deref() == Some(BASIC));
    assert_eq!(logins.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_refuses_every_token_is_not_asked_for_ever() {
    let (origin, place) = (Origin::start().await, Place::new());
    origin.like_docker_hub(None);
    image::put(&origin, "org/app:1", &[b"layer"]);
    origin.quirk("/v2/org", quirk::refuses_tokens(usize::MAX, vec![bearer(&origin)]));
    let hubcap = Situation::pull("", "", |_| {}).hubcap(&place, &origin);
    let answer = hubcap.get(&manifest(&format!("{REGISTRY}/{REPOSITORY}"), TAG)).await;
    assert_eq!(answer.status(), 403);
    let asked = origin.log().len();
    assert!(asked <= 12, "asked {asked} times");
    // One that says why is believed.
    origin.heal();
    let challenge = format!("Bearer realm=\"{}\",error=\"insufficient_scope\"", origin.token_url());
    origin.quirk("/v2/org", quirk::wants(Role::Registry, "Bearer none", vec![challenge]));
    origin.forget();
    let answer = hubcap.get(&manifest(&format!("{REGISTRY}/org/other"), TAG)).await;
    assert_eq!(answer.status(), 403);
    let at_registry = origin.log().into_iter().filter(|one| one.host == Role::Registry).count();
    assert_eq!(at_registry, 1, "the token was good, and not for this");
}

#[tokio::test(flavor = "multi_thread")]
async fn v2_is_asked_once_what_a_registry_wants_that_says_nothing() {
    let (origin, place) = (Origin::start().await, Place::new());
    let image = image::put(&origin, "org/app:1", &[b"layer"]);
    let hubcap = Situation::pull("", "", |_| {}).hubcap(&place, &origin);
    for tag in ["2", "3", "4"] {
        assert_eq!(hubcap.get(&manifest(&format!("{REGISTRY}/{REPOSITORY}"), tag)).await.status(), 404);
    }
    assert_eq!(hubcap.get(&blob(&format!("{REGISTRY}/{REPOSITORY}"), &image.blobs[1])).await.status(), 200);
    assert_eq!(origin.log().iter().filter(|one| one.target == "/v2/").count(), 1);
}
