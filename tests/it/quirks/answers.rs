//! Answers of registries and of where they redirect to: statuses, headers, images that are unusual.

use std::sync::atomic::{AtomicUsize, Ordering};

use http::header;
use hubcap_oci::media_type;
use serde_json::{Value, json};

use crate::quirks::Situation;
use crate::support::image::{self, sha256};
use crate::support::origin::{Act, Quirk, Reply, Role, quirk};

pub(crate) const SITUATIONS: &[Situation] = &[
    Situation::pull("Harbor", "only the first line of `Accept` is read", |origin| {
        image::real(origin);
        origin.quirk(
            "/manifests/",
            accepts(|lines| lines.first().is_some_and(|line| line.contains(media_type::OCI_MANIFEST))),
        );
    }),
    Situation::pull("distribution before 2.3", "each line of `Accept` is compared as a whole", |origin| {
        image::real(origin);
        origin
            .quirk("/manifests/", accepts(|lines| lines.iter().any(|line| line == media_type::OCI_MANIFEST)));
    }),
    Situation::pull("GitLab's dependency proxy", "manifests are redirected to signed URLs", |origin| {
        image::real(origin);
        let place = origin.region();
        origin.quirk(
            "/manifests/",
            quirk::answer(move |asked| {
                let location = format!("{place}{}?X-Amz-Signature=s3cret", asked.path());
                (asked.host == Role::Registry).then(|| Reply::status(302).with("location", &location))
            }),
        );
        origin.quirk("X-Amz-Signature", quirk::no_head(403));
        origin.quirk("X-Amz-Signature", quirk::change(|reply| reply.without("docker-content-digest")));
    }),
    Situation::pull("object stores", "a blob is redirected with 303", |origin| {
        image::real(origin);
        origin.quirk("/blobs/", quirk::moved(303, Role::Registry, origin.region()));
    }),
    Situation::pull(
        "Harbor's proxy cache 2.1",
        "a HEAD of a manifest has no media type and the length 0",
        |origin| {
            image::real(origin);
            origin.quirk(
                "/manifests/",
                quirk::for_heads(quirk::change(|reply| {
                    reply.without("content-type").with("content-length", "0")
                })),
            );
        },
    ),
    Situation::pull("regclient's registries", "a Docker-Content-Digest of another algorithm", |origin| {
        image::real(origin);
        origin.quirk(
            "/manifests/",
            quirk::change(|reply| {
                let digest = format!("sha512:{}", "ab".repeat(64));
                if reply.is_content() { reply.with("docker-content-digest", &digest) } else { reply }
            }),
        );
    }),
    Situation::pull(
        "Artifactory",
        "a GET of a manifest has the Docker-Content-Digest of something else",
        |origin| {
            image::real(origin);
            origin.quirk(
                "/manifests/",
                quirk::change(|reply| reply.with("docker-content-digest", &sha256(b"something else"))),
            );
        },
    ),
    Situation::pull("proxies", "two media types, the right one first", |origin| {
        image::real(origin);
        origin.quirk("/manifests/", quirk::change(|reply| reply.and("content-type", "text/plain")));
    }),
    Situation::pull("proxies", "the media type is in capitals", |origin| {
        image::real(origin);
        origin.quirk("/blobs/", quirk::change(|reply| reply.with("content-type", "TEXT/Plain; CHARSET=x")));
    }),
    Situation::pull("content networks", "a blob's length is told by a HEAD as 0", |origin| {
        image::real(origin);
        origin.quirk("/blobs/", quirk::for_heads(quirk::change(|reply| reply.with("content-length", "0"))));
    }),
    Situation::pull("Content networks", "a blob comes with a Content-Range although it is a 200", |origin| {
        image::real(origin);
        origin.quirk("/blobs/", quirk::change(|reply| reply.with("content-range", "bytes 0-9/10")));
    }),
    Situation::pull("proxies", "a Content-Encoding that is none: utf-8", |origin| {
        image::real(origin);
        origin.quirk("/v2/org", quirk::change(|reply| reply.with("content-encoding", "utf-8")));
    }),
    Situation::pull("object stores", "an empty Content-Encoding", |origin| {
        image::real(origin);
        origin.quirk("/v2/org", quirk::change(|reply| reply.with("content-encoding", "")));
    }),
    Situation::pull("proxies", "a 203 instead of a 200", |origin| {
        image::real(origin);
        origin.quirk(
            "/v2/org",
            quirk::change(|reply| if reply.status == 200 { reply.but(203) } else { reply }),
        );
    }),
    Situation::pull("content networks", "three hundred headers", |origin| {
        image::real(origin);
        origin.quirk(
            "/v2/org",
            quirk::change(|reply| {
                (0..300).fold(reply, |reply, number| reply.with(&format!("x-meta-{number}"), "x"))
            }),
        );
    }),
    Situation::pull("Amazon S3", "503 without Retry-After, once for each", |origin| {
        image::real(origin);
        origin.quirk("/v2/org", first_of_each(|| Reply::status(503)));
    }),
    Situation::pull("Cloudflare", "520, once for each", |origin| {
        image::real(origin);
        origin.quirk("/v2/org", first_of_each(|| Reply::status(520)));
    }),
    Situation::pull("GHCR, Quay", "429 with a Retry-After of 1 s, once", |origin| {
        image::real(origin);
        origin.quirk("/manifests/", once(|| Reply::status(429).with("retry-after", "1")));
        origin.quirk("/blobs/", once(|| Reply::status(429).with("retry-after", "1")));
    }),
    Situation::pull("GitLab", "429 without a Retry-After, once", |origin| {
        image::real(origin);
        origin.quirk("/manifests/", once(|| Reply::status(429)));
        origin.quirk("/blobs/", once(|| Reply::status(429)));
    }),
    Situation::pull("Azure", "a token runs out in the middle of a layer", |origin| {
        origin.like_docker_hub(None);
        let layer = image::real(origin).blobs.remove(1);
        origin.quirk(&format!("/v2/org/app/blobs/{layer}?"), quirk::cut_once(300_000));
        let bearer = format!("Bearer realm=\"{}\",service=\"s\",error=\"invalid_token\"", origin.token_url());
        let asked = AtomicUsize::new(0);
        origin.quirk(
            &format!("/v2/org/app/blobs/{layer}"),
            Quirk::new(move |one| {
                let is_second = one.host == Role::Registry
                    && one.headers.contains_key(header::AUTHORIZATION)
                    && asked.fetch_add(1, Ordering::SeqCst) == 1;
                is_second.then(|| Act::Answer(Reply::status(401).with("www-authenticate", &bearer)))
            }),
        );
    }),
    Situation::pull("docker build", "the same layer comes twice in a manifest", |origin| {
        let image = image::real(origin);
        let mut manifest: Value = serde_json::from_slice(&image.manifest).expect("JSON");
        let (layer, config) = (manifest["layers"][0].clone(), manifest["config"]["digest"].clone());
        let config = origin.blob(config.as_str().expect("a digest")).expect("a blob");
        let mut config: Value = serde_json::from_slice(&config).expect("JSON");
        let diff = config["rootfs"]["diff_ids"][0].clone();
        config["rootfs"]["diff_ids"] = json!([diff, diff]);
        let config = config.to_string();
        manifest["config"]["digest"] = json!(origin.put_blob(config.as_bytes()));
        manifest["config"]["size"] = json!(config.len());
        manifest["layers"] = json!([layer, layer]);
        origin.put_manifest("org/app:1", media_type::OCI_MANIFEST, manifest.to_string().as_bytes());
    }),
    Situation::pull("oras, Flux", "an artifact with a layer of 0 bytes", |origin| {
        let config = origin.put_blob(b"{}");
        let empty = origin.put_blob(b"");
        let manifest = json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "artifactType": "a/b",
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2},
            "layers": [{"mediaType": "a/b", "digest": empty, "size": 0}]});
        origin.put_manifest("org/app:1", media_type::OCI_MANIFEST, manifest.to_string().as_bytes());
    }),
    Situation::pull(
        "Docker Hub's old images",
        "a layer that is an empty tar, packed by gzip, 32 bytes",
        |origin| {
            let image = image::real(origin);
            let empty = crate::support::packed("gzip", &[0; 1024]);
            let mut manifest: Value = serde_json::from_slice(&image.manifest).expect("JSON");
            let layer = json!({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
            "digest": origin.put_blob(&empty), "size": empty.len()});
            let config = json!({"os": "linux", "architecture": "amd64",
            "rootfs": {"type": "layers", "diff_ids": [sha256(&[0; 1024])]}})
            .to_string();
            manifest["config"]["digest"] = json!(origin.put_blob(config.as_bytes()));
            manifest["config"]["size"] = json!(config.len());
            manifest["layers"] = json!([layer]);
            origin.put_manifest("org/app:1", media_type::OCI_MANIFEST, manifest.to_string().as_bytes());
        },
    ),
    Situation::tags("gcr.io", "a list of tags that also tells of every manifest, 6 MiB", |origin| {
        image::real(origin);
        origin.quirk(
            "tags/list",
            quirk::change(|reply| {
                let mut list: Value = serde_json::from_slice(&reply.bytes).expect("a list");
                list["manifest"] = json!({"sha256:0": {"tag": ["x".repeat(6 << 20)]}});
                reply.has(list.to_string())
            }),
        );
    }),
    Situation::tags("Harbor", "a list of tags is text/plain", |origin| {
        image::real(origin);
        origin.quirk("tags/list", quirk::change(|reply| reply.with("content-type", "text/plain")));
    }),
    Situation::tags("GitLab", "a list of tags is limited (429), once", |origin| {
        image::real(origin);
        origin.quirk("tags/list", once(|| Reply::status(429).with("retry-after", "1")));
    }),
];

/// A manifest is not found by a request whose lines of `Accept` are not these.
fn accepts(are_right: fn(&[String]) -> bool) -> Quirk {
    quirk::answer(move |asked| {
        let lines = asked.headers.get_all(header::ACCEPT).iter();
        let lines: Vec<String> = lines.map(|line| line.to_str().expect("text").to_owned()).collect();
        (!are_right(&lines)).then(|| Reply::status(404))
    })
}

/// This answer for the first request.
fn once(reply: fn() -> Reply) -> Quirk {
    let asked = AtomicUsize::new(0);
    quirk::answer(move |_| (asked.fetch_add(1, Ordering::SeqCst) == 0).then(reply))
}

/// This answer for the first GET of each thing.
fn first_of_each(reply: fn() -> Reply) -> Quirk {
    let asked = std::sync::Mutex::new(Vec::new());
    quirk::answer(move |one| {
        let mut asked = asked.lock().expect("no panic before");
        let is_first = one.method == http::Method::GET && !asked.contains(&one.target);
        if is_first {
            asked.push(one.target.clone());
        }
        is_first.then(reply)
    })
}
