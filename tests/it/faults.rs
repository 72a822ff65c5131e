//! Every fault of the origin, for manifests and blobs, against every state of the store. The table that comes of it is
//! docs/reliability.md; with HUBCAP_WRITE_DOCS=1 it is written, else compared.

use std::fmt::Write as _;
use std::sync::Arc;

use futures_util::StreamExt as _;
use tokio::sync::Semaphore;

use crate::support::docs::assert_table;
use crate::support::hubcap::{Hubcap, Place, blob, manifest, status};
use crate::support::image::{self, Image};
use crate::support::noise;
use crate::support::origin::{Origin, Quirk, quirk};

/// What a request asks for, and what is in the store when the fault begins.
#[derive(Debug, Clone, Copy)]
enum Cell {
    ManifestCold,
    ManifestWarm,
    ManifestStale,
    BlobCold,
    BlobWarm,
    BlobDamaged,
}

const CELLS: [(Cell, &str); 6] = [
    (Cell::ManifestCold, "manifest, cold"),
    (Cell::ManifestWarm, "warm"),
    (Cell::ManifestStale, "past its TTL"),
    (Cell::BlobCold, "blob, cold"),
    (Cell::BlobWarm, "warm"),
    (Cell::BlobDamaged, "damaged on the disk"),
];

fn faults() -> Vec<(&'static str, Option<Vec<Quirk>>)> {
    vec![
        ("none", Some(vec![quirk::slow()])),
        ("the origin is gone", None),
        ("no answer", Some(vec![quirk::hang()])),
        ("500", Some(vec![quirk::status(500)])),
        ("503 with Retry-After", Some(vec![quirk::retry_after(503, 60)])),
        ("429", Some(vec![quirk::status(429)])),
        ("429 with Retry-After", Some(vec![quirk::retry_after(429, 60)])),
        ("404", Some(vec![quirk::status(404)])),
        ("403", Some(vec![quirk::status(403)])),
        ("400", Some(vec![quirk::status(400)])),
        ("a web page", Some(vec![quirk::html()])),
        ("redirects for ever", Some(vec![quirk::redirect_loop()])),
        ("cut once in the middle", Some(vec![quirk::cut_once(100)])),
        ("always cut at one byte", Some(vec![quirk::cut_at(100)])),
        ("cut once, and ranges ignored", Some(vec![quirk::no_ranges(), quirk::cut_once(100)])),
        ("an empty body", Some(vec![quirk::empty()])),
        ("a wrong last byte", Some(vec![quirk::flip()])),
        ("no length told", Some(vec![quirk::no_length()])),
        ("a body without end", Some(vec![quirk::endless()])),
    ]
}

/// What a client got.
async fn play(cell: Cell, fault: Option<Vec<Quirk>>) -> String {
    let (mut origin, place) = (Origin::start().await, Place::new());
    let layer = noise(300_000, 5);
    let image = image::put(&origin, "library/x:1", &[&layer]);
    let stale = matches!(cell, Cell::ManifestStale);
    let options: &[&str] =
        if stale { &["--tag-ttl", "0s", "--upstream-timeout", "3s"] } else { &["--upstream-timeout", "3s"] };
    let mut hubcap = place.start(&origin.url(), options);
    let digest = &image.blobs[1];
    let path = match cell {
        Cell::ManifestCold | Cell::ManifestWarm | Cell::ManifestStale => manifest("x", "1"),
        Cell::BlobCold | Cell::BlobWarm | Cell::BlobDamaged => blob("x", digest),
    };
    if matches!(cell, Cell::BlobCold) {
        // As a client does: the manifest first.
        assert_eq!(hubcap.get(&manifest("x", "1")).await.status(), 200);
    }
    if !matches!(cell, Cell::ManifestCold | Cell::BlobCold) {
        assert_eq!(hubcap.get(&manifest("x", "1")).await.status(), 200);
        assert_eq!(hubcap.get(&blob("x", digest)).await.bytes().await.expect("a body").len(), layer.len());
    }
    if matches!(cell, Cell::BlobDamaged) {
        assert_eq!(hubcap.stop(), Some(0));
        let file = place.store().join("blobs/sha256").join(digest.trim_start_matches("sha256:"));
        let mut damaged = layer.clone();
        damaged[200_000] ^= 1;
        std::fs::write(file, damaged).expect("written");
        hubcap = place.start(&origin.url(), options);
    }
    match fault {
        None => origin.die().await,
        Some(quirks) => {
            for quirk in quirks {
                origin.quirk("/v2/library", quirk);
            }
        }
    }
    let right: &[u8] = if path.contains("/blobs/") { &layer } else { &image.manifest };
    let got = get(&hubcap, &path, right).await;
    check_store(&place, &image);
    got
}

