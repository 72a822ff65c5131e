//! Redirects, and registries that have moved.

use reqwest::Method;

use crate::quirks::{REGISTRY, REPOSITORY, Situation, TAG};
use crate::support::hubcap::{Place, blob, manifest};
use crate::support::image;
use crate::support::origin::{Origin, Quirk, Role, quirk};

pub(crate) const SITUATIONS: &[Situation] = &[
    Situation::pull("k8s.gcr.io", "the whole registry has moved to another host (301)", |origin| {
        image::real(origin);
        origin.quirk("/v2/", quirk::moved(301, Role::Registry, origin.region()));
    }),
    Situation::pull(
        "companies' registries",
        "the whole registry has moved to another host (308)",
        |origin| {
            image::real(origin);
            origin.quirk("/v2/", quirk::moved(308, Role::Registry, origin.region()));
        },
    ),
    Situation::pull(
        "registry.k8s.io",
        "the new host of a moved registry wants a token of its own",
        |origin| {
            origin.like_docker_hub(None);
            image::real(origin);
            origin.quirk("/v2/", quirk::moved(307, Role::Registry, origin.region()));
            origin.quirk("/v2/", wants_token_at_cdn(origin));
        },
    ),
    Situation::pull("mirrors", "blobs are redirected to a host that wants a token", |origin| {
        let digest = image::real(origin).blobs.remove(1);
        origin.quirk(&digest, quirk::moved(302, Role::Registry, origin.region()));
        origin.quirk(&digest, wants_token_at_cdn(origin));
    }),
    Situation::pull(
        "load balancers",
        "manifests and blobs come after a chain of redirects over three hosts",
        |origin| {
            image::real(origin);
            let (registry, cdn) = (origin.url(), origin.region());
            let chain = [
                ("/v2/", Role::Registry, format!("{cdn}/1")),
                ("/1/v2/", Role::Cdn, format!("{registry}/2")),
                ("/2/1/v2/", Role::Registry, format!("{}/3", origin.token_url())),
                ("/token/3/2/1/v2/", Role::Token, format!("{cdn}/4")),
            ];
            for ((part, role, to), status) in chain.into_iter().zip([301, 302, 307, 308]) {
                origin.quirk(part, quirk::starting(part, quirk::moved(status, role, to)));
            }
            origin.quirk("/4/token/3/2/1", quirk::renamed("/4/token/3/2/1", ""));
        },
    ),
    Situation::pull("Artifact Registry", "a Location that is a path, with dots", |origin| {
        let digest = image::real(origin).blobs.remove(1);
        let (part, to) = (format!("/v2/org/app/blobs/{digest}"), format!("../../../elsewhere/{digest}"));
        origin.quirk(&part, quirk::redirect(302, to));
        origin.quirk("/v2/elsewhere/", quirk::renamed("/v2/elsewhere/", "/v2/org/app/blobs/"));
    }),
    Situation::pull("nginx", "a Location without a scheme (`//host/path`)", |origin| {
        let digest = image::real(origin).blobs.remove(1);
        let to = format!("{}/v2/org/app/blobs/{digest}#part", origin.region().trim_start_matches("http:"));
        origin.quirk(&format!("/v2/org/app/blobs/{digest}"), quirk::redirect(303, to));
    }),
    Situation::pull("object stores", "a Location with characters that are not ASCII", |origin| {
        let digest = image::real(origin).blobs.remove(1);
        let to = format!("{}/bl\u{f6}bs/\u{5c42}/{digest}?name=\u{5c42}", origin.region());
        origin.quirk(&format!("/v2/org/app/blobs/{digest}"), quirk::redirect(307, to));
        let from = "/bl%C3%B6bs/%E5%B1%82/";
        origin.quirk(from, quirk::renamed(from, "/v2/org/app/blobs/"));
    }),
    Situation::pull("object stores", "a Location with spaces and quotes", |origin| {
        let digest = image::real(origin).blobs.remove(1);
        let to = format!("{}/my blobs/\"a\"/{digest}", origin.region());
        origin.quirk(&format!("/v2/org/app/blobs/{digest}"), quirk::redirect(307, to));
        let from = "/my%20blobs/%22a%22/";
        origin.quirk(from, quirk::renamed(from, "/v2/org/app/blobs/"));
    }),
    Situation::pull("companies' registries", "the token service has moved within its host (301)", |origin| {
        origin.like_docker_hub(None);
        image::real(origin);
        let to = origin.token_url().replace("/token", "/jwt/auth");
        origin.quirk("/token", quirk::starting("/token", quirk::moved(301, Role::Token, to)));
    }),
    Situation::pull(
        "companies' registries",
        "the token service has moved to another host of the same owner (308)",
        |origin| {
            origin.like_docker_hub(Some("me:hunter2"));
            image::real(origin);
            let to = origin.token_url().replace("127.0.0.1", "localhost").replace("/token", "/v2/auth");
            origin.quirk("/token", quirk::starting("/token", quirk::moved(308, Role::Token, to)));
        },
    )
    .with_login("me:hunter2"),
    Situation::pull("Amazon ECR", "a signed URL runs out in the middle of a layer", |origin| {
        origin.like_docker_hub(None);
        let digest = image::real(origin).blobs.remove(1);
        origin.quirk(&digest, quirk::cut_once(300_000));
        origin.quirk(&format!("{digest}?X-Amz"), quirk::status_once(403));
    }),
];

