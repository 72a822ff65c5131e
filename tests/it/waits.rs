//! No wait is without an end: for a blob that comes slowly or not at all, for a place, for a connection. Documents are in `memory`.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use reqwest::Method;
use tokio::sync::watch;

use crate::support::hubcap::{Hubcap, Place, blob, manifest, status};
use crate::support::origin::{Act, Asked, Origin, Parts, Quirk, Reply, quirk};
use crate::support::{PATIENCE, eventually, image, noise, packed};

const MIB: usize = 1 << 20;

/// The first `count` bodies come at once up to `length` bytes, and then byte by byte.
fn fades(count: usize, length: usize) -> Quirk {
    let left = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(count));
    Quirk::new(move |asked| {
        let left = std::sync::Arc::clone(&left);
        if asked.method != Method::GET {
            return None;
        }
        Act::change(move |reply| {
            use std::sync::atomic::Ordering::SeqCst;
            let is_one =
                reply.is_content() && left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
            if !is_one {
                return reply;
            }
            reply.sent_by(move |mut bytes| {
                let head = bytes.split_to(length.min(bytes.len()));
                let drops = stream::unfold(bytes, async |mut rest| {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    let drop = (!rest.is_empty()).then(|| rest.split_to(1))?;
                    Some((drop, rest))
                });
                stream::iter([head]).chain(drops).map(Ok::<Bytes, _>)
            })
        })
    })
}

