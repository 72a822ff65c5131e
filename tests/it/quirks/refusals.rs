//! A 4xx is an answer, not trouble: it is passed on, nothing stored stands in for it, and the registry goes on being asked.

use http::Method;
use hubcap_oci::media_type;
use serde_json::{Value, json};

use crate::support::hubcap::{Place, blob, manifest, status};
use crate::support::image;
use crate::support::origin::{Origin, quirk};

const REFUSALS: [u16; 10] = [400, 405, 406, 409, 410, 413, 414, 416, 422, 451];

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_passed_on_and_not_replaced_by_what_is_stored() {
    for refusal in REFUSALS {
        let (origin, place) = (Origin::start().await, Place::new());
        let image = image::put(&origin, "library/x:1", &[b"layer"]);
        let hubcap = place.start(&origin.url(), &["--tag-ttl", "0s"]);
        assert_eq!(hubcap.get(&manifest("x", "1")).await.status(), 200);
        let digest = image.digest;
        origin.quirk("/v2/library", quirk::status(refusal));
        for (path, code) in [
            (manifest("x", "1"), refusal),
            ("/v2/library/x/tags/list".into(), refusal),
            ("/v2/library/x/tags/list?n=100000".into(), refusal),
            (format!("/v2/library/x/referrers/{digest}"), refusal),
            // dockerd would try it again and again with any other status.
            (blob("x", &image.blobs[1]), 404),
        ] {
            let answer = hubcap.get(&path).await;
            assert_eq!(answer.status(), code, "{path}: {}", status(&answer));
            let told = answer.text().await.expect("a body");
            assert!(told.contains(&refusal.to_string()), "{told}");
        }
        assert!(!hubcap.log().contains("past its TTL"), "{}", hubcap.log());
        // It was not more than a no to these.
        origin.heal();
        let other = image::put(&origin, "library/y:1", &[b"other"]);
        assert_eq!(hubcap.get(&manifest("y", "1")).await.bytes().await.expect("a body"), other.manifest);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_is_no_answer() {
    for trouble in [407, 408, 425, 500, 502] {
        let (origin, place) = (Origin::start().await, Place::new());
        let image = image::put(&origin, "library/x:1", &[b"layer"]);
        let hubcap = place.start(&origin.url(), &["--tag-ttl", "0s"]);
        assert_eq!(hubcap.get(&manifest("x", "1")).await.status(), 200);
        origin.quirk("/v2/library", quirk::status(trouble));
        let answer = hubcap.get(&manifest("x", "1")).await;
        assert!(status(&answer).ends_with("detail=stale-if-error"), "{trouble}: {}", status(&answer));
        assert_eq!(answer.bytes().await.expect("a body"), image.manifest);
        assert_eq!(hubcap.get("/v2/library/x/tags/list").await.status(), 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_refuses_goes_on_being_asked() {
    let (origin, place) = (Origin::start().await, Place::new());
    let image = image::put(&origin, "library/x:1", &[b"layer"]);
    origin.quirk("manifests/no", quirk::status(400));
    let hubcap = place.start(&origin.url(), &[]);
    for number in 0..20 {
        assert_eq!(hubcap.get(&manifest("x", &format!("no{number}"))).await.status(), 400);
    }
    assert_eq!(origin.count(&Method::GET, "manifests/no"), 20);
    assert_eq!(hubcap.get(&manifest("x", "1")).await.bytes().await.expect("a body"), image.manifest);
    // The same question has its answer for a while: dockerd asks with a HEAD, and then with a GET.
    assert_eq!(status(&hubcap.get(&manifest("x", "no0")).await), "hubcap; hit; detail=refused");
    assert_eq!(origin.count(&Method::GET, "manifests/no"), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_refuses_to_list_referrers_may_have_them_under_a_tag() {
    for refusal in [400, 404, 405, 406, 501] {
        let (origin, place) = (Origin::start().await, Place::new());
        let image = image::put(&origin, "org/app:1", &[b"layer"]);
        let signature = json!({"mediaType": media_type::OCI_MANIFEST, "size": 2, "artifactType": "a/b", "data": "e30=",
            "digest": "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"});
        let index =
            json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [signature.clone()]});
        let tag = image.digest.replace(':', "-");
        origin.put_manifest(&format!("org/app:{tag}"), media_type::OCI_INDEX, index.to_string().as_bytes());
        origin.quirk("/referrers/", quirk::status(refusal));
        let hubcap = place.start(&origin.url(), &[]);
        let answer = hubcap.get(&format!("/v2/org/app/referrers/{}", image.digest)).await;
        assert_eq!(answer.status(), 200, "{refusal}");
        let found: Value = serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON");
        assert_eq!(found["manifests"], json!([signature]), "{refusal}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn through_the_proxy_a_refusal_is_the_registrys_own() {
    let (origin, place) = (Origin::start().await, Place::new());
    image::put(&origin, "org/app:1", &[b"layer"]);
    origin.quirk("/v2/org", quirk::status(413));
    let upstream = format!("ghcr.io={}", origin.url());
    let arguments = ["--proxy-listen", "127.0.0.1:0", "--upstream", &upstream];
    let hubcap = place.start("http://127.0.0.1:9", &arguments);
    let client = hubcap.through_proxy(&place);
    for path in [manifest("org/app", "1"), "/v2/org/app/tags/list".to_owned()] {
        let answer = client.get(format!("https://ghcr.io{path}")).send().await.expect("an answer");
        assert_eq!(answer.status(), 413, "{path}");
        assert!(answer.text().await.expect("a body").contains("the origin says no"), "{path}");
    }
}
