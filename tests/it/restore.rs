//! A store that comes in from the cache service while the job goes on already: what may come is waited for, and what does
//! not come is fetched.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::response::IntoResponse as _;
use http::{Request, StatusCode, header};
use tokio::sync::watch;

use crate::referrers::dockerd29::{Attested, pull};
use crate::support::hubcap::{Hubcap, Place, blob, header as told, manifest, run, status};
use crate::support::image::{self, Image};
use crate::support::origin::{Origin, quirk};
use crate::support::{eventually, noise};

/// More than one part of an archive, in bytes.
const LARGE: usize = 5 << 20;
const SIGNATURE: &str = "s1gnature";

/// Stands in for the blob store behind the cache service: gives out what lies before the gate, and the rest when that is
/// opened.
struct Service {
    url: String,
    gate: watch::Sender<bool>,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Service {
    async fn start(archive: Vec<u8>, gate: usize) -> Self {
        Self::start_with(archive, gate, true).await
    }

    /// One that knows no ranges sends everything; the gate is in front of that.
    async fn start_with(archive: Vec<u8>, gate: usize, ranges: bool) -> Self {
        let (open, opened) = watch::channel(false);
        let app = axum::Router::new().fallback(async move |request: Request<Body>| {
            let range =
                request.headers().get(header::RANGE).expect("a range").to_str().expect("text").to_owned();
            let (start, end) = range["bytes=".len()..].split_once('-').expect("two ends");
            let (start, end): (usize, usize) =
                (start.parse().expect("a number"), end.parse().expect("a number"));
            let end = (end + 1).min(archive.len());
            if end > gate {
                let _ = opened.clone().wait_for(|open| *open).await;
            }
            if !ranges {
                return archive.clone().into_response();
            }
            let range = format!("bytes {start}-{}/{}", end - 1, archive.len());
            let answer = [(header::CONTENT_RANGE, range)];
            (StatusCode::PARTIAL_CONTENT, answer, archive[start..end].to_vec()).into_response()
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/archive?sig={SIGNATURE}", listener.local_addr().expect("an address"));
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.expect("a server") });
        Self { url, gate: open, serving }
    }

    fn open(&self) {
        self.gate.send_replace(true);
    }
}

/// A store of an earlier job, the digest and contents of its layers, and how it is archived.
struct Earlier {
    origin: Origin,
    image: Image,
    other: Image,
    key: String,
    place: Place,
}

impl Earlier {
    async fn new() -> Self {
        let origin = Origin::start().await;
        let image = image::put(&origin, "library/x:1", &[&noise(LARGE, 1), &noise(LARGE, 2)]);
        let other = image::put(&origin, "library/other:1", &[&noise(70_000, 3)]);
        let place = Place::new();
        let hubcap = place.start(&origin.url(), &[]);
        for (name, image) in [("x", &image), ("other", &other)] {
            assert_eq!(hubcap.get(&manifest(name, "1")).await.status(), 200);
            for digest in &image.blobs {
                hubcap.get(&blob(name, digest)).await.bytes().await.expect("a body");
            }
        }
        assert_eq!(hubcap.stop(), Some(0));
        let key = key(&place);
        origin.forget();
        Self { origin, image, other, key, place }
    }