/// Fetches a blob whose first connection fades, and asserts that it is right. Over that one it would take a day.
async fn fetch_faded(faded: usize, at: usize, size: usize, more: Option<Quirk>) {
    let (origin, place) = (Origin::start().await, Place::new());
    let content = noise(size, 1);
    let digest = origin.put_blob(&content);
    // Before the one that decides: those after it are not asked.
    if let Some(more) = more {
        origin.quirk(&digest, more);
    }
    origin.quirk(&digest, fades(faded, at));
    let hubcap = place.start(&origin.url(), &[]);
    let getting = async { hubcap.get(&blob("x", &digest)).await.bytes().await };
    let got = tokio::time::timeout(2 * PATIENCE, getting).await;
    assert!(got.expect("another connection").expect("a body") == content, "wrong bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_whose_connection_fades_comes_over_another_one() {
    fetch_faded(1, MIB, 3 * MIB, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_whose_connections_fade_twice_comes_plainly() {
    fetch_faded(2, MIB, 3 * MIB, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_whose_connection_fades_is_begun_again_where_there_are_no_ranges() {
    fetch_faded(1, MIB, 3 * MIB, Some(quirk::no_ranges())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_blob_whose_first_connection_fades_comes_over_the_others() {
    fetch_faded(1, 2 * MIB, 96 * MIB, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fill_that_nobody_reads_ends() {
    let (origin, place) = (Origin::start().await, Place::new());
    let digest = origin.put_blob(&noise(8 * MIB, 2));
    let (_closed, gate) = watch::channel(false);
    origin.quirk(&digest, quirk::gate(MIB, gate));
    let hubcap = place.start(&origin.url(), &[]);
    let mut body = hubcap.get(&blob("x", &digest)).await.bytes_stream();
    body.next().await.expect("a chunk").expect("bytes");
    let left = Instant::now();
    drop(body);
    eventually("the client's end", || hubcap.log().contains("the client left")).await;
    eventually("the fill's end", || place.ingests() == 0).await;
    assert!(left.elapsed() > Duration::from_secs(10), "a client that tries again finds it");
    eventually("the reason in the log", || hubcap.log().contains("nobody has read it for 20 s")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_sends_nothing_does_not_take_the_places_of_others() {
    let (slow, origin, place) = (Origin::start().await, Origin::start().await, Place::new());
    let (_closed, gate) = watch::channel(false);
    let content = noise(MIB, 3);
    let digest = origin.put_blob(&content);
    let slow_url = format!("slow.example={}", slow.url());
    let hubcap = place.start(&origin.url(), &["--upstream", &slow_url]);
    let asked: Vec<String> = (0..80).map(|seed| slow.put_blob(&noise(200_000, 100 + seed))).collect();
    for digest in &asked {
        slow.quirk(digest, quirk::gate(100_000, gate.clone()));
    }
    // Each of another repository, of which none may have so many.
    let of = |(number, digest)| format!("{}?ns=slow.example", blob(&format!("org/x{number}"), digest));
    let paths: Vec<String> = asked.iter().map(String::as_str).enumerate().map(of).collect();
    // Those that have a place keep it to the end.
    let held = async {
        let _answers = join_all(paths.iter().map(|path| hubcap.get(path))).await;
        std::future::pending::<()>().await;
    };
    let other = async {
        // Of 64 places, and the others wait.
        eventually("it has half of them", || slow.count(&Method::GET, "/blobs/") == 32).await;
        let answer = hubcap.get(&blob("x", &digest)).await;
        assert_eq!(status(&answer), "hubcap; fwd=miss; stored", "it had a place");
        assert!(answer.bytes().await.expect("a body") == content);
    };
    tokio::select! {
        () = held => {}
        () = other => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn downloads_that_crawl_keep_no_repository_of_their_registry_waiting() {
    let (origin, place) = (Origin::start().await, Place::new());
    let content = noise(MIB, 3);
    let digest = origin.put_blob(&content);
    // As many as have places.
    let asked: Vec<String> = (0..32).map(|seed| origin.put_blob(&noise(2 * MIB, 100 + seed))).collect();
    for digest in &asked {
        origin.quirk(digest, quirk::throttle(16 << 10, Parts::Refused));
    }
    let hubcap = place.start(&origin.url(), &[]);
    let of = |(number, digest)| blob(&format!("org/x{number}"), digest);
    let paths: Vec<String> = asked.iter().map(String::as_str).enumerate().map(of).collect();
    let crawling = join_all(paths.iter().map(async |path| hubcap.get(path).await.bytes().await));
    let other = async {
        eventually("they have all places", || origin.count(&Method::GET, "/v2/org/x") >= 32).await;
        let answer = hubcap.get(&blob("x", &digest)).await;
        assert_eq!(status(&answer), "hubcap; fwd=miss; stored", "{}", hubcap.log());
        assert!(answer.bytes().await.expect("a body") == content);
    };
    tokio::select! {
        _ = crawling => panic!("they crawl"),
        () = other => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_does_not_wait_for_the_same_blob_of_a_slower_registry() {
    let (slow, origin, place) = (Origin::start().await, Origin::start().await, Place::new());
    let (_closed, gate) = watch::channel(false);
    let content = noise(MIB, 4);
    let digest = origin.put_blob(&content);
    slow.put_blob(&content);
    slow.quirk(&digest, quirk::gate(100_000, gate));
    let hubcap = place.start(&origin.url(), &["--upstream", &format!("slow.example={}", slow.url())]);
    let _slow = hubcap.get(&format!("{}?ns=slow.example", blob("x", &digest))).await;
    let answer = hubcap.get(&blob("x", &digest)).await;
    assert_eq!(status(&answer), "hubcap; fwd=miss; stored", "not the other's download");
    assert!(answer.bytes().await.expect("a body") == content);
}

/// Asserts that those who come for a blob of one repository, while another one of the same registry gives some of it and then
/// no more, have it, and after that the clients of the other one, too.
async fn fetch_stalled(at: usize, size: usize) {
    let (origin, place) = (Origin::start().await, Place::new());
    let (_closed, gate) = watch::channel(false);
    let content = noise(size, 6);
    let digest = origin.put_blob(&content);
    // Else each connection would bring a little more.
    origin.quirk("/v2/slow/", quirk::no_ranges());
    origin.quirk("/v2/slow/", quirk::gate(at, gate));
    let hubcap = place.start(&origin.url(), &[]);
    let started = Instant::now();
    let ask = async |repository: &str| {
        let got = hubcap.get(&blob(repository, &digest)).await.bytes().await;
        assert!(got.expect("a body") == content, "wrong bytes for {repository}");
    };
    let later = async {
        eventually("the first fill", || place.ingests() == 1).await;
        tokio::join!(ask("fast/x"), ask("fast/y"));
    };
    tokio::join!(ask("slow/x"), ask("slow/x"), later);
    // It takes some 20 s. dockerd gives up an answer that has not begun after a minute.
    assert!(started.elapsed() < Duration::from_secs(58), "{:?} {}", started.elapsed(), hubcap.log());
    let asked = origin.count(&Method::GET, "/v2/fast/");
    assert!(asked <= 3, "{asked} requests for what one could have brought");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_a_fetch_that_does_not_move_gets_its_own() {
    fetch_stalled(MIB, 3 * MIB).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_a_fetch_that_brings_nothing_gets_its_own() {
    fetch_stalled(1, 10_000).await;
}

/// The status line of an answer to `path` over a new connection.
fn ask(address: &str, path: &str) -> String {
    let mut client = TcpStream::connect(address).expect("connected");
    client.set_read_timeout(Some(PATIENCE)).expect("set");
    client.write_all(format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").as_bytes()).expect("sent");
    let mut status = [0; 12];
    client.read_exact(&mut status).expect("an answer");
    String::from_utf8_lossy(&status).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_does_not_share_the_failure_of_another_repositorys_fetch() {
    for silent in [quirk::hang(), quirk::status(500), Quirk::new(|_| Some(Act::Close))] {
        let (origin, place) = (Origin::start().await, Place::new());
        let content = noise(300_000, 1);
        let digest = origin.put_blob(&content);
        origin.quirk("/v2/org/slow/", silent);
        let hubcap = place.start(&origin.url(), &["--upstream-timeout", "3s"]);
        let (slow, fast) = (blob("org/slow", &digest), blob("org/fast", &digest));
        let slow = hubcap.get(&slow);
        let fast = async {
            eventually("a fetch", || !origin.log().is_empty()).await;
            hubcap.get(&fast).await.bytes().await.expect("a body")
        };
        let (slow, fast) = tokio::join!(slow, fast);
        assert_eq!(slow.status(), 404);
        assert!(fast == content, "{} bytes: {}", fast.len(), hubcap.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_have_a_blob_does_not_keep_others_from_a_download_that_is_shared_and_stored() {
    let (origin, place) = (Origin::start().await, Place::new());
    let content = noise(300_000, 1);
    let digest = origin.put_blob(&content);
    origin.make_private("org/closed", "me:hunter2", "Bearer nobody");
    origin.quirk("/v2/org/closed/", Quirk::new(|_| Some(Act::Late(Duration::from_secs(1)))));
    let hubcap = place.start(&origin.url(), &[]);
    let (closed, open) = (blob("org/closed", &digest), blob("org/open", &digest));
    let others = async {
        eventually("a fetch", || !origin.log().is_empty()).await;
        join_all((0..8).map(async |_| hubcap.get(&open).await.bytes().await.expect("a body"))).await
    };
    let (refused, others) = tokio::join!(hubcap.get(&closed), others);
    assert_eq!(refused.status(), 403);
    assert!(others.iter().all(|got| *got == content));
    assert_eq!(origin.count(&Method::GET, "/v2/org/open/"), 1);
    assert!(place.blobs().contains(&digest));
}

#[tokio::test(flavor = "multi_thread")]
async fn fetches_that_do_not_begin_end_when_nobody_waits() {
    let (origin, place) = (Origin::start().await, Place::new());
    let content = noise(300_000, 1);
    let digest = origin.put_blob(&content);
    origin.quirk("/v2/org/slow/", quirk::hang());
    let hubcap = place.start(&origin.url(), &["--upstream-timeout", "120s"]);
    let asking = (0..40).map(async |number| {
        let path = blob("org/slow", &origin.put_blob(&noise(1000, 100 + number)));
        tokio::time::timeout(Duration::from_secs(1), hubcap.get(&path)).await
    });
    assert!(join_all(asking).await.iter().all(Result::is_err), "they do not begin");
    let answer = hubcap.get(&blob("org/fast", &digest)).await;
    assert!(answer.bytes().await.expect("a body") == content, "{}", hubcap.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_are_given_up_for_new_ones() {
    let (origin, place) = (Origin::start().await, Place::new());
    let content = noise(24 * MIB, 5);
    let digest = origin.put_blob(&content);
    let hubcap = place.start(&origin.url(), &[]);
    let address = hubcap.http.trim_start_matches("http://").to_owned();
    // One that is being answered, and does not read yet.
    let reading = hubcap.get(&blob("x", &digest)).await;
    let silent: Vec<TcpStream> =
        (0..1100).map(|_| TcpStream::connect(&address).expect("connected")).collect();
    assert_eq!(ask(&address, "/v2/"), "HTTP/1.1 200");
    assert!(reading.bytes().await.expect("a body") == content, "what is answered goes on");
    assert!(hubcap.log().contains("closed for new clients"), "{}", hubcap.log());
    drop(silent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_does_not_say_what_it_wants_is_waited_for_once() {
    let (origin, place) = (Origin::start().await, Place::new());
    origin.quirk("/v2/", Quirk::new(|asked| (asked.target == "/v2/").then_some(Act::Hang)));
    let hubcap = place.start(&origin.url(), &["--upstream-timeout", "1s"]);
    let begun = Instant::now();
    let answers = (0..12).map(async |n| hubcap.get(&manifest(&format!("org/none{n}"), "1")).await.status());
    assert!(join_all(answers).await.iter().all(|status| *status == 404));
    // One after the other they would take twelve seconds, and more.
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn packed_documents_that_come_slowly_take_no_memory_from_others() {
    let (origin, place) = (Origin::start().await, Place::new());
    for name in (0..8).map(|n| format!("org/slow{n}:1")).chain(["org/fast:1".into()]) {
        image::put(&origin, &name, &[b"layer"]);
    }
    let packs = |reply: Reply| {
        let bytes = packed("gzip", &reply.bytes);
        reply.has(bytes).with("content-encoding", "gzip")
    };
    let slowly = move |reply: Reply| {
        packs(reply).sent_by(|bytes| {
            stream::unfold(bytes, async |mut rest| {
                tokio::time::sleep(Duration::from_millis(500)).await;
                let drop = (!rest.is_empty()).then(|| rest.split_to(1))?;
                Some((Ok::<Bytes, std::io::Error>(drop), rest))
            })
        })
    };
    origin.quirk(
        "/manifests/",
        Quirk::new(move |asked| match asked.target.contains("slow") {
            true => Act::change(slowly),
            false => Act::change(packs),
        }),
    );
    let hubcap = place.start(&origin.url(), &[]);
    let slow = async {
        join_all((0..8).map(async |n| hubcap.get(&manifest(&format!("org/slow{n}"), "1")).await)).await;
        std::future::pending::<()>().await;
    };
    let fast = async {
        eventually("all are asked for", || origin.count(&Method::GET, "slow") >= 8).await;
        tokio::time::timeout(Duration::from_secs(10), hubcap.get(&manifest("org/fast", "1"))).await
    };
    tokio::select! {
        () = slow => {}
        answer = fast => assert_eq!(answer.expect("in time").status(), 200),
    }
}

/// The same, with so few files that 64 connections are all.
pub(crate) fn with_64_connections(served: &Command) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -n 256; exec \"$@\"", "sh"])
        .arg(served.get_program())
        .args(served.get_args());
    command.env_clear().envs(served.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_whose_clients_do_not_read_are_given_up_for_new_ones() {
    let (origin, place) = (Origin::start().await, Place::new());
    let content = noise(24 * MIB, 5);
    let digest = origin.put_blob(&content);
    let hubcap = Hubcap::spawn(with_64_connections(&place.serve(&origin.url(), &[])));
    assert!(hubcap.get(&blob("x", &digest)).await.bytes().await.expect("a body") == content);
    let address = hubcap.http.trim_start_matches("http://").to_owned();
    let path = blob("x", &digest);
    let unread: Vec<TcpStream> = (0..64)
        .map(|_| {
            let mut client = TcpStream::connect(&address).expect("connected");
            client.set_read_timeout(Some(PATIENCE)).expect("set");
            write!(client, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").expect("sent");
            // Its answer has begun, so it is idle no more.
            client.read_exact(&mut [0; 12]).expect("an answer");
            client
        })
        .collect();
    // It takes some 10 s.
    assert_eq!(ask(&address, "/v2/"), "HTTP/1.1 200");
    drop(unread);
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_tunnels_are_given_up_for_new_connections() {
    let (origin, place) = (Origin::start().await, Place::new());
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let destination = silent.local_addr().expect("an address").to_string();
    let served =
        place.serve(&origin.url(), &["--proxy-listen", "127.0.0.1:0", "--proxy-tunnel", &destination]);
    let hubcap = Hubcap::spawn(with_64_connections(&served));
    let proxy = hubcap.proxy.clone().expect("a proxy").trim_start_matches("http://").to_owned();
    let tunnel = || {
        let mut client = TcpStream::connect(&proxy).expect("connected");
        client.set_read_timeout(Some(2 * PATIENCE)).expect("a limit");
        write!(client, "CONNECT {destination} HTTP/1.1\r\nHost: {destination}\r\n\r\n").expect("sent");
        let mut answer = [0; 12];
        client.read_exact(&mut answer).map(|()| (client, answer))
    };
    let tunnels: Vec<_> = (0..64).map(|_| tunnel().expect("an answer")).collect();
    assert!(tunnels.iter().all(|(_, answer)| answer == b"HTTP/1.1 200"));
    let begun = Instant::now();
    let (_, answer) = tunnel().expect("an answer, as soon as one of the others is idle");
    assert_eq!(&answer, b"HTTP/1.1 200");
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_passed_on_and_get_no_answer_are_given_up_for_new_connections() {
    let (origin, place) = (Origin::start().await, Place::new());
    let digest = origin.put_blob(b"layer");
    for part in ["/uploads/", "_catalog"] {
        origin.quirk(part, quirk::hang());
    }
    let upstream = format!("ghcr.io={}", origin.url());
    let served =
        place.serve("http://127.0.0.1:9", &["--proxy-listen", "127.0.0.1:0", "--upstream", &upstream]);
    let hubcap = Hubcap::spawn(with_64_connections(&served));
    let client = hubcap.through_proxy(&place);
    let hanging = (0..64).map(|n| match n % 2 {
        0 => client.post("https://ghcr.io/v2/a/blobs/uploads/").body("layer").send(),
        _ => client.get("https://ghcr.io/v2/_catalog").send(),
    });
    let asking = async {
        eventually("all have been passed on", || {
            origin.count(&Method::POST, "/uploads/") == 32 && origin.count(&Method::GET, "_catalog") >= 32
        })
        .await;
        let begun = Instant::now();
        let path = format!("https://ghcr.io{}", blob("a", &digest));
        let answer = hubcap.through_proxy(&place).get(path).send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
        assert!(begun.elapsed() < PATIENCE / 2, "{:?}", begun.elapsed());
    };
    tokio::select! {
        () = asking => {}
        () = async { join_all(hanging).await; std::future::pending().await } => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_passed_on_ends_when_nothing_comes_of_it() {
    let (origin, place) = (Origin::start().await, Place::new());
    let (_closed, gate) = watch::channel(false);
    let half = move |_: &Asked| {
        let mut gate = gate.clone();
        Some(Reply::new(vec![b' '; 2000]).sent_by(move |mut bytes| {
            let head = bytes.split_to(1000);
            let rest = stream::once(async move {
                gate.wait_for(|open| *open).await.map_err(std::io::Error::other)?;
                Ok(bytes)
            });
            stream::iter([Ok(head)]).chain(rest)
        }))
    };
    origin.quirk("/v2/_catalog", quirk::answer(half));
    let upstream = format!("ghcr.io={}", origin.url());
    let hubcap =
        place.start("http://127.0.0.1:9", &["--proxy-listen", "127.0.0.1:0", "--upstream", &upstream]);
    let client = hubcap.through_proxy(&place);
    let answer = client.get("https://ghcr.io/v2/_catalog").send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let read = tokio::time::timeout(Duration::from_secs(60), answer.bytes()).await;
    assert!(read.expect("an end").is_err(), "and no whole body");
}
