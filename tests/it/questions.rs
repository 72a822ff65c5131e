//! Questions for manifests: what hangs, and who waits for it, keeps nobody else.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;

use crate::support::hubcap::{Hubcap, Place, manifest};
use crate::support::origin::{Act, Origin, Quirk, quirk};
use crate::support::{eventually, image};
use crate::waits::with_64_connections;

#[tokio::test(flavor = "multi_thread")]
async fn questions_have_places_and_end_when_nobody_waits() {
    // As 256 open files allow; a registry alone gets half of them.
    const PLACES: usize = 32;
    let (origin, place) = (Origin::start().await, Place::new());
    for name in ["org/good:1", "org/good:2"] {
        image::put(&origin, name, &[name.as_bytes()]);
    }
    origin.quirk("/v2/org/slow", quirk::hang());
    let hubcap =
        Hubcap::spawn(with_64_connections(&place.serve(&origin.url(), &["--upstream-timeout", "120s"])));
    assert_eq!(hubcap.get(&manifest("org/good", "1")).await.status(), 200);
    let files = hubcap.open_files();
    let asking = (0..48).map(async |number| {
        let path = manifest(&format!("org/slow{number}"), "1");
        tokio::time::timeout(Duration::from_secs(1), hubcap.get(&path)).await
    });
    assert!(join_all(asking).await.iter().all(Result::is_err), "they have no answer");
    let asked = origin.count(&Method::GET, "/v2/org/slow");
    assert!((1..=PLACES / 2).contains(&asked), "{asked}");
    assert_eq!(hubcap.get(&manifest("org/good", "2")).await.status(), 200, "{}", hubcap.log());
    eventually("their connections are closed", || hubcap.open_files() <= files + 2).await;
    assert_eq!(origin.count(&Method::GET, "/v2/org/slow"), asked, "what nobody waits for is not asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_wait_for_repositories_that_never_answer_keep_nobody_from_the_others() {
    let (origin, place) = (Origin::start().await, Place::new());
    image::put(&origin, "org/good:1", &[b"layer"]);
    origin.quirk("/v2/org/slow", quirk::hang());
    let hubcap = place.start(&origin.url(), &["--upstream-timeout", "120s"]);
    let asking =
        join_all((0..300).map(async |number| hubcap.get(&manifest(&format!("org/slow{number}"), "1")).await));
    let good = async {
        eventually("they are asked for", || origin.count(&Method::GET, "/v2/org/slow") == 300).await;
        let begun = Instant::now();
        assert_eq!(hubcap.get(&manifest("org/good", "1")).await.status(), 200, "{}", hubcap.log());
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    };
    tokio::select! {
        answers = asking => panic!("{} answers", answers.len()),
        () = good => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_anothers_question_that_hangs_asks_as_well() {
    let (origin, place) = (Origin::start().await, Place::new());
    image::put(&origin, "org/app:1", &[b"layer"]);
    let asked = AtomicUsize::new(0);
    origin.quirk(
        "/manifests/",
        Quirk::new(move |_| (asked.fetch_add(1, Ordering::Relaxed) == 0).then_some(Act::Hang)),
    );
    let hubcap = place.start(&origin.url(), &["--upstream-timeout", "120s"]);
    let path = manifest("org/app", "1");
    let first = hubcap.get(&path);
    let second = async {
        eventually("the first asks", || origin.count(&Method::GET, "/manifests/") == 1).await;
        hubcap.get(&path).await
    };
    tokio::select! {
        _ = first => panic!("the first has an answer"),
        answer = second => assert_eq!(answer.status(), 200),
    }
}
