//! Documents as registries have them: the bytes are the product, and what is odd inside is no reason to refuse them.

use futures_util::{StreamExt as _, stream};
use hubcap_oci::{Algorithm, Digest, media_type};
use reqwest::Method;
use serde_json::{Value, json};

use crate::quirks::Situation;
use crate::support::hubcap::{Place, blob, header, manifest, status};
use crate::support::image::{self, sha256};
use crate::support::noise;
use crate::support::origin::{Act, Origin, Quirk, quirk};

/// What the digest of a signed manifest is of: not its bytes, but those without the signature.
const SCHEMA_1_DIGEST: &str = "sha256:c51ab361311ac5ea9808621735a89a89f9a86655ebd76b4feea1f827c643db36";
const SCHEMA_1: &[u8] = include_bytes!("documents/schema_1.json");
const SCHEMA_1_LAYER: &[u8] = include_bytes!("documents/layer.tar.gz");

pub(crate) const SITUATIONS: &[Situation] = &[
    // Fields that are null, missing, or of another type.
    Situation::pull("buildah", "a manifest without a media type", |origin| {
        odd(origin, |manifest| remove(manifest, "/mediaType"));
    }),
    Situation::pull("many", "annotations that are null", |origin| {
        odd(origin, |manifest| {
            manifest["annotations"] = Value::Null;
            manifest["layers"][0]["annotations"] = Value::Null;
        });
    }),
    Situation::pull("Go programs", "layers that are null", |origin| {
        odd(origin, |manifest| manifest["layers"] = Value::Null);
    }),
    Situation::pull("Go programs", "manifests that are null, in an image's manifest", |origin| {
        odd(origin, |manifest| manifest["manifests"] = Value::Null);
    }),
    Situation::pull("Go programs", "an index whose manifests are null", |origin| {
        put(origin, media_type::OCI_INDEX, &json!({"schemaVersion": 2, "manifests": null}));
    }),
    Situation::pull("many", "subject, platform and urls that are null", |origin| {
        odd(origin, |manifest| {
            manifest["subject"] = Value::Null;
            manifest["layers"][0]["platform"] = Value::Null;
            manifest["layers"][0]["urls"] = Value::Null;
        });
    }),
    Situation::pull("many", "a layer without a media type", |origin| {
        odd(origin, |manifest| remove(manifest, "/layers/0/mediaType"));
    }),
    Situation::pull("many", "a configuration without a media type", |origin| {
        odd(origin, |manifest| remove(manifest, "/config/mediaType"));
    }),
    Situation::pull("many", "annotations that are no strings", |origin| {
        odd(origin, |manifest| manifest["annotations"] = json!({"a": 1, "b": null, "c": {}}));
    }),
    Situation::pull("many", "fields of wrong types: subject, artifactType, platform", |origin| {
        odd(origin, |manifest| {
            manifest["subject"] = json!("x");
            manifest["artifactType"] = json!(7);
            manifest["layers"][0]["platform"] = json!([]);
        });
    }),
    // Sizes.
    Situation::pull("many", "a layer of -1 bytes", |origin| sized(origin, "-1")),
    Situation::pull("many", "a layer of 0 bytes", |origin| sized(origin, "0")),
    Situation::pull("many", "a layer of one byte too many", |origin| sized(origin, "601601")),
    Situation::pull("many", "a layer of a thousand terabytes", |origin| sized(origin, "1000000000000000")),
    Situation::pull("many", "a layer of 1.0 bytes", |origin| sized(origin, "1.0")),
    Situation::pull("many", "a layer of 1e15 bytes", |origin| sized(origin, "1e15")),
    Situation::pull("many", "a layer of \"7\" bytes", |origin| sized(origin, "\"7\"")),
    Situation::pull("many", "a layer of null bytes", |origin| sized(origin, "null")),
    Situation::pull("many", "a configuration of a wrong size", |origin| {
        odd(origin, |manifest| manifest["config"]["size"] = json!(1));
    }),
    Situation::pull("many", "a wrong size, and an answer without a length", |origin| {
        sized(origin, "7");
        origin.quirk("/blobs/", quirk::no_length());
    }),
    Situation::pull("many", "manifests of wrong sizes in an index", |origin| {
        let child = image::real_at(origin, "org/app:child", 7);
        put(
            origin,
            media_type::OCI_INDEX,
            &json!({"schemaVersion": 2, "manifests": [
            {"mediaType": media_type::OCI_MANIFEST, "digest": child.digest, "size": -1,
                "platform": {"os": "linux", "architecture": "amd64"}}]}),
        );
    }),
    // Digests.
    Situation::pull("skopeo, oras", "a layer with a sha512 digest", |origin| {
        named(origin, Algorithm::Sha512)
    }),
    Situation::pull("go-digest", "a layer with a sha384 digest", |origin| named(origin, Algorithm::Sha384)),
    Situation::pull("newer tools", "a subject with a blake3 digest", |origin| {
        odd(origin, |manifest| {
            manifest["subject"] = json!({"mediaType": media_type::OCI_MANIFEST, "size": 1,
                "digest": format!("blake3:{}", "0".repeat(64))});
        });
    }),
    Situation::pull("newer tools", "manifests with digests that nobody knows, in an index", |origin| {
        let others = ["blake3:00", "SHA256:00", "", "sha256:XYZ"];
        index(origin, |entries| {
            entries.extend(others.map(|digest| {
                json!({"mediaType": media_type::OCI_MANIFEST, "digest": digest, "size": 1,
                    "platform": {"os": "linux", "architecture": "s390x"}})
            }));
        });
    }),
    Situation::pull("many", "half a platform in an index", |origin| {
        index(origin, |entries| {
            let mut half = entries[0].clone();
            half["platform"] = json!({"os": "linux"});
            entries.push(half.clone());
            half["platform"] = json!({"architecture": "s390x", "features": null});
            entries.push(half);
        });
    }),
    // What JSON allows.
    Situation::pull("any", "a key that comes twice", |origin| {
        odd_text(origin, |text| {
            text.replacen("{\"config\"", "{\"layers\":[],\"config\":{\"size\":3},\"config\"", 1)
        });
    }),
    Situation::pull("any", "keys in capitals", |origin| {
        odd_text(origin, |text| text.replace("\"layers\"", "\"LAYERS\"").replace("\"digest\"", "\"Digest\""));
    }),
    Situation::pull("any", "a lone surrogate in an annotation", |origin| {
        odd_text(origin, |text| with_field(&text, r#""annotations":{"a":"\ud800","\udc00":"b"}"#));
    }),
    Situation::pull("any", "a number beyond all numbers", |origin| {
        odd_text(origin, |text| {
            with_field(&text, &format!("\"x\":[1e99999,-{},0.1e-9999]", "9".repeat(400)))
        });
    }),
    Situation::pull("any", "lists in lists in lists", |origin| {
        odd_text(origin, |text| {
            with_field(&text, &format!("\"x\":{}{}", "[".repeat(2000), "]".repeat(2000)))
        });
    }),
    Situation::pull("any", "white space around the document", |origin| {
        odd_text(origin, |text| format!("\n\t {text} \r\n\n"));
    }),
    Situation::pull("any", "a byte that is no UTF-8", |origin| {
        let image = image::real(origin);
        let text = String::from_utf8(image.manifest).expect("text");
        let mut bytes = with_field(&text, "\"annotations\":{\"a\":\"@\"}").into_bytes();
        let at = bytes.iter().position(|byte| *byte == b'@').expect("the mark");
        bytes[at] = 0xff;
        origin.put_manifest("org/app:1", media_type::OCI_MANIFEST, &bytes);
    }),
    Situation::pull("any", "a manifest of 6 MiB", |origin| {
        odd_text(origin, |text| {
            with_field(&text, &format!("\"annotations\":{{\"a\":\"{}\"}}", "x".repeat(6 << 20)))
        });
    }),
    Situation::pull("any", "ten thousand fields that nobody knows", |origin| {
        let many: Vec<String> = (0..10_000).map(|n| format!("\"x{n}\":{{}}")).collect();
        odd_text(origin, |text| with_field(&text, &many.join(",")));
    }),
    // Artifacts of all shapes.
    Situation::pull("BuildKit", "the configuration is in its descriptor (data)", |origin| {
        odd(origin, |manifest| {
            manifest["config"]["data"] = json!("e30=");
            manifest["layers"][0]["data"] = Value::Null;
        });
    }),
    Situation::pull("Windows images", "a layer with URLs that the registry has as well", |origin| {
        odd(origin, |manifest| manifest["layers"][0]["urls"] = json!(["http://127.0.0.1:9/layer"]));
    }),
    Situation::pull("Helm", "a chart", |origin| {
        artifact(
            origin,
            "application/vnd.cncf.helm.config.v1+json",
            "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
        );
    }),
    Situation::pull("cosign", "a signature", |origin| {
        artifact(
            origin,
            "application/vnd.oci.image.config.v1+json",
            "application/vnd.dev.cosign.simplesigning.v1+json",
        );
    }),
    Situation::pull("oras", "an artifact with the empty configuration", |origin| {
        artifact(origin, "application/vnd.oci.empty.v1+json", "text/plain");
    }),
    Situation::pull("oras", "an artifact's manifest of OCI 1.1-rc", |origin| {
        let file = origin.put_blob(b"a file");
        put(
            origin,
            media_type::OCI_ARTIFACT,
            &json!({"mediaType": media_type::OCI_ARTIFACT, "artifactType": "a/b",
            "blobs": [{"mediaType": "text/plain", "digest": file, "size": 6}], "subject": null}),
        );
    }),
    Situation::pull("oras", "an artifact's manifest of ORAS", |origin| {
        let kind = "application/vnd.cncf.oras.artifact.manifest.v1+json";
        let file = origin.put_blob(b"a file");
        put(
            origin,
            kind,
            &json!({"mediaType": kind, "artifactType": "a/b",
            "blobs": [{"mediaType": "text/plain", "digest": file, "size": 6}],
            "subject": {"mediaType": media_type::OCI_MANIFEST, "digest": sha256(b"nothing"), "size": 7}}),
        );
    }),
    Situation::pull("somebody", "a manifest of a media type that nobody knows", |origin| {
        put(origin, "application/vnd.acme.widget.v1+json", &json!({"widget": [1, 2, 3]}));
    }),
    Situation::pull("BuildKit", "attestations beside the image", |origin| {
        let statement = image::put(origin, "org/app:statement", &[b"{}"]);
        let digest = statement.digest;
        origin.put_manifest("org/app:statement", media_type::OCI_MANIFEST, &statement.manifest);
        index(origin, move |entries| {
            let image = entries[0]["digest"].clone();
            entries.push(json!({"mediaType": media_type::OCI_MANIFEST, "digest": digest, "size": 7,
                "annotations": {"vnd.docker.reference.digest": image, "vnd.docker.reference.type": "attestation-manifest"},
                "platform": {"os": "unknown", "architecture": "unknown"}}));
        });
    }),
    Situation::pull("BuildKit", "a cache: an index of layers", |origin| {
        let layers = [noise(1000, 1), noise(1000, 2)].map(|layer| origin.put_blob(&layer));
        let entries = layers.map(|digest| {
            json!({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest, "size": 1000})
        });
        put(origin, media_type::OCI_INDEX, &json!({"schemaVersion": 2, "manifests": entries}));
    }),
    // Media types.
    Situation::pull("static file servers", "a manifest that is text/plain", |origin| {
        typed(origin, Some("text/plain"))
    }),
    Situation::pull("static file servers", "a manifest without a media type at all", |origin| {
        odd(origin, |manifest| remove(manifest, "/mediaType"));
        origin.quirk("/manifests/", quirk::change(|reply| reply.without("content-type")));
    }),
    Situation::pull("object stores", "a manifest that is application/octet-stream", |origin| {
        typed(origin, Some("application/octet-stream"));
    }),
    Situation::pull("object stores", "a manifest that is application/json", |origin| {
        typed(origin, Some("application/json; charset=utf-8"));
    }),
    Situation::pull("web frameworks", "a media type with parameters", |origin| {
        typed(origin, Some("application/vnd.oci.image.manifest.v1+json; charset=utf-8"));
    }),
    Situation::pull("Nexus", "Docker's manifest without the media type inside", |origin| {
        let image = image::real(origin);
        let mut manifest: Value = serde_json::from_slice(&image.manifest).expect("JSON");
        remove(&mut manifest, "/mediaType");
        manifest["config"]["mediaType"] = json!("application/vnd.docker.container.image.v1+json");
        manifest["layers"][0]["mediaType"] = json!("application/vnd.docker.image.rootfs.diff.tar");
        put(origin, media_type::DOCKER_MANIFEST, &manifest);
    }),
    Situation::pull("Harbor, ECR", "Docker's manifest list over OCI manifests", |origin| {
        let child = image::real_at(origin, "org/app:child", 7);
        put(
            origin,
            media_type::DOCKER_LIST,
            &json!({"schemaVersion": 2, "mediaType": media_type::DOCKER_LIST,
            "manifests": [{"mediaType": media_type::OCI_MANIFEST, "digest": child.digest, "size": child.manifest.len(),
                "platform": {"os": "linux", "architecture": "amd64"}}]}),
        );
    }),
    // Docker before 1.10.
    Situation::pull("registries of long ago", "a signed manifest of schema 1", |origin| {
        origin.put_blob(SCHEMA_1_LAYER);
        origin.put_manifest("org/app:1", media_type::DOCKER_SCHEMA_1_SIGNED, SCHEMA_1);
        origin.quirk("/manifests/", schema_1_digest());
    }),
];

/// An image that clients take, whose manifest is changed.
fn odd(origin: &Origin, change: impl FnOnce(&mut Value)) {
    let image = image::real(origin);
    let mut manifest = serde_json::from_slice(&image.manifest).expect("JSON");
    change(&mut manifest);
    put(origin, media_type::OCI_MANIFEST, &manifest);
}

/// The same, as text.
fn odd_text(origin: &Origin, change: impl FnOnce(String) -> String) {
    let image = image::real(origin);
    let text = change(String::from_utf8(image.manifest).expect("text"));
    origin.put_manifest("org/app:1", media_type::OCI_MANIFEST, text.as_bytes());
}

/// An index over such an image, whose entries are changed.
fn index(origin: &Origin, change: impl FnOnce(&mut Vec<Value>)) {
    let child = image::real_at(origin, "org/app:child", 7);
    let mut entries = vec![json!({"mediaType": media_type::OCI_MANIFEST, "digest": child.digest,
        "size": child.manifest.len(), "platform": {"os": "linux", "architecture": "amd64"}})];
    change(&mut entries);
    put(origin, media_type::OCI_INDEX, &json!({"schemaVersion": 2, "manifests": entries}));
}

fn put(origin: &Origin, media_type: &str, document: &Value) {
    origin.put_manifest("org/app:1", media_type, document.to_string().as_bytes());
}

fn artifact(origin: &Origin, config_type: &str, layer_type: &str) {
    let (config, layer) = (origin.put_blob(b"{}"), origin.put_blob(b"a file"));
    put(
        origin,
        media_type::OCI_MANIFEST,
        &json!({"schemaVersion": 2, "config": {"mediaType": config_type, "digest": config, "size": 2},
            "layers": [{"mediaType": layer_type, "digest": layer, "size": 6, "annotations": {"a": "b"}}]}),
    );
}

fn remove(document: &mut Value, path: &str) {
    let (parent, key) = path.rsplit_once('/').expect("a path");
    let object = document.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object");
    object.remove(key).expect("the field");
}

/// A document with another field, before the others.
fn with_field(text: &str, field: &str) -> String {
    text.replacen('{', &format!("{{{field},"), 1)
}

/// The layer's length, as the manifest says it.
fn sized(origin: &Origin, size: &str) {
    odd_text(origin, |text| {
        let (before, layers) = text.split_once("\"layers\"").expect("layers");
        let (start, rest) = layers.split_once("\"size\":").expect("a size");
        let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        format!("{before}\"layers\"{start}\"size\":{size}{rest}")
    });
}

/// The layer's digest by another algorithm.
fn named(origin: &Origin, algorithm: Algorithm) {
    let image = image::real(origin);
    let layer = origin.blob(&image.blobs[1]).expect("the layer");
    let digest = Digest::of(algorithm, &layer).to_string();
    origin.put_blob_as(&digest, &layer);
    let mut manifest: Value = serde_json::from_slice(&image.manifest).expect("JSON");
    manifest["layers"][0]["digest"] = json!(digest);
    put(origin, media_type::OCI_MANIFEST, &manifest);
}

/// Knows the signed manifest by what was signed, as every registry does.
fn schema_1_digest() -> Quirk {
    Quirk::new(|asked| {
        asked.target = asked.target.replace(SCHEMA_1_DIGEST, &sha256(SCHEMA_1));
        Act::change(|reply| reply.with("docker-content-digest", SCHEMA_1_DIGEST))
    })
}

/// The media type that the registry says for an image's manifest.
fn typed(origin: &Origin, media_type: Option<&'static str>) {
    image::real(origin);
    origin.quirk(
        "/manifests/",
        quirk::change(move |reply| match media_type {
            Some(media_type) if reply.is_content() => reply.with("content-type", media_type),
            _ => reply,
        }),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_clients_refuse_as_ambiguous_is_refused_with_the_reason() {
    let (origin, place) = (Origin::start().await, Place::new());
    let hubcap = place.start(&origin.url(), &[]);
    let (image, index) = (media_type::OCI_MANIFEST, media_type::OCI_INDEX);
    for (tag, kind, document) in [
        ("both", image, json!({"schemaVersion": 2, "config": {}, "layers": [], "manifests": []})),
        ("too", index, json!({"schemaVersion": 2, "manifests": [], "LAYERS": []})),
        ("contradicted", index, json!({"schemaVersion": 2, "mediaType": image})),
        ("guessed", "text/plain", json!({"schemaVersion": 2, "manifests": [], "config": {}})),
    ] {
        let digest = origin.put_manifest(&format!("org/app:{tag}"), kind, document.to_string().as_bytes());
        for reference in [tag, &digest] {
            let answer = hubcap.get(&manifest("org/app", reference)).await;
            assert_eq!(answer.status(), 404, "{tag}");
            let told = answer.text().await.expect("a body");
            assert!(told.contains("CVE-2021-41190"), "{tag}: {told}");
        }
    }
    assert_eq!(place.blobs().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_that_is_not_the_contents_costs_no_room() {
    let (origin, place) = (Origin::start().await, Place::new());
    let other = image::put(&origin, "library/other:1", &[&noise(1 << 20, 1)]);
    sized(&origin, "1000000000000000");
    let hubcap = place.start(&origin.url(), &["--max-size", "7MiB"]);
    for digest in &other.blobs {
        hubcap.get(&blob("other", digest)).await.bytes().await.expect("a body");
    }
    let layer = image::real_at(&origin, "org/app:plain", 7).blobs.remove(1);
    hubcap.get(&manifest("org/app", "1")).await;
    for expected in ["hubcap; fwd=miss; stored", "hubcap; hit"] {
        let answer = hubcap.get(&blob("org/app", &layer)).await;
        assert_eq!(status(&answer), expected);
        assert_eq!(answer.content_length(), Some(601_600));
        assert_eq!(answer.bytes().await.expect("a body"), origin.blob(&layer).expect("the layer"));
    }
    assert!(other.blobs.iter().all(|digest| place.blobs().contains(digest)), "{}", hubcap.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_whose_length_nobody_tells_is_given_out_while_it_comes() {
    let (origin, place) = (Origin::start().await, Place::new());
    let content = noise(200_000, 3);
    let digest = origin.put_blob(&content);
    let (open, gate) = tokio::sync::watch::channel(false);
    origin.quirk(
        "/blobs/",
        quirk::change(move |reply| {
            let mut gate = gate.clone();
            reply.untold().sent_by(move |mut bytes| {
                let head = bytes.split_to(100_000);
                let rest = stream::once(async move {
                    gate.wait_for(|open| *open).await.map_err(std::io::Error::other)?;
                    Ok(bytes)
                });
                stream::iter([Ok(head)]).chain(rest)
            })
        }),
    );
    let hubcap = place.start(&origin.url(), &[]);
    let mut answer = hubcap.get(&blob("org/app", &digest)).await;
    assert_eq!((answer.status().as_u16(), answer.content_length()), (200, None));
    let mut received = answer.chunk().await.expect("bytes").expect("bytes").to_vec();
    open.send(true).expect("somebody waits");
    while let Some(chunk) = answer.chunk().await.expect("bytes") {
        received.extend_from_slice(&chunk);
    }
    assert!(received == content);
    let part = hubcap.ask(Method::GET, &blob("org/app", &digest), &[("range", "bytes=5-9")]).await;
    assert_eq!((part.status().as_u16(), header(&part, "content-range")), (206, "bytes 5-9/200000".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_escaped_digest_is_a_digest() {
    let (origin, place) = (Origin::start().await, Place::new());
    let image = image::real(&origin);
    let hubcap = place.start(&origin.url(), &[]);
    for digest in [&image.digest, &image.blobs[1]] {
        let kind = if *digest == image.digest { "manifests" } else { "blobs" };
        let path = format!("/v2/org/app/{kind}/{}", digest.replace(':', "%3A"));
        let answer = hubcap.get(&path).await;
        assert_eq!(
            (answer.status().as_u16(), header(&answer, "docker-content-digest")),
            (200, digest.clone())
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_manifest_of_schema_1_is_served_by_the_digest_of_what_was_signed() {
    let (origin, place) = (Origin::start().await, Place::new());
    origin.put_manifest("org/app:1", media_type::DOCKER_SCHEMA_1_SIGNED, SCHEMA_1);
    origin.quirk("/manifests/", schema_1_digest());
    let hubcap = place.start(&origin.url(), &["--tag-ttl", "0s"]);
    for reference in ["1", SCHEMA_1_DIGEST, "1", SCHEMA_1_DIGEST, &sha256(SCHEMA_1)] {
        let answer = hubcap.get(&manifest("org/app", reference)).await;
        assert_eq!(answer.status(), 200, "{reference}");
        assert_eq!(header(&answer, "content-type"), media_type::DOCKER_SCHEMA_1_SIGNED);
        assert_eq!(answer.bytes().await.expect("a body"), SCHEMA_1);
    }
    // Signed or not, other bytes are no answer.
    let other = hubcap.get(&manifest("org/app", &sha256(b"other"))).await;
    assert_eq!(other.status(), 404);
}
