//! Naming a digest is no permission: what a manifest says of a content gives nobody the content, nor another name.

use hubcap_oci::media_type;
use serde_json::json;

use crate::support::hubcap::{Hubcap, Place, blob, command, header, manifest, run};
use crate::support::image::{self, Image, sha256};
use crate::support::noise;
use crate::support::origin::{Origin, Reply, quirk};

pub(crate) const SECRET: &str = "Bearer client-s3cret";
pub(crate) const EVIL: &str = "evil.test";

/// A registry with a private image, and another one with a public manifest that names the private image's layer, which that
/// registry does not have.
pub(crate) struct World {
    pub(crate) origin: Origin,
    pub(crate) evil: Origin,
    pub(crate) private: Image,
    pub(crate) named: Image,
    pub(crate) place: Place,
}

impl World {
    pub(crate) async fn new() -> Self {
        let (origin, evil) = (Origin::start().await, Origin::start().await);
        let layer = noise(200_000, 1);
        let private = image::put(&origin, "org/private:1", &[&layer]);
        origin.make_private("org/private", "me:hunter2", SECRET);
        let named = image::put(&evil, "evil/image:1", &[&layer]);
        evil.quirk(&format!("/blobs/{}", private.blobs[1]), quirk::status(404));
        Self { origin, evil, private, named, place: Place::new() }
    }

    pub(crate) fn start(&self) -> Hubcap {
        let evil = format!("{EVIL}={}", self.evil.url());
        self.place.start(&self.origin.url(), &["--upstream", &evil])
    }

    /// A client with a login pulls the private image, and another one the manifest that names its layer.
    pub(crate) async fn pull(&self, hubcap: &Hubcap) {
        for path in [manifest("org/private", "1"), blob("org/private", &self.private.blobs[1])] {
            assert_eq!(hubcap.get_as(&path, Some(SECRET)).await.status(), 200, "{path}");
        }
        let named = format!("{}?ns={EVIL}", manifest("evil/image", "1"));
        assert_eq!(hubcap.get(&named).await.status(), 200);
    }

    /// The status of the private layer as one of the other registry.
    async fn stolen(&self, hubcap: &Hubcap) -> u16 {
        let path = format!("{}?ns={EVIL}", blob("evil/image", &self.private.blobs[1]));
        hubcap.get(&path).await.status().as_u16()
    }

    pub(crate) fn has_layer(&self) -> bool {
        self.place.blobs().contains(&self.private.blobs[1])
    }

