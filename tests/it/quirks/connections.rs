//! Connections that end: between two requests, and in the middle of one.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use reqwest::{Method, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;

use crate::quirks::{REGISTRY, REPOSITORY, Situation, TAG};
use crate::support::hubcap::{Place, blob, manifest};
use crate::support::origin::{Origin, Quirk, quirk};
use crate::support::{eventually, image};

pub(crate) const SITUATIONS: &[Situation] = &[
    Situation::pull("load balancers", "a connection is closed when it is used again", |origin| {
        origin.like_docker_hub(None);
        image::real(origin);
        origin.quirk("/", quirk::closes_reused());
    }),
    Situation::pull("small servers", "`Connection: close` with each answer", |origin| {
        origin.like_docker_hub(None);
        image::real(origin);
        origin.quirk("/", quirk::change(|reply| reply.with("connection", "close")));
    }),
    Situation::pull("Artifact Registry", "headers of 200 KiB, and connections that end", |origin| {
        image::real(origin);
        origin.quirk("/", quirk::closes_reused());
        origin.quirk("/v2/org", quirk::headers(200 << 10));
    }),
    Situation::pull("load balancers", "a manifest breaks off in the middle, once", |origin| {
        image::real(origin);
        origin.quirk("/manifests/", quirk::cut_once(200));
    }),
    Situation::pull(
        "small servers",
        "a blob of unknown length, whose connection breaks at its end",
        |origin| {
            image::real(origin);
            origin.quirk("/blobs/", ending(true));
        },
    ),
    Situation::pull(
        "proxies",
        "a blob of unknown length, whose connection stays open at its end",
        |origin| {
            image::real(origin);
            origin.quirk("/blobs/", ending(false));
        },
    ),
    Situation::pull(
        "small servers",
        "a blob of unknown length goes on after its end, without an end",
        |origin| {
            image::real(origin);
            origin.quirk("/blobs/", quirk::endless_slowly());
        },
    ),
    Situation::pull("HAProxy", "408, and the end, when a connection is used again", |origin| {
        image::real(origin);
        origin.quirk("/", quirk::times_out_reused());
    }),
];

