//! The pull side of the distribution specification, with the bytes of every body.

use hubcap_oci::{Algorithm, Digest, media_type};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::hubcap::{Place, blob, header, manifest};
use crate::support::image::{self, sha256};
use crate::support::noise;
use crate::support::origin::Origin;

#[tokio::test(flavor = "multi_thread")]
async fn the_version_check_is_answered_without_a_challenge() {
    let (origin, place) = (Origin::start().await, Place::new());
    let hubcap = place.start(&origin.url(), &[]);
    for path in ["/v2/", "/v2"] {
        let answer = hubcap.get(path).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers().get("www-authenticate"), None);
        assert_eq!(header(&answer, "docker-distribution-api-version"), "registry/2.0");
    }
    assert_eq!(origin.log().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_are_served_by_tag_and_digest_as_the_bytes_that_were_received() {
    let (origin, place) = (Origin::start().await, Place::new());
    // Spaces and a field that nobody knows: a manifest that is written anew would lose them.
    let odd = format!(
        r#"{{ "schemaVersion":2,  "mediaType":"{}", "x": [1 ,2],
        "config":{{"mediaType":"a/b","digest":"{}","size":2}},"layers":[] }}"#,
        media_type::OCI_MANIFEST,
        sha256(b"{}")
    );
    let big = format!(
        r#"{{"schemaVersion":2,"layers":[],"annotations":{{"a":"{}"}}}}"#,
        "x".repeat((4 << 20) - 100)
    );
    let empty_index = r#"{"schemaVersion":2,"manifests":[]}"#.to_owned();
    let nested = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [
        {"mediaType": media_type::OCI_INDEX, "digest": sha256(empty_index.as_bytes()), "size": empty_index.len()}]});
    let artifact = json!({"schemaVersion": 2, "artifactType": "a/b", "mediaType": media_type::OCI_MANIFEST,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": sha256(b"{}"), "size": 2}, "layers": [],
        "subject": {"mediaType": media_type::OCI_MANIFEST, "digest": sha256(b"missing"), "size": 7}});
    let kinds = [
        ("odd", media_type::OCI_MANIFEST, odd),
        ("docker", media_type::DOCKER_MANIFEST, r#"{"schemaVersion":2,"layers":[]}"#.into()),
        ("list", media_type::DOCKER_LIST, r#"{"schemaVersion":2,"manifests":[],"x":1}"#.into()),
        ("big", media_type::OCI_MANIFEST, big),
        ("empty", media_type::OCI_INDEX, empty_index),
        ("nested", media_type::OCI_INDEX, nested.to_string()),
        ("artifact", media_type::OCI_MANIFEST, artifact.to_string()),
    ];
    let hubcap = place.start(&origin.url(), &[]);
    for (tag, media_type, text) in &kinds {
        let digest = origin.put_manifest(&format!("a/b/c:{tag}"), media_type, text.as_bytes());
        for reference in [*tag, &digest] {
            // Twice: as a miss and as a hit.
            for method in [Method::HEAD, Method::GET, Method::HEAD, Method::GET] {
                let path = manifest("a/b/c", reference);
                let accept = format!("{},{}", media_type::OCI_INDEX, media_type::OCI_MANIFEST);
                let answer = hubcap.ask(method.clone(), &path, &[("accept", &accept)]).await;
                assert_eq!(answer.status(), 200, "{tag}");
                assert_eq!(header(&answer, "content-type"), *media_type);
                assert_eq!(header(&answer, "docker-content-digest"), digest);
                assert_eq!(header(&answer, "content-length"), text.len().to_string());
                let body = answer.bytes().await.expect("a body");
                assert_eq!(
                    body.as_ref(),
                    if method == Method::HEAD { b"" } else { text.as_bytes() },
                    "{tag}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_of_all_sizes_and_both_algorithms_are_served_byte_for_byte() {
    let (origin, place) = (Origin::start().await, Place::new());
    let hubcap = place.start(&origin.url(), &[]);
    for content in [
        b"{}".to_vec(),
        Vec::new(),
        noise(2048, 1),
        noise(16 << 10, 2),
        noise((16 << 10) + 1, 3),
        noise(3 << 20, 4),
    ] {
        let long = Digest::of(Algorithm::Sha512, &content).to_string();
        origin.put_blob_as(&long, &content);
        for digest in [origin.put_blob(&content), long] {
            for method in [Method::HEAD, Method::GET, Method::GET, Method::HEAD] {
                let answer = hubcap.ask(method.clone(), &blob("a/b", &digest), &[]).await;
                assert_eq!(answer.status(), 200, "{digest}");
                assert_eq!(header(&answer, "docker-content-digest"), digest);
                assert_eq!(header(&answer, "content-length"), content.len().to_string());
                assert_eq!(header(&answer, "accept-ranges"), "bytes");
                assert!(!header(&answer, "content-type").is_empty());
                let body = answer.bytes().await.expect("a body");
                assert!(
                    body.as_ref() == if method == Method::HEAD { b"" } else { content.as_slice() },
                    "{digest}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn single_ranges_get_206_and_impossible_ones_416() {
    let (origin, place) = (Origin::start().await, Place::new());
    let content = noise(2048, 5);
    let digest = origin.put_blob(&content);
    let hubcap = place.start(&origin.url(), &[]);
    for (range, bytes) in [
        ("bytes=500-1499", 500..1500),
        ("bytes=500-", 500..2048),
        ("bytes=-500", 1548..2048),
        ("bytes=2000-5000", 2000..2048),
    ] {
        let answer = hubcap.ask(Method::GET, &blob("a", &digest), &[("range", range)]).await;
        assert_eq!(answer.status(), 206, "{range}");
        let told = format!("bytes {}-{}/2048", bytes.start, bytes.end - 1);
        assert_eq!(header(&answer, "content-range"), told);
        assert_eq!(header(&answer, "content-length"), bytes.len().to_string());
        assert_eq!(answer.bytes().await.expect("a body"), content[bytes]);
    }
    for range in ["bytes=500-0", "bytes=5000-10000"] {
        let answer = hubcap.ask(Method::GET, &blob("a", &digest), &[("range", range)]).await;
        assert_eq!(answer.status(), 416, "{range}");
        assert_eq!(header(&answer, "content-range"), "bytes */2048");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_exist_is_404_and_what_cannot_exist_is_400_or_404() {
    let (origin, place) = (Origin::start().await, Place::new());
    image::put(&origin, "a:latest", &[b"layer"]);
    let hubcap = place.start(&origin.url(), &[]);
    let missing = sha256(b"nobody has this");
    for (path, status, code) in [
        (manifest("a", "missing"), 404, "MANIFEST_UNKNOWN"),
        (manifest("a", &missing), 404, "MANIFEST_UNKNOWN"),
        (blob("a", &missing), 404, "BLOB_UNKNOWN"),
        ("/v2/nobody/here/tags/list".into(), 404, "NAME_UNKNOWN"),
        (blob("a", "sha256:baddigeststring"), 400, "DIGEST_INVALID"),
        (manifest("a", "sha256:baddigeststring"), 400, "DIGEST_INVALID"),
        ("/v2/a/referrers/sha256:baddigeststring".into(), 400, "DIGEST_INVALID"),
        (manifest("A", "x"), 400, "NAME_INVALID"),
        ("/v2/_catalog".into(), 404, "NAME_UNKNOWN"),
        (format!("{}?ns=nobody.example", manifest("a", "latest")), 404, "MANIFEST_UNKNOWN"),
    ] {
        let answer = hubcap.get(&path).await;
        assert_eq!(answer.status(), status, "{path}");
        let cache_status = header(&answer, "cache-status");
        assert!(cache_status.starts_with("hubcap"), "{path}");
        let body: Value = serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON");
        assert_eq!(body["errors"][0]["code"], code, "{path}");
        assert!(body["errors"][0]["message"].as_str().is_some_and(|text| !text.is_empty()));
    }
    let refused = hubcap.get(&format!("{}?ns=nobody.example", manifest("a", "latest"))).await;
    let text = refused.text().await.expect("a body");
    assert!(text.contains("nobody.example") && text.contains("--upstream"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_says_how_it_was_found_and_a_head_says_the_same_without_a_body() {
    let (origin, place) = (Origin::start().await, Place::new());
    let image = image::put(&origin, "a/b:1", &[&noise(2048, 1)]);
    let hubcap = place.start(&origin.url(), &[]);
    let (missing, layer) = (sha256(b"nobody has this"), blob("a/b", &image.blobs[1]));
    hubcap.get(&layer).await.bytes().await.expect("a body");
    for (path, range, code) in [
        ("/v2/".to_owned(), "", 200),
        ("/".into(), "", 404),
        ("/v2/_catalog".into(), "", 404),
        (manifest("A", "1"), "", 400),
        (manifest("a/b", "1"), "", 200),
        (manifest("a/b", "2"), "", 404),
        (manifest("a/b", &missing), "", 404),
        (manifest("a/b", "1?ns=nobody.example"), "", 404),
        (layer.clone(), "", 200),
        (layer, "bytes=5000-10000", 416),
        (blob("a/b", &missing), "", 404),
        (blob("a/b", "sha256:baddigeststring"), "", 400),
        ("/v2/a/b/tags/list".into(), "", 200),
        (format!("/v2/a/b/referrers/{}", image.digest), "", 200),
    ] {
        for method in [Method::GET, Method::HEAD] {
            // A range means nothing to a HEAD (RFC 9110, section 14.2).
            let code = if method == Method::HEAD && code == 416 { 200 } else { code };
            let answer = hubcap.ask(method.clone(), &path, &[("range", range)]).await;
            assert_eq!(answer.status(), code, "{method} {path}");
            assert!(header(&answer, "cache-status").starts_with("hubcap; "), "{method} {path}");
            assert!(answer.headers().contains_key("content-length"), "{method} {path}");
            let body = answer.bytes().await.expect("a body");
            assert_eq!(body.is_empty(), method == Method::HEAD, "{method} {path}");
        }
    }
    let refused = hubcap.ask(Method::PUT, &manifest("a/b", "1"), &[]).await;
    assert_eq!(
        (refused.status().as_u16(), header(&refused, "cache-status").as_str()),
        (405, "hubcap; detail=local")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_writes_gets_405_unsupported() {
    let (origin, place) = (Origin::start().await, Place::new());
    let hubcap = place.start(&origin.url(), &[]);
    for (method, path) in [
        (Method::POST, "/v2/a/blobs/uploads/".to_owned()),
        (Method::PUT, manifest("a", "x")),
        (Method::PATCH, "/v2/a/blobs/uploads/1".into()),
        (Method::DELETE, manifest("a", &sha256(b"x"))),
        (Method::DELETE, blob("a", &sha256(b"x"))),
    ] {
        let answer = hubcap.ask(method, &path, &[]).await;
        assert_eq!(answer.status(), 405);
        assert_eq!(header(&answer, "allow"), "GET, HEAD");
        assert!(answer.text().await.expect("a body").contains("\"UNSUPPORTED\""));
    }
    assert_eq!(origin.log().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_are_paged_and_the_link_leads_back_to_us() {
    let (origin, place) = (Origin::start().await, Place::new());
    for tag in ["a", "b", "c", "d", "e"] {
        image::put(&origin, &format!("r/x:{tag}"), &[tag.as_bytes()]);
    }
    let other = format!("other.example={}", origin.url());
    let hubcap = place.start(&origin.url(), &["--upstream", &other]);
    let list = async |path: &str| {
        let answer = hubcap.get(path).await;
        assert_eq!(answer.status(), 200);
        let link = header(&answer, "link");
        let body: Value = serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON");
        assert_eq!(body["name"], "r/x");
        (
            body["tags"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|tag| tag.as_str().expect("text").to_owned())
                .collect::<Vec<_>>(),
            link,
        )
    };
    assert_eq!(
        list("/v2/r/x/tags/list").await,
        (vec!["a".into(), "b".into(), "c".into(), "d".into(), "e".into()], String::new())
    );
    let mut path = "/v2/r/x/tags/list?n=2&ns=other.example".to_owned();
    let mut all = Vec::new();
    loop {
        let (tags, link) = list(&path).await;
        all.extend(tags);
        let Some(next) = link.strip_prefix('<').and_then(|link| link.split_once('>')) else { break };
        path = next.0.into();
        assert!(path.starts_with("/v2/r/x/tags/list?") && path.contains("ns=other.example"), "{path}");
    }
    assert_eq!(all, ["a", "b", "c", "d", "e"]);
    assert_eq!(list("/v2/r/x/tags/list?last=c").await.0, ["d", "e"]);
    assert_eq!(list("/v2/r/x/tags/list?n=0").await, (vec![], String::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn referrers_are_an_index_and_can_be_filtered() {
    let (origin, place) = (Origin::start().await, Place::new());
    let subject = sha256(b"subject");
    let entry = |kind: &str| {
        json!({"mediaType": media_type::OCI_MANIFEST, "digest": sha256(kind.as_bytes()), "size": 1,
        "artifactType": kind, "annotations": {"k": kind}})
    };
    origin.put_referrers(
        &subject,
        json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX,
        "manifests": [entry("a/sbom"), entry("a/signature")]}),
    );
    let hubcap = place.start(&origin.url(), &[]);
    let ask = async |digest: &str, filter: &str| {
        let answer = hubcap.get(&format!("/v2/a/referrers/{digest}{filter}")).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(header(&answer, "content-type"), media_type::OCI_INDEX);
        let applied = header(&answer, "oci-filters-applied");
        let body: Value = serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON");
        assert_eq!(body["schemaVersion"], 2);
        let kinds: Vec<_> = body["manifests"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|one| one["artifactType"].as_str().expect("text").to_owned())
            .collect();
        (kinds, applied)
    };
    assert_eq!(ask(&subject, "").await, (vec!["a/sbom".into(), "a/signature".into()], String::new()));
    assert_eq!(ask(&subject, "?artifactType=a/sbom").await, (vec!["a/sbom".into()], "artifactType".into()));
    let both = (vec!["a/sbom".into(), "a/signature".into()], "artifactType".into());
    assert_eq!(ask(&subject, "?artifactType=a/signature&artifactType=a%2Fsbom&artifactType=c").await, both);
    assert_eq!(ask(&subject, "?artifactType=c&artifactType=d").await, (vec![], "artifactType".into()));
    assert_eq!(ask(&sha256(b"nobody"), "").await, (vec![], String::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn referrers_of_a_registry_without_that_endpoint_come_from_the_tag_schema_and_offline_from_the_store() {
    let (origin, place) = (Origin::start().await, Place::new());
    let image = image::put(&origin, "library/a:1", &[b"layer"]);
    let signature = json!({"schemaVersion": 2, "artifactType": "a/signature", "mediaType": media_type::OCI_MANIFEST,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": sha256(b"{}"), "size": 2}, "layers": [],
        "annotations": {"k": "v"},
        "subject": {"mediaType": media_type::OCI_MANIFEST, "digest": image.digest, "size": image.manifest.len()}});
    let signature = signature.to_string();
    let digest = origin.put_manifest("library/a:signature", media_type::OCI_MANIFEST, signature.as_bytes());
    let entry = json!({"mediaType": media_type::OCI_MANIFEST, "digest": digest, "size": signature.len(),
        "artifactType": "a/signature", "annotations": {"k": "v"}});
    let index = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [entry]});
    let tag = image.digest.replace(':', "-");
    origin.put_manifest(&format!("library/a:{tag}"), media_type::OCI_INDEX, index.to_string().as_bytes());
    let path = format!("/v2/a/referrers/{}", image.digest);
    let list = async |hubcap: &crate::support::hubcap::Hubcap, filter: &str| -> Value {
        let answer = hubcap.get(&format!("{path}{filter}")).await;
        assert_eq!(answer.status(), 200);
        let body: Value = serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON");
        body["manifests"].clone()
    };
    let hubcap = place.start(&origin.url(), &[]);
    assert_eq!(list(&hubcap, "").await, json!([entry]));
    assert_eq!(list(&hubcap, "?artifactType=a/sbom").await, json!([]));
    for reference in ["1", &digest] {
        hubcap.get(&manifest("a", reference)).await.bytes().await.expect("a body");
    }
    assert_eq!(hubcap.stop(), Some(0));
    let offline = place.start(&origin.url(), &["--offline"]);
    assert_eq!(list(&offline, "").await, json!([entry]));
    assert_eq!(list(&offline, "?artifactType=a/sbom").await, json!([]));
}