/// The other host wants a token, which comes from the token service.
fn wants_token_at_cdn(origin: &Origin) -> Quirk {
    let challenge = format!("Bearer realm=\"{}\",service=\"cdn\"", origin.token_url());
    quirk::wants(Role::Cdn, "Bearer token-", vec![challenge])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_stays_with_whom_it_belongs_to_and_a_token_with_who_asked_for_it() {
    let (origin, place) = (Origin::start().await, Place::new());
    origin.like_docker_hub(Some("me:hunter2"));
    let image = image::real(&origin);
    origin.quirk(&image.blobs[1], quirk::moved(302, Role::Registry, origin.region()));
    origin.quirk(&image.blobs[1], wants_token_at_cdn(&origin));
    let situation = Situation::pull("", "", |_| {}).with_login("me:hunter2");
    let hubcap = situation.hubcap(&place, &origin);
    let name = format!("{REGISTRY}/{REPOSITORY}");
    for path in [manifest(&name, TAG), blob(&name, &image.blobs[1])] {
        let answer = hubcap.get(&path).await;
        assert_eq!(answer.status(), 200);
        answer.bytes().await.expect("the whole");
    }
    let log = origin.log();
    let registrys: Vec<_> = log.iter().filter(|one| one.host == Role::Registry).collect();
    let cdns: Vec<_> = log.iter().filter(|one| one.host == Role::Cdn).collect();
    for one in &cdns {
        let shown = one.authorization.as_ref();
        assert!(
            shown.is_none_or(|shown| registrys
                .iter()
                .all(|other| other.authorization.as_ref() != Some(shown)))
        );
    }
    assert!(cdns.iter().any(|one| one.authorization.is_some()));
    assert!(!hubcap.log().contains("token-"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_registry_that_says_no_is_an_answer_of_the_registry() {
    let (origin, place) = (Origin::start().await, Place::new());
    origin.quirk("/v2/", quirk::moved(301, Role::Registry, origin.region()));
    let hubcap = Situation::pull("", "", |_| {}).hubcap(&place, &origin);
    let name = format!("{REGISTRY}/{REPOSITORY}");
    assert_eq!(hubcap.get(&manifest(&name, TAG)).await.status(), 404);
    let challenge = format!("Bearer realm=\"{}\"", origin.token_url());
    origin.quirk("/v2/", quirk::wants(Role::Cdn, "Bearer none", vec![challenge]));
    origin.forget();
    assert_eq!(hubcap.get(&manifest(&name, "2")).await.status(), 403);
    let asked = origin.count(&Method::GET, "/v2/");
    assert!(asked <= 10, "asked {asked} times");
}
