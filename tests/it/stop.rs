//! An end in order: what runs is finished within its time, or given up.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use rustix::process::Signal;
use tokio::sync::watch;

use crate::support::hubcap::{Hubcap, Place, blob, command, manifest};
use crate::support::image;
use crate::support::origin::{Origin, quirk};
use crate::support::{eventually, noise};

/// A daemon in the midst of a fill, and the client of it. A connection that takes over brings a part of the rest, too.
async fn filling(gate: watch::Receiver<bool>) -> (Origin, Place, Hubcap, String, Vec<u8>) {
    let (origin, place) = (Origin::start().await, Place::new());
    let content = noise(6 << 20, 1);
    let digest = origin.put_blob(&content);
    origin.quirk(&digest, quirk::gate(1 << 20, gate));
    let hubcap = place.start(&origin.url(), &[]);
    (origin, place, hubcap, digest, content)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_lets_answers_and_fills_finish() {
    let (open, gate) = watch::channel(false);
    let (_origin, place, hubcap, digest, content) = filling(gate).await;
    let mut stays = hubcap.get(&blob("a", &digest)).await.bytes_stream();
    let mut received = stays.next().await.expect("a chunk").expect("bytes").to_vec();
    hubcap.signal(Signal::TERM);
    eventually("the word of it", || hubcap.log().contains("stopping")).await;
    open.send(true).expect("the origin waits");
    while let Some(chunk) = stays.next().await {
        received.extend_from_slice(&chunk.expect("bytes"));
    }
    assert!(received == content);
    // Not another signal, which would not wait.
    assert_eq!(hubcap.wait(), Some(0));
    assert_eq!(place.blobs(), [digest]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fill_whose_client_has_left_is_finished_as_well() {
    let (open, gate) = watch::channel(false);
    let (_origin, place, hubcap, digest, _content) = filling(gate).await;
    let mut leaves = hubcap.get(&blob("a", &digest)).await.bytes_stream();
    leaves.next().await.expect("a chunk").expect("bytes");
    drop(leaves);
    eventually("its end", || hubcap.log().contains("the client left")).await;
    hubcap.signal(Signal::TERM);
    eventually("the word of it", || hubcap.log().contains("stopping")).await;
    open.send(true).expect("the origin waits");
    // Not another signal, which would not wait.
    assert_eq!(hubcap.wait(), Some(0));
    assert_eq!(place.blobs(), [digest]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fill_that_does_not_end_is_given_up_and_a_second_signal_does_not_wait_for_it() {
    for signals in [1, 2] {
        let (_open, gate) = watch::channel(false);
        let (origin, place, hubcap, digest, _content) = filling(gate).await;
        let mut client = hubcap.get(&blob("a", &digest)).await.bytes_stream();
        client.next().await.expect("a chunk").expect("bytes");
        let since = Instant::now();
        hubcap.signal(Signal::TERM);
        eventually("the word of it", || hubcap.log().contains("stopping")).await;
        if signals == 2 {
            hubcap.signal(Signal::TERM);
        }
        let end = if signals == 2 { "stopped at once" } else { "after 10 s; they are given up" };
        eventually(end, || hubcap.log().contains(end)).await;
        assert_eq!(hubcap.wait(), Some(0));
        assert!(signals == 2 || since.elapsed() >= Duration::from_secs(9), "{:?}", since.elapsed());
        assert!(place.blobs().is_empty());
        origin.heal();
        let hubcap = place.start(&origin.url(), &[]);
        assert_eq!(place.ingests(), 0);
        assert_eq!(hubcap.get(&blob("a", &digest)).await.bytes().await.expect("a body").len(), 6 << 20);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn down_takes_its_steps_where_the_daemon_hangs_and_tells_no_key() {
    let (origin, place) = (Origin::start().await, Place::new());
    image::put(&origin, "library/x:1", &[b"layer"]);
    let hubcap = place.start(&origin.url(), &[]);
    assert_eq!(hubcap.get(&manifest("x", "1")).await.status(), 200);
    hubcap.signal(Signal::STOP);
    let output = place.dir.path().join("output");
    let mut down = command(place.dir.path());
    down.arg("down").arg("--store").arg(place.store()).arg("--state").arg(place.state());
    down.env("GITHUB_ACTIONS", "true").env("GITHUB_OUTPUT", &output);
    down.env("GITHUB_WORKSPACE", place.dir.path());
    let done =
        tokio::task::spawn_blocking(move || down.output().expect("hubcap starts")).await.expect("ended");
    hubcap.signal(Signal::CONT);
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success() && said.contains("cannot be asked"), "{said}");
    let told = std::fs::read_to_string(&output).expect("outputs");
    assert!(told.contains("store=") && !told.contains("key="), "{told}");
}