/// The length is not told, and in place of the end the connection breaks, or is silent.
fn ending(breaks: bool) -> Quirk {
    quirk::change(move |reply| {
        if !reply.is_content() {
            return reply;
        }
        let end = stream::once(async move {
            // What came before is really sent.
            tokio::time::sleep(Duration::from_millis(50)).await;
            if !breaks {
                std::future::pending::<()>().await;
            }
            Err(std::io::Error::other("the end"))
        });
        reply.untold().sent_by(move |bytes| stream::iter([Ok::<Bytes, _>(bytes)]).chain(end))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_connection_that_is_silent_costs_a_moment_and_no_failure() {
    let (origin, place) = (Origin::start().await, Place::new());
    let images: Vec<_> =
        (0..8).map(|tag| image::put(&origin, &format!("{REPOSITORY}:{tag}"), &[&[tag]])).collect();
    let hubcap = Situation::pull("", "", |_| {}).hubcap(&place, &origin);
    let name = format!("{REGISTRY}/{REPOSITORY}");
    assert_eq!(hubcap.get(&manifest(&name, "0")).await.status(), 200);
    origin.quirk("/", quirk::hangs_reused());
    let start = Instant::now();
    // More than the circuit takes.
    for (tag, image) in images.iter().enumerate().skip(1) {
        assert_eq!(hubcap.get(&manifest(&name, &tag.to_string())).await.status(), 200);
        assert_eq!(hubcap.head(&blob(&name, &image.blobs[1])).await.status(), 200);
    }
    // Each of the 14 would take 5 s if it was waited for to the end.
    assert!(start.elapsed() < Duration::from_secs(40), "{:?}", start.elapsed());
    assert!(!hubcap.log().contains("WARN"), "{}", hubcap.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_answer_over_an_old_connection_still_counts() {
    let (origin, place) = (Origin::start().await, Place::new());
    for tag in ["1", "2"] {
        image::put(&origin, &format!("{REPOSITORY}:{tag}"), &[tag.as_bytes()]);
    }
    let hubcap = Situation::pull("", "", |_| {}).hubcap(&place, &origin);
    let name = format!("{REGISTRY}/{REPOSITORY}");
    assert_eq!(hubcap.get(&manifest(&name, "1")).await.status(), 200);
    origin.quirk("manifests/2", quirk::late(Duration::from_millis(1500)));
    assert_eq!(hubcap.get(&manifest(&name, "2")).await.status(), 200);
    assert_eq!(origin.count(&Method::GET, "manifests/2"), 2);
}

/// How a raw server ends a connection that it has answered one request on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It closes its half right after the answer.
    Half,
    /// It resets the connection when the next request comes.
    Reset,
    /// It says 408 by itself, as HAProxy does, and closes.
    Timeout,
    /// It speaks HTTP/1.0, and the end of the body is the end of the connection.
    Old,
}

/// Answers GETs and HEADs of tags, one on each connection.
async fn serve(listener: TcpListener, end: End) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(async move { answer(stream, end).await });
    }
}

async fn answer(mut stream: TcpStream, end: End) -> std::io::Result<()> {
    let request = read(&mut stream).await?;
    reply(&mut stream, &request, end).await?;
    match end {
        End::Old => {}
        End::Half => {
            stream.shutdown().await?;
            read(&mut stream).await?;
        }
        End::Reset => {
            read(&mut stream).await?;
            // Closed with what was not read, it is reset.
            rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
        }
        End::Timeout => {
            tokio::time::sleep(Duration::from_millis(50)).await;
            stream.write_all(b"HTTP/1.1 408 Request Time-out\r\nConnection: close\r\n\r\n").await?;
        }
    }
    Ok(())
}

const INDEX: &str =
    "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"manifests\":[]}\n";

async fn reply(stream: &mut TcpStream, request: &str, end: End) -> std::io::Result<()> {
    reply_up_to(stream, request, end, INDEX.len()).await
}

/// Sends so many bytes of the body.
async fn reply_up_to(stream: &mut TcpStream, request: &str, end: End, sent: usize) -> std::io::Result<()> {
    let (version, length) = match end {
        End::Old => ("1.0", String::new()),
        _ => ("1.1", format!("Content-Length: {}\r\n", INDEX.len())),
    };
    let (digest, kind) = (image::sha256(INDEX.as_bytes()), "application/vnd.oci.image.index.v1+json");
    let body = if request.starts_with("HEAD") { "" } else { &INDEX[..sent] };
    let head = format!(
        "HTTP/{version} 200 OK\r\nContent-Type: {kind}\r\nDocker-Content-Digest: {digest}\r\n{length}\r\n"
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await
}

async fn read(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut found = Vec::new();
    while !found.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut found).await? == 0 {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&found).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn however_a_server_ends_a_connection_the_next_request_is_answered() {
    for end in [End::Half, End::Reset, End::Timeout, End::Old] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let upstream = format!("{REGISTRY}=http://{}", listener.local_addr().expect("an address"));
        let server = tokio::spawn(serve(listener, end));
        let place = Place::new();
        let hubcap = place.start("http://127.0.0.1:9", &["--upstream", &upstream]);
        let name = format!("{REGISTRY}/{REPOSITORY}");
        for tag in 0..8 {
            let answer = hubcap.get(&manifest(&name, &format!("{TAG}{tag}"))).await;
            assert_eq!(answer.status(), 200, "{end:?} {tag}: {}", answer.text().await.expect("a body"));
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
        server.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_whose_connection_ends_in_its_white_space_is_asked_for_again_and_never_taken_for_whole() {
    for (cuts, status) in [(1, StatusCode::OK), (usize::MAX, StatusCode::NOT_FOUND)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let upstream = format!("{REGISTRY}=http://{}", listener.local_addr().expect("an address"));
        let server = tokio::spawn(async move {
            let mut cuts = cuts;
            while let Ok((mut stream, _)) = listener.accept().await {
                let Ok(request) = read(&mut stream).await else { continue };
                let is_cut = request.starts_with("GET") && request.contains("/manifests/") && cuts > 0;
                cuts -= usize::from(is_cut);
                let length = INDEX.len() - usize::from(is_cut);
                // A client may have left.
                let _ = reply_up_to(&mut stream, &request, End::Old, length).await;
            }
        });
        let place = Place::new();
        let hubcap = place.start("http://127.0.0.1:9", &["--upstream", &upstream]);
        let answer = hubcap.get(&manifest(&format!("{REGISTRY}/{REPOSITORY}"), TAG)).await;
        assert_eq!(answer.status(), status, "{}", hubcap.log());
        if status.is_success() {
            assert_eq!(answer.text().await.expect("a body"), INDEX);
        }
        server.abort();
    }
}

/// How many connections to `port` of this machine wait for the other side.
fn connecting_to(port: u16) -> usize {
    let port = format!(":{port:04X}");
    let table = std::fs::read_to_string("/proc/net/tcp").expect("a table of connections");
    let is_one = |line: &&str| {
        let mut words = line.split_whitespace().skip(2);
        words.next().is_some_and(|remote| remote.ends_with(&port)) && words.next() == Some("02")
    };
    table.lines().filter(is_one).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_connection_that_comes_free_while_a_new_one_is_opened_may_be_closed_too() {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let listener = socket.listen(1).expect("a listener");
    let address = listener.local_addr().expect("an address");
    let place = Place::new();
    let hubcap = place.start("http://127.0.0.1:9", &["--upstream", &format!("{REGISTRY}=http://{address}")]);
    let [first, second] = ["first", "second"].map(|tag| manifest(&format!("{REGISTRY}/{REPOSITORY}"), tag));
    let (fill, is_full) = oneshot::channel();
    let serving = async {
        let (mut old, _) = listener.accept().await.expect("a connection");
        let request = read(&mut old).await.expect("a request");
        // No more may wait to be accepted, and the next connection takes its time.
        let waiting = [TcpStream::connect(address).await, TcpStream::connect(address).await];
        fill.send(()).expect("a client");
        eventually("a connection is opened", || connecting_to(address.port()) == 1).await;
        reply(&mut old, &request, End::Reset).await.expect("an answer");
        assert!(read(&mut old).await.expect("a request").contains("/second"));
        drop((old, waiting));
        serve(listener, End::Half).await;
    };
    let asking = async {
        let second = async {
            is_full.await.expect("a server");
            hubcap.get(&second).await
        };
        let (first, second) = tokio::join!(hubcap.get(&first), second);
        assert_eq!((first.status(), second.status()), (StatusCode::OK, StatusCode::OK), "{}", hubcap.log());
    };
    tokio::select! {
        () = asking => {}
        () = serving => panic!("the server has ended"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_passed_through_survives_old_connections_too() {
    let (origin, place) = (Origin::start().await, Place::new());
    let upstream = format!("ghcr.io={}", origin.url());
    let hubcap =
        place.start("http://127.0.0.1:9", &["--proxy-listen", "127.0.0.1:0", "--upstream", &upstream]);
    let client = hubcap.through_proxy(&place);
    for quirk in [quirk::closes_reused(), quirk::hangs_reused(), quirk::times_out_reused()] {
        origin.heal();
        origin.quirk("/", quirk);
        for _ in 0..3 {
            let answer = client.get("https://ghcr.io/v2/_catalog").send().await.expect("an answer");
            assert_eq!(answer.status(), 404);
        }
    }
}