    pub(crate) fn gc_private(&self) {
        let store = self.place.store();
        let gc = run(self.place.dir.path(), &["gc", "--private", "--store", store.to_str().expect("text")]);
        assert!(gc.status.success(), "{}", String::from_utf8_lossy(&gc.stderr));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_names_a_private_layer_gives_nobody_the_layer() {
    let world = World::new().await;
    let hubcap = world.start();
    world.pull(&hubcap).await;
    assert_eq!(world.stolen(&hubcap).await, 404);
    assert_eq!(hubcap.stop(), Some(0));
    // Nor what is made anew of the manifests.
    std::fs::remove_dir_all(world.place.store().join("index-sled034-v2")).expect("removed");
    let hubcap = world.start();
    assert_eq!(world.stolen(&hubcap).await, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_anybody_may_have_of_a_repository_makes_nothing_public_that_a_login_brought() {
    let world = World::new().await;
    let hubcap = world.start();
    world.pull(&hubcap).await;
    let layer = blob("org/private", &world.private.blobs[1]);
    let demo = image::put(&world.origin, "org/demo:1", &[b"demo"]).manifest;
    let page = Vec::from(r#"{"config":"login required"}"#);
    for (tag, bytes, media_type, status) in
        [("demo", demo, media_type::OCI_MANIFEST, 200), ("1", page, "application/json", 404)]
    {
        let answer = move || Reply::new(bytes.clone()).with("content-type", media_type);
        world.origin.quirk(
            &format!("/org/private/manifests/{tag}"),
            quirk::answer(move |asked| {
                let is_strangers = asked.headers.get("authorization").is_none_or(|shown| shown != SECRET);
                is_strangers.then(&answer)
            }),
        );
        assert_eq!(hubcap.get(&manifest("org/private", tag)).await.status(), status, "{tag}");
        assert_ne!(hubcap.get(&layer).await.status(), 200, "{tag}");
    }
    assert_eq!(hubcap.stop(), Some(0));
    world.gc_private();
    assert!(!world.has_layer());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_layer_goes_with_what_is_private_though_a_public_manifest_names_it() {
    let world = World::new().await;
    let hubcap = world.start();
    world.pull(&hubcap).await;
    assert_eq!(hubcap.stop(), Some(0));
    assert!(world.has_layer());
    world.gc_private();
    assert!(!world.has_layer());
    assert!(world.place.blobs().contains(&world.named.digest), "what is public stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_layer_goes_though_no_image_needs_it() {
    let world = World::new().await;
    let hubcap = world.start();
    let path = blob("org/private", &world.private.blobs[1]);
    assert_eq!(hubcap.get_as(&path, Some(SECRET)).await.status(), 200);
    assert_eq!(hubcap.stop(), Some(0));
    assert!(world.has_layer());
    world.gc_private();
    assert!(!world.has_layer());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_anybody_may_have_is_shared_without_asking() {
    let (origin, place) = (Origin::start().await, Place::new());
    let layer = noise(200_000, 2);
    let one = image::put(&origin, "library/one:1", &[&layer]);
    image::put(&origin, "library/two:1", &[&layer]);
    let hubcap = place.start(&origin.url(), &[]);
    for path in [manifest("one", "1"), blob("one", &one.blobs[1]), manifest("two", "1")] {
        assert_eq!(hubcap.get(&path).await.status(), 200, "{path}");
    }
    origin.forget();
    assert_eq!(header(&hubcap.get(&blob("two", &one.blobs[1])).await, "cache-status"), "hubcap; hit");
    assert_eq!(origin.log().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_registry_does_not_decide_what_anothers_manifest_is() {
    let (origin, evil, place) = (Origin::start().await, Origin::start().await, Place::new());
    // Without a media type of its own, as buildah and BuildKit wrote it for years.
    let bytes = json!({"schemaVersion": 2, "config": {"digest": sha256(b"c"), "size": 1}, "layers": []});
    let bytes = bytes.to_string();
    let digest = sha256(bytes.as_bytes());
    origin.put_manifest("library/app:1", media_type::OCI_MANIFEST, bytes.as_bytes());
    evil.put_manifest("evil/app:1", media_type::DOCKER_MANIFEST, bytes.as_bytes());
    let flag = format!("{EVIL}={}", evil.url());
    let start = || place.start(&origin.url(), &["--upstream", &flag, "--tag-ttl", "1h"]);
    let hubcap = start();
    let theirs = format!("{}?ns={EVIL}", manifest("evil/app", "1"));
    let all = [
        (theirs, media_type::DOCKER_MANIFEST),
        (manifest("app", "1"), media_type::OCI_MANIFEST),
        (manifest("app", &digest), media_type::OCI_MANIFEST),
    ];
    for (path, expected) in &all {
        assert_eq!(header(&hubcap.get(path).await, "content-type"), *expected, "{path}");
    }
    assert_eq!(hubcap.stop(), Some(0));
    let hubcap = start();
    for (path, expected) in all.iter().rev() {
        assert_eq!(header(&hubcap.get(path).await, "content-type"), *expected, "{path} after a restart");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_of_another_store_keeps_what_is_private_private() {
    let world = World::new().await;
    let hubcap = world.start();
    world.pull(&hubcap).await;
    assert_eq!(hubcap.stop(), Some(0));
    // The import is of whole images; the manifest that only names the layer is none.
    world.evil.heal();
    let hubcap = world.start();
    let config = format!("{}?ns={EVIL}", blob("evil/image", &world.named.blobs[0]));
    assert_eq!(hubcap.get(&config).await.status(), 200);
    let config = blob("org/private", &world.private.blobs[0]);
    assert_eq!(hubcap.get_as(&config, Some(SECRET)).await.status(), 200);
    assert_eq!(hubcap.stop(), Some(0));
    world.evil.quirk(&format!("/blobs/{}", world.private.blobs[1]), quirk::status(404));

    let text = |path: std::path::PathBuf| path.to_str().expect("text").to_owned();
    let World { origin, evil, private, named, place } = world;
    let other = World { origin, evil, private, named, place: Place::new() };
    let (from, to) = (text(place.store()), text(other.place.store()));
    let import = run(other.place.dir.path(), &["import", &from, "--store", &to]);
    assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
    assert!(other.has_layer());
    let hubcap = other.start();
    assert_eq!(other.stolen(&hubcap).await, 404);
    let answer = hubcap.get(&manifest("org/private", &other.private.digest)).await;
    assert_eq!(answer.status(), 403);
    assert_eq!(hubcap.stop(), Some(0));
    other.gc_private();
    assert!(!other.has_layer());
}

/// What `down` tells the job of the store's key; `None` when it tells none.
fn key_of_failed_job(world: &World) -> Option<String> {
    let output = world.place.dir.path().join("output");
    let _ = std::fs::remove_file(&output);
    let mut down = command(world.place.dir.path());
    down.args(["down", "--trim=false"]);
    down.arg("--store").arg(world.place.store()).arg("--state").arg(world.place.dir.path().join("another"));
    let ended =
        down.env("GITHUB_ACTIONS", "true").env("GITHUB_OUTPUT", &output).output().expect("hubcap starts");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let told = std::fs::read_to_string(&output).unwrap_or_default();
    told.lines().find_map(|line| line.strip_prefix("key=")).map(Into::into)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_of_a_job_that_failed_gets_its_key_without_what_is_private() {
    let world = World::new().await;
    let hubcap = world.start();
    world.pull(&hubcap).await;
    assert_eq!(hubcap.stop(), Some(0));
    assert!(key_of_failed_job(&world).is_some());
    assert!(!world.has_layer());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_keeps_something_private_gets_no_key() {
    let world = World::new().await;
    let hubcap = world.start();
    world.pull(&hubcap).await;
    // The daemon holds the store, so nothing can be removed from it.
    assert_eq!(key_of_failed_job(&world), None);
    assert!(world.has_layer());
    assert_eq!(hubcap.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registrys_yes_gives_nobody_what_only_another_registry_gave() {
    let world = World::new().await;
    let hubcap = world.start();
    world.pull(&hubcap).await;
    let secret = image::put(&world.origin, "org/private:2", &[b"secret"]).digest;
    world.evil.heal();
    // It says yes to every digest that it is asked for, and has none of them.
    world.evil.quirk(
        "/evil/",
        quirk::answer(|asked| {
            let digest = asked.path().rsplit('/').next().unwrap_or_default().to_owned();
            let media_type =
                if asked.path().contains("/manifests/") { media_type::OCI_MANIFEST } else { "a/b" };
            Some(
                Reply::new(vec![b'x'; 200_000])
                    .with("content-type", media_type)
                    .with("docker-content-digest", &digest),
            )
        }),
    );
    let paths = [
        (blob("evil/image", &world.private.blobs[1]), blob("org/private", &world.private.blobs[1])),
        (manifest("evil/image", &secret), manifest("org/private", &secret)),
    ];
    for (theirs, own) in &paths {
        for range in [None, Some(("range", "bytes=0-9"))] {
            let headers: Vec<_> = [("authorization", SECRET)].into_iter().chain(range).collect();
            let right = hubcap.ask(reqwest::Method::GET, own, &headers).await.bytes().await.expect("a body");
            let theirs = format!("{theirs}?ns={EVIL}");
            let answer = hubcap.ask(reqwest::Method::GET, &theirs, range.as_slice()).await;
            let given = answer.bytes().await.unwrap_or_default();
            assert!(given != right, "{theirs} {range:?}");
            // Nor is it everybody's by now.
            let answer = hubcap.get(own).await;
            assert!([401, 403].contains(&answer.status().as_u16()), "{own}: {}", answer.status());
        }
    }
    assert_eq!(hubcap.stop(), Some(0));
    world.gc_private();
    assert!(!world.has_layer());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_names_a_private_layer_gives_nobody_the_layer() {
    let world = World::new().await;
    let hubcap = world.start();
    world.pull(&hubcap).await;
    assert_eq!(hubcap.stop(), Some(0));
    let image = world.place.dir.path().join("image");
    let sha = |digest: &str| digest.trim_start_matches("sha256:").to_owned();
    let blobs = image.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).expect("made");
    let put = |digest: &str, bytes: &[u8]| std::fs::write(blobs.join(sha(digest)), bytes).expect("written");
    put(&world.named.digest, &world.named.manifest);
    put(&world.named.blobs[0], &world.origin.blob(&world.private.blobs[0]).expect("a configuration"));
    put(&world.private.blobs[1], b"who knows what");
    std::fs::write(image.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("written");
    let entry = json!({"mediaType": media_type::OCI_MANIFEST, "digest": world.named.digest,
        "size": world.named.manifest.len(), "annotations": {"org.opencontainers.image.ref.name": format!("{EVIL}/evil/image:1")}});
    let index = json!({"schemaVersion": 2, "manifests": [entry]}).to_string();
    std::fs::write(image.join("index.json"), index).expect("written");
    let store = world.place.store();
    let arguments = ["import", image.to_str().expect("text"), "--store", store.to_str().expect("text")];
    let import = run(world.place.dir.path(), &arguments);
    assert!(!import.status.success(), "{}", String::from_utf8_lossy(&import.stdout));
    assert!(world.has_layer(), "what was there stays");
    let hubcap = world.start();
    assert_eq!(world.stolen(&hubcap).await, 404);
    assert_eq!(hubcap.stop(), Some(0));
    // Who has all of it in the file may have it.
    put(&world.private.blobs[1], &world.origin.blob(&world.private.blobs[1]).expect("a layer"));
    let import = run(world.place.dir.path(), &arguments);
    assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_sent_other_bytes_under_a_digest_does_not_have_it() {
    let world = World::new().await;
    let hubcap = world.start();
    world.evil.heal();
    world.evil.quirk("/blobs/", quirk::flip());
    let path = format!("{}?ns={EVIL}", blob("evil/image", &world.private.blobs[1]));
    assert!(hubcap.get(&path).await.bytes().await.is_err(), "cut");
    world.evil.heal();
    world.evil.quirk(&format!("/blobs/{}", world.private.blobs[1]), quirk::status(404));
    world.pull(&hubcap).await;
    assert_eq!(world.stolen(&hubcap).await, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_gets_a_key_does_not_even_name_what_was_private() {
    let world = World::new().await;
    let hubcap = world.start();
    world.pull(&hubcap).await;
    assert_eq!(hubcap.stop(), Some(0));
    // What a kill in the midst of a download leaves, and what was found damaged.
    for directory in ["ingest", "quarantine"] {
        std::fs::write(world.place.store().join(directory).join("x\ny"), b"org/private").expect("written");
    }
    assert!(key_of_failed_job(&world).is_some());
    let mut rest = vec![world.place.store()];
    while let Some(path) = rest.pop() {
        if path.is_dir() {
            rest.extend(std::fs::read_dir(&path).expect("a directory").map(|one| one.expect("one").path()));
            continue;
        }
        let bytes = std::fs::read(&path).expect("read");
        let is_named = bytes.windows(11).any(|window| window == b"org/private");
        assert!(!is_named, "{}", path.display());
    }
    // The rest of the index is as it was.
    let hubcap = world.start();
    let answer = hubcap.get(&format!("{}?ns={EVIL}", manifest("evil/image", &world.named.digest))).await;
    assert_eq!(header(&answer, "cache-status"), "hubcap; hit");
    assert_eq!(world.stolen(&hubcap).await, 404);
}
