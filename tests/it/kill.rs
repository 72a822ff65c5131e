//! SIGKILL at any moment costs nothing but what was being written.

use std::collections::HashSet;
use std::time::Duration;

use crate::support::hubcap::{Place, blob, manifest, run, status};
use crate::support::image::{self, sha256};
use crate::support::noise;
use crate::support::origin::Origin;

const ROUNDS: u64 = 200;

/// The same each run, spread over all moments of a round.
fn moment(round: u64) -> Duration {
    let spread = u64::from_le_bytes(noise(8, round + 1).try_into().expect("8 bytes"));
    Duration::from_micros(spread % 45_000)
}

fn verify(place: &Place) {
    let verified = run(place.dir.path(), &["verify", "--store", place.store().to_str().expect("text")]);
    assert_eq!(verified.status.code(), Some(0), "{}", String::from_utf8_lossy(&verified.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_kills_lose_no_committed_blob_and_leave_no_wrong_one() {
    let (origin, place) = (Origin::start().await, Place::new());
    let mut committed: HashSet<String> = HashSet::new();
    let mut before: Vec<(String, String)> = Vec::new();
    let (mut hits, mut cut) = (0, 0);
    for round in 0..ROUNDS {
        let name = format!("library/x{round}");
        let layers: Vec<Vec<u8>> =
            (0..4).map(|n| noise(40_000 + 60_000 * n, round * 10 + n as u64)).collect();
        let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
        let image = image::put(&origin, &format!("{name}:1"), &layers);
        let hubcap = place.start(&origin.url(), &[]);
        let here: HashSet<String> = place.blobs().into_iter().collect();
        assert!(committed.is_subset(&here), "round {round}: lost {:?}", committed.difference(&here));
        // What a client had whole before the last kill is a hit after it, and right.
        for (name, digest) in before.drain(..) {
            let answer = hubcap.get(&blob(&name, &digest)).await;
            assert_eq!(status(&answer), "hubcap; hit", "round {round}: {digest}");
            assert_eq!(sha256(&answer.bytes().await.expect("a body")), digest);
            hits += 1;
        }
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let pull = async |path: String| {
            let answer = client.get(format!("{}{path}", hubcap.http)).send().await.ok()?;
            answer.status().is_success().then_some(())?;
            answer.bytes().await.ok()
        };
        let pulls = async {
            if pull(manifest(&name, "1")).await.is_none() {
                return Vec::new();
            }
            let all = image.blobs.iter().map(async |digest| {
                let whole = pull(blob(&name, digest)).await.is_some_and(|body| sha256(&body) == *digest);
                (digest.clone(), whole)
            });
            futures_util::future::join_all(all).await
        };
        let killing = async {
            tokio::time::sleep(moment(round)).await;
            if round % 5 == 0 {
                // In the midst of an orderly end.
                hubcap.signal(rustix::process::Signal::TERM);
                tokio::time::sleep(moment(round + 1000) / 10).await;
            }
            hubcap.signal(rustix::process::Signal::KILL);
        };
        let (pulled, ()) = tokio::join!(pulls, killing);
        drop(hubcap);
        before = pulled
            .iter()
            .filter(|(_, whole)| *whole)
            .map(|(digest, _)| (name.clone(), digest.clone()))
            .collect();
        cut += pulled.len() - before.len();
        for digest in place.blobs() {
            if committed.insert(digest.clone()) {
                let path = place.store().join("blobs").join(digest.replace(':', "/"));
                assert_eq!(sha256(&std::fs::read(path).expect("read")), digest, "round {round}");
            }
        }
        for (_, digest) in &before {
            assert!(committed.contains(digest), "round {round}: {digest} was delivered and is not stored");
        }
        if round % 25 == 0 {
            verify(&place);
        }
    }
    // A last start, which has to open what the last kill left.
    assert_eq!(place.start(&origin.url(), &[]).stop(), Some(0));
    verify(&place);
    println!(
        "{ROUNDS} kills: {} blobs committed, {hits} served after a kill, {cut} fetches cut, 0 lost, 0 wrong",
        committed.len()
    );
    assert!(hits > 0 && cut > 0, "the kills did not come at different moments: {hits} hits, {cut} cut");
}