/// Never wrong bytes, and never a short body that looks whole.
async fn get(hubcap: &Hubcap, path: &str, right: &[u8]) -> String {
    let answer = hubcap.get(path).await;
    let (code, told) = (answer.status().as_u16(), status(&answer));
    if code != 200 {
        return code.to_string();
    }
    let mut body = answer.bytes_stream();
    let mut received = Vec::new();
    while let Some(chunk) = body.next().await {
        match chunk {
            // One byte too many is enough of a body that does not end.
            Ok(chunk) => {
                let room = (right.len() + 1).saturating_sub(received.len()).min(chunk.len());
                received.extend_from_slice(&chunk[..room]);
            }
            Err(_) => {
                assert!(received.len() != right.len(), "a cut after everything");
                return "cut".into();
            }
        }
    }
    assert!(received == right, "{path}: wrong bytes, told as {told}");
    let hit = told.starts_with("hubcap; hit");
    let how = match told.rsplit_once("detail=") {
        Some((_, "stale-if-error")) => "stale",
        Some((_, "no-room")) => "past the store",
        _ if hit => "hit",
        _ => "fetched",
    };
    format!("right, {how}")
}

/// What is in the store is what its name says, whatever came.
fn check_store(place: &Place, image: &Image) {
    for digest in place.blobs() {
        let path = place.store().join("blobs").join(digest.replace(':', "/"));
        let bytes = std::fs::read(path).expect("read");
        assert!(image::sha256(&bytes) == digest, "{digest} is wrong in the store of {}", image.digest);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_fault_of_the_origin_delivers_anything_wrong_and_the_table_of_them_is_in_the_docs() {
    let places = Arc::new(Semaphore::new(8));
    let mut running = Vec::new();
    for (at, (name, _)) in faults().into_iter().enumerate() {
        for (cell, _) in CELLS {
            // New ones for each cell: some remember what they did.
            let (fault, places) = (faults().swap_remove(at).1, Arc::clone(&places));
            running.push(tokio::spawn(async move {
                let _place = places.acquire_owned().await.expect("open");
                (name, play(cell, fault).await)
            }));
        }
    }
    let mut table =
        format!("| fault of the origin |{}\n|---|", CELLS.map(|(_, name)| format!(" {name} |")).concat());
    writeln!(table, "{}", "---|".repeat(CELLS.len())).expect("written");
    let mut cells = running.into_iter();
    let count = cells.len();
    for (name, _) in faults() {
        write!(table, "| {name} |").expect("written");
        for (cell, _) in CELLS {
            let (_, got) = cells.next().expect("a cell").await.expect("no panic");
            // What is here is served, whatever the origin does; a "no" alone counts for a tag that has to be checked.
            let served = got.starts_with("right");
            match cell {
                Cell::ManifestWarm | Cell::BlobWarm => assert_eq!(got, "right, hit", "{name}"),
                Cell::ManifestStale => {
                    assert!(served || matches!(name, "400" | "403" | "404"), "{name}: {got}");
                }
                _ => {
                    assert!(served || matches!(got.as_str(), "400" | "403" | "404" | "cut"), "{name}: {got}")
                }
            }
            write!(table, " {got} |").expect("written");
        }
        table.push('\n');
    }
    assert_eq!(count, faults().len() * CELLS.len());
    assert_table("reliability.md", "faults", &table);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_of_wrong_content_is_no_answer() {
    for size in [300_000, 20 << 20] {
        let (origin, place) = (Origin::start().await, Place::new());
        let digest = origin.put_blob(&noise(size, 1));
        origin.put_blob_as(&digest, &noise(size, 2));
        let hubcap = place.start(&origin.url(), &[]);
        for range in ["bytes=0-9", "bytes=-10", "bytes=0-9,200000-200009"] {
            let answer = hubcap.ask(reqwest::Method::GET, &blob("x", &digest), &[("range", range)]).await;
            assert_eq!(answer.status(), 404, "{size} {range} {}", hubcap.log());
        }
    }
}