    /// The files in the order of `first`, the others behind them; and how many bytes that is before the second of them.
    fn archive(&self, first: &[&str], change: impl Fn(&str, &mut Vec<u8>)) -> (Vec<u8>, usize) {
        let mut names: Vec<String> =
            first.iter().map(|digest| format!("blobs/{}", digest.replace(':', "/"))).collect();
        let others = self.place.blobs().into_iter().filter(|digest| !first.contains(&digest.as_str()));
        names.extend(others.map(|digest| format!("blobs/{}", digest.replace(':', "/"))));
        names.extend(["index.json", "oci-layout", "lock"].map(Into::into));
        let (mut tar, mut gate) = (tar::Builder::new(Vec::new()), 0);
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_size(0);
        header.set_mode(0o700);
        tar.append_data(&mut header, ".hubcap/blobs/sha256", std::io::empty()).expect("a member");
        for (number, name) in names.iter().enumerate() {
            if number == 1 {
                gate = tar.get_ref().len();
            }
            let mut bytes = std::fs::read(self.place.store().join(name)).expect("a file");
            change(name, &mut bytes);
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            // One of a time that there cannot be is taken all the same.
            header.set_mtime(if name.contains("sha256") && number == 1 { u64::MAX } else { 1_700_000_000 });
            tar.append_data(&mut header, Path::new(".hubcap").join(name), bytes.as_slice())
                .expect("a member");
        }
        (tar.into_inner().expect("a tar"), gate)
    }
}

fn key(place: &Place) -> String {
    let out = run(place.dir.path(), &["key", "--store", place.store().to_str().expect("text")]);
    String::from_utf8(out.stdout).expect("text").trim().to_owned()
}

fn start(place: &Place, origin: &Origin, service: &Service, more: &[&str]) -> Hubcap {
    let mut command = place.serve(&origin.url(), more);
    command.env("HUBCAP_RESTORE", &service.url);
    Hubcap::spawn(command)
}

async fn restored(hubcap: &Hubcap) {
    eventually("the end of the archive", || hubcap.log().contains("hubcap::restore")).await;
    assert!(!hubcap.log().contains(SIGNATURE), "{}", hubcap.log());
}

/// Opens the gate when what was asked before has been waiting for a while, in which other requests were answered.
async fn open_later(hubcap: &Hubcap, service: &Service, waits: &AtomicBool) {
    for _ in 0..50 {
        assert_eq!(hubcap.get("/v2/").await.status(), 200);
    }
    assert!(waits.load(Ordering::Relaxed), "what may come was not waited for: {}", hubcap.log());
    service.open();
}

async fn body(hubcap: &Hubcap, path: &str) -> (String, String) {
    let answer = hubcap.get(path).await;
    let status = status(&answer);
    (status, image::sha256(&answer.bytes().await.expect("a body")))
}

#[tokio::test]
async fn a_pull_is_answered_while_the_archive_still_comes_in_and_nothing_is_fetched_twice() {
    let earlier = Earlier::new().await;
    let [_, first, second] = earlier.image.blobs.as_slice() else { panic!("a configuration and two layers") };
    let (archive, gate) = earlier.archive(&[first], |_, _| {});
    // Parts are of 4 MiB: the one in which the first layer ends is before the gate.
    let service = Service::start(archive, (gate.div_ceil(4 << 20)) * (4 << 20)).await;
    let place = Place::new();
    let hubcap = start(&place, &earlier.origin, &service, &["--read-ahead"]);
    assert_eq!(hubcap.get(&manifest("x", "1")).await.status(), 200);
    assert_eq!(body(&hubcap, &blob("x", first)).await, ("hubcap; hit".into(), first.clone()));
    assert!(!hubcap.log().contains("hubcap::restore"), "it is not at its end: {}", hubcap.log());
    let path = blob("x", second);
    let waits = AtomicBool::new(true);
    let waiting = async {
        let answered = body(&hubcap, &path).await;
        waits.store(false, Ordering::Relaxed);
        assert_eq!(answered, ("hubcap; hit".into(), second.clone()));
    };
    tokio::join!(waiting, open_later(&hubcap, &service, &waits));
    restored(&hubcap).await;
    assert_eq!(earlier.origin.count(&http::Method::GET, "/blobs/"), 0, "{:?}", earlier.origin.log());
    assert_eq!(key(&place), earlier.key, "the same content as the earlier job's");
    // The other image was not used in this run.
    assert_eq!(hubcap.stop(), Some(0));
    let (store, state) = (place.store(), place.state());
    let paths = ["--store", store.to_str().expect("text"), "--state", state.to_str().expect("text")];
    let trimmed = run(place.dir.path(), &[&["trim", "--used-in-this-run"], paths.as_slice()].concat());
    assert!(trimmed.status.success(), "{trimmed:?}");
    assert!(place.blobs().contains(second) && !place.blobs().contains(&earlier.other.digest));
}

#[tokio::test]
async fn what_is_damaged_in_an_archive_or_missing_at_its_end_is_fetched() {
    let earlier = Earlier::new().await;
    let [config, first, second] = earlier.image.blobs.as_slice() else {
        panic!("a configuration and two layers")
    };
    let hex = |digest: &str| digest.replace("sha256:", "");
    let (mut archive, _) = earlier.archive(&[first, config, second], |name, bytes| {
        if name.ends_with(&hex(first)) {
            bytes[LARGE / 2] ^= 1;
        }
    });
    // In the midst of the second layer.
    archive.truncate(LARGE + LARGE / 2);
    let service = Service::start(archive, usize::MAX).await;
    let place = Place::new();
    let hubcap = start(&place, &earlier.origin, &service, &[]);
    for digest in [config, first, second] {
        assert_eq!(hubcap.get(&manifest("x", "1")).await.status(), 200);
        let (status, got) = body(&hubcap, &blob("x", digest)).await;
        assert_eq!((got.as_str(), status.contains("hit")), (digest.as_str(), digest == config), "{status}");
    }
    restored(&hubcap).await;
    assert!(hubcap.log().contains("was not restored, or not whole"), "{}", hubcap.log());
    assert_eq!(earlier.origin.count(&http::Method::GET, "/blobs/"), 2);
}

#[tokio::test]
async fn what_a_tag_means_comes_out_of_the_archive_when_nobody_can_be_asked() {
    let earlier = Earlier::new().await;
    let (archive, gate) = earlier.archive(&[&earlier.image.digest], |_, _| {});
    let cases =
        [(["--tag-ttl", "1m"].as_slice(), Some(quirk::status(503)), true), (&["--offline"], None, false)];
    for (more, fault, ranges) in cases {
        let service = Service::start_with(archive.clone(), gate, ranges).await;
        let place = Place::new();
        if let Some(fault) = fault {
            earlier.origin.quirk("/manifests/", fault);
        }
        let hubcap = start(&place, &earlier.origin, &service, more);
        let path = manifest("x", "1");
        let waits = AtomicBool::new(true);
        let asking = async {
            let answer = hubcap.get(&path).await;
            waits.store(false, Ordering::Relaxed);
            answer
        };
        let (answer, ()) = tokio::join!(asking, open_later(&hubcap, &service, &waits));
        assert_eq!(answer.status(), 200, "{}", hubcap.log());
        assert_eq!(told(&answer, "docker-content-digest"), earlier.image.digest);
        for digest in &earlier.image.blobs {
            assert_eq!(body(&hubcap, &blob("x", digest)).await.1, *digest);
        }
        restored(&hubcap).await;
        earlier.origin.heal();
    }
}

#[tokio::test]
async fn what_was_learned_since_the_start_is_newer_than_the_archive() {
    let earlier = Earlier::new().await;
    let moved = image::put(&earlier.origin, "library/x:1", &[&noise(50_000, 4)]);
    let (archive, _) = earlier.archive(&[], |_, _| {});
    let service = Service::start(archive, 0).await;
    let place = Place::new();
    let hubcap = start(&place, &earlier.origin, &service, &["--tag-ttl", "0s"]);
    let answer = hubcap.get(&manifest("x", "1")).await;
    assert_eq!(told(&answer, "docker-content-digest"), moved.digest);
    service.open();
    restored(&hubcap).await;
    earlier.origin.quirk("/manifests/", quirk::status(503));
    for (name, image) in [("x", &moved), ("other", &earlier.other)] {
        let answer = hubcap.get(&manifest(name, "1")).await;
        assert_eq!(told(&answer, "docker-content-digest"), image.digest, "{}", hubcap.log());
    }
    // What the tag meant before is still there, by its digest.
    let answer = hubcap.get(&manifest("x", &earlier.image.digest)).await;
    assert_eq!(status(&answer), "hubcap; hit");
}

#[tokio::test]
async fn an_archive_that_is_not_given_costs_a_warning_and_tells_no_secret() {
    let earlier = Earlier::new().await;
    for url in [
        format!("http://127.0.0.1:9/archive?sig={SIGNATURE}"),
        format!("{}/v2/?sig={SIGNATURE}", earlier.origin.url()),
    ] {
        let place = Place::new();
        let mut command = place.serve(&earlier.origin.url(), &[]);
        command.env("HUBCAP_RESTORE", url);
        let hubcap = Hubcap::spawn(command);
        for digest in &earlier.image.blobs {
            assert_eq!(body(&hubcap, &blob("x", digest)).await.1, *digest);
        }
        restored(&hubcap).await;
        assert!(hubcap.log().contains("was not restored"), "{}", hubcap.log());
    }
    let place = Place::new();
    let mut command = place.serve(&earlier.origin.url(), &[]);
    let refused = command.env("HUBCAP_RESTORE", format!("nowhere?{SIGNATURE}")).output().expect("it ends");
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(2) && words.contains("HUBCAP_RESTORE"), "{words}");
    assert!(!words.contains(SIGNATURE), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn attestations_and_lists_of_referrers_come_out_of_the_archive() {
    let (mut origin, place) = (Origin::start().await, Place::new());
    let image = Attested::put(&origin);
    let earlier = place.start(&origin.url(), &[]);
    let pulled = pull(&earlier).await.expect("all of it");
    assert_eq!(earlier.stop(), Some(0));
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_dir_all(".hubcap", place.store()).expect("an archive");
    let service = Service::start(archive.into_inner().expect("a tar"), usize::MAX).await;
    origin.die().await;
    let fresh = Place::new();
    let hubcap = start(&fresh, &origin, &service, &[]);
    restored(&hubcap).await;
    assert_eq!(pull(&hubcap).await, Ok(pulled), "{}", hubcap.log());
    let list = hubcap.get(&format!("/v2/app/referrers/{}", image.attestation.digest)).await;
    assert!(status(&list).ends_with("detail=stale-if-error"), "{}", status(&list));
    assert!(list.text().await.expect("a list").contains(&image.signature.digest));
}
