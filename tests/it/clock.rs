//! A clock that is set while hubcap runs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::hubcap::{Hubcap, Place, manifest, status};
use crate::support::image;
use crate::support::origin::Origin;
use crate::support::programs::{program, succeed};

/// The clock on the wall of one process, by libfaketime. Its other clocks are right.
struct Clock {
    ahead: PathBuf,
}

impl Clock {
    /// Puts a process that is not started yet under a clock that can be set.
    fn of(command: &mut std::process::Command, place: &Place) -> Self {
        let clock = Self { ahead: place.dir.path().join("clock") };
        clock.set(0);
        command.env("LD_PRELOAD", library()).env("FAKETIME_TIMESTAMP_FILE", &clock.ahead);
        command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        clock
    }

    /// So many seconds ahead of the true time.
    fn set(&self, ahead: i64) {
        let new = self.ahead.with_extension("new");
        std::fs::write(&new, format!("{ahead:+}s")).expect("written");
        std::fs::rename(new, &self.ahead).expect("renamed");
    }
}

fn library() -> PathBuf {
    let directories = std::fs::read_dir("/usr/lib").expect("/usr/lib").flatten();
    let found = directories.map(|directory| directory.path().join("faketime/libfaketimeMT.so.1"));
    found.into_iter().find(|path: &PathBuf| Path::exists(path)).expect("libfaketime; tests/run installs it")
}

async fn served(hubcap: &Hubcap) -> (String, Vec<u8>) {
    let answer = hubcap.get(&manifest("x", "1")).await;
    (status(&answer), answer.bytes().await.expect("a body").to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_while_hubcap_runs_makes_no_tag_fresh() {
    const DAY: i64 = 86_400;
    let (origin, place) = (Origin::start().await, Place::new());
    image::put(&origin, "library/x:1", &[b"first"]);
    let mut command = place.serve(&origin.url(), &["--tag-ttl", "1h"]);
    let clock = Clock::of(&mut command, &place);
    let hubcap = Hubcap::spawn(command);
    served(&hubcap).await;
    assert!(served(&hubcap).await.0.starts_with("hubcap; hit; ttl="));
    for ahead in [-DAY, 0, DAY, 0, 30 * DAY, 2 * DAY] {
        let moved = image::put(&origin, "library/x:1", &[format!("{ahead}").as_bytes()]);
        clock.set(ahead);
        let (told, body) = served(&hubcap).await;
        assert_eq!((told.as_str(), body), ("hubcap; fwd=stale; fwd-status=200; stored", moved.manifest));
        let (told, _) = served(&hubcap).await;
        assert!(told.starts_with("hubcap; hit; ttl="), "validated by this clock: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_makes_no_tag_fresh_whose_time_had_passed() {
    let (origin, place) = (Origin::start().await, Place::new());
    image::put(&origin, "library/x:1", &[b"old"]);
    let mut command = place.serve(&origin.url(), &["--tag-ttl", "3s"]);
    let clock = Clock::of(&mut command, &place);
    let hubcap = Hubcap::spawn(command);
    served(&hubcap).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    // Four seconds old; by this clock, one.
    clock.set(-3);
    let moved = image::put(&origin, "library/x:1", &[b"new"]);
    assert_eq!(served(&hubcap).await.1, moved.manifest);
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_good_after_a_clock_that_was_ahead_is_set_right() {
    let (origin, place) = (Origin::start().await, Place::new());
    let mut command = place.serve(&origin.url(), &[]);
    let clock = Clock::of(&mut command, &place);
    clock.set(400 * 86_400);
    let hubcap = Hubcap::spawn(command);
    clock.set(0);
    // It looks at the time of the CA's certificate, too.
    let mut openssl = program("openssl");
    openssl.args(["s_client", "-connect", hubcap.https.trim_start_matches("https://")]);
    openssl.args(["-verify_return_error", "-CAfile"]).arg(place.state().join("ca.pem"));
    let told = succeed(&mut openssl);
    assert!(told.contains("Verify return code: 0 (ok)"), "{told}");
}
