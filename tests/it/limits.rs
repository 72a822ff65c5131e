//! Abuse, by clients and by upstreams, ends in a clear answer: never a panic, never a hang.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;

use hubcap_oci::media_type;
use reqwest::Method;

use crate::support::hubcap::{Place, blob, manifest};
use crate::support::origin::{Origin, Parts, quirk};
use crate::support::{eventually, image};

#[tokio::test(flavor = "multi_thread")]
async fn headers_and_paths_beyond_measure_are_refused_and_the_daemon_goes_on() {
    let (origin, place) = (Origin::start().await, Place::new());
    let image = image::put(&origin, "library/x:1", &[b"layer"]);
    let hubcap = place.start(&origin.url(), &[]);
    let long = "x".repeat(200_000);
    assert_eq!(hubcap.ask(Method::GET, "/v2/", &[("x-long", &long)]).await.status(), 431);
    assert!(matches!(
        hubcap.get(&format!("/v2/{}/manifests/1", "a".repeat(300))).await.status().as_u16(),
        400
    ));
    for path in [
        "/v2/../../etc/passwd/manifests/1",
        "/v2/a/../b/blobs/sha256:00",
        "/v2/%2e%2e/%2e%2e/manifests/1",
        "/v2/a%00b/manifests/1",
        "/v2/A/manifests/1",
        "/v2/a//b/manifests/1",
        "/v2/a/blobs/sha256:../../../../etc/passwd",
        "/v2/a/blobs/md5:d41d8cd98f00b204e9800998ecf8427e",
        "/v2/a/manifests/-x",
        "/v2/a/tags/list?n=-1&last=%FF",
        "/v2/a/manifests/1?ns=169.254.169.254",
        "/v2/a/manifests/1?ns=localhost%3A22",
    ] {
        let code = hubcap.get(path).await.status().as_u16();
        assert!(matches!(code, 400 | 404), "{path}: {code}");
    }
    for range in ["bytes=-", "bytes=99999999999999999999-", "bytes=5-1", "bytes=0-0,2-3", "x=1", "bytes=-0"] {
        let code =
            hubcap.ask(Method::GET, &blob("x", &image.blobs[1]), &[("range", range)]).await.status().as_u16();
        assert!(matches!(code, 200 | 206 | 416), "{range}: {code}");
    }
    let mut raw = TcpStream::connect(hubcap.http.trim_start_matches("http://")).expect("connected");
    raw.write_all(b"\x00\x01\x02 nonsense\r\n\r\n").expect("sent");
    let mut answer = String::new();
    let _ = raw.read_to_string(&mut answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert_eq!(hubcap.get(&manifest("x", "1")).await.status(), 200);
    assert!(!hubcap.log().contains("panicked"), "{}", hubcap.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_of_more_than_16_mib_is_refused_and_one_of_16_is_not() {
    let (origin, place) = (Origin::start().await, Place::new());
    let padded = |size: usize| {
        let begin =
            format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[],"x":""#, media_type::OCI_INDEX);
        format!("{begin}{}\"}}", "y".repeat(size - begin.len() - 2))
    };
    origin.put_manifest("library/x:fits", media_type::OCI_INDEX, padded(16 << 20).as_bytes());
    let digest =
        origin.put_manifest("library/x:large", media_type::OCI_INDEX, padded((16 << 20) + 1).as_bytes());
    let hubcap = place.start(&origin.url(), &[]);
    assert_eq!(hubcap.get(&manifest("x", "fits")).await.bytes().await.expect("a body").len(), 16 << 20);
    let refused = hubcap.get(&manifest("x", "large")).await;
    assert_eq!(refused.status(), 404);
    assert!(refused.text().await.expect("a body").contains("more than 16777216 bytes"));
    assert!(!place.blobs().contains(&digest));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_digest_confirms_a_length_and_no_manifest_does() {
    let (origin, place) = (Origin::start().await, Place::new());
    let image = image::put(&origin, "library/x:1", &[&[7; 100_000]]);
    let hubcap = place.start(&origin.url(), &[]);
    hubcap.get(&manifest("x", "1")).await;
    origin.put_blob_as(&image.blobs[1], &[7; 100_001]);
    let cut = hubcap.get(&blob("x", &image.blobs[1])).await;
    assert!(cut.bytes().await.is_err(), "a wrong content never comes to its end");
    assert!(!place.blobs().contains(&image.blobs[1]));
    let other = image::put(&origin, "library/x:2", &[&[8; 100_000]]);
    origin.quirk("blobs", quirk::no_length());
    let answer = hubcap.get(&blob("x", &other.blobs[1])).await;
    assert_eq!(answer.bytes().await.expect("a body").len(), 100_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_cannot_tell_a_cut_from_an_end_gets_no_blob_whose_length_nobody_tells() {
    let (origin, place) = (Origin::start().await, Place::new());
    let digest = origin.put_blob(&[7; 100_000]);
    origin.quirk("blobs", quirk::no_length());
    let hubcap = place.start(&origin.url(), &[]);
    let ask = || {
        let mut client = TcpStream::connect(hubcap.http.trim_start_matches("http://")).expect("connected");
        write!(client, "GET {} HTTP/1.0\r\nHost: localhost\r\n\r\n", blob("x", &digest)).expect("sent");
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).expect("an answer");
        String::from_utf8_lossy(&answer).into_owned()
    };
    let refused = ask();
    assert!(refused.starts_with("HTTP/1.0 404") && refused.contains("ask by HTTP/1.1"), "{refused}");
    // A download whose content is there already has ended only a moment later.
    let mut answer = String::new();
    crate::support::eventually("it is stored", || {
        answer = ask();
        answer.starts_with("HTTP/1.0 200")
    })
    .await;
    assert!(answer.contains("content-length: 100000\r\n"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_finish_its_handshake_is_let_go() {
    let (origin, place) = (Origin::start().await, Place::new());
    let hubcap = place.start(&origin.url(), &[]);
    let mut idle = TcpStream::connect(hubcap.https.trim_start_matches("https://")).expect("connected");
    idle.set_read_timeout(Some(crate::support::PATIENCE)).expect("set");
    let ended = idle.read(&mut [0]).map_err(|error| error.kind());
    assert!(matches!(ended, Ok(0) | Err(ErrorKind::ConnectionReset)), "{ended:?}");
    assert_eq!(hubcap.get("/v2/").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_clients_than_the_soft_limit_of_open_files_are_served() {
    let (origin, place) = (Origin::start().await, Place::new());
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "ulimit -S -n 64 && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_hubcap")]);
    command.args(["serve", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]);
    command.arg("--store").arg(place.store()).arg("--state").arg(place.state());
    command.args(["--upstream", &format!("docker.io={}", origin.url())]);
    command.env("XDG_RUNTIME_DIR", place.dir.path());
    let hubcap = crate::support::hubcap::Hubcap::spawn(command);
    let address = hubcap.http.trim_start_matches("http://");
    let clients: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(address).expect("connected")).collect();
    for mut client in &clients {
        client.set_read_timeout(Some(crate::support::PATIENCE)).expect("set");
        client.write_all(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
        client.read_exact(&mut [0; 12]).expect("an answer");
    }
    assert!(!hubcap.log().contains("could not be accepted"), "{}", hubcap.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_that_do_not_read_cost_no_memory() {
    let (origin, place) = (Origin::start().await, Place::new());
    let content = crate::support::noise(24 << 20, 1);
    let digest = origin.put_blob(&content);
    let hubcap = place.start(&origin.url(), &[]);
    assert!(hubcap.get(&blob("a", &digest)).await.bytes().await.expect("a body") == content);
    let request = format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", blob("a", &digest));
    let idle: Vec<TcpStream> = (0..64)
        .map(|_| {
            let mut one = TcpStream::connect(hubcap.http.trim_start_matches("http://")).expect("connected");
            one.write_all(request.as_bytes()).expect("sent");
            // It has its first bytes, and takes no more.
            one.read_exact(&mut [0; 1000]).expect("the first bytes");
            one
        })
        .collect();
    let resident = hubcap.memory_kib();
    assert!(resident < 64 << 10, "{resident} KiB for {} idle clients", idle.len());
    assert_eq!(hubcap.get("/v2/").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_service_that_sends_rubbish_is_an_error_and_not_shown() {
    let (origin, place) = (Origin::start().await, Place::new());
    image::put(&origin, "library/x:1", &[b"layer"]);
    origin.like_docker_hub(None);
    origin.quirk("/token", quirk::endless());
    let hubcap = place.start(&origin.url(), &["--upstream-timeout", "2s"]);
    assert_eq!(hubcap.get(&manifest("x", "1")).await.status(), 404);
    origin.heal();
    origin.quirk("/token", quirk::html());
    assert_eq!(hubcap.get(&manifest("x", "1")).await.status(), 404);
    origin.heal();
    assert_eq!(hubcap.get(&manifest("x", "1")).await.status(), 200);
    // A token that was taken back in the midst of its life is replaced without a word.
    origin.revoke_tokens();
    image::put(&origin, "library/y:1", &[b"layer"]);
    assert_eq!(hubcap.get(&manifest("x", "1")).await.status(), 200);
    assert_eq!(hubcap.get(&manifest("y", "1")).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn fetches_beyond_a_repositorys_places_are_sent_to_the_registry_itself() {
    // A third of all.
    const PLACES: usize = 22;
    let (origin, place) = (Origin::start().await, Place::new());
    let digests: Vec<String> = (0..24).map(|n| origin.put_blob(&crate::support::noise(2 << 20, n))).collect();
    // Longer than anybody waits for a place, and so fast that none is given up.
    origin.quirk("blobs", quirk::throttle(128 << 10, Parts::Refused));
    let hubcap = place.start(&origin.url(), &[]);
    let mut running = Vec::new();
    for digest in &digests[..PLACES] {
        running.push(hubcap.get(&blob("a", digest)).await);
    }
    // Another repository gets one meanwhile.
    running.push(hubcap.get(&blob("b", &digests[PLACES])).await);
    let refused = hubcap.get(&blob("a", &digests[PLACES + 1])).await;
    assert_eq!(refused.status(), 404);
    let told = refused.text().await.expect("a body");
    assert!(told.contains("too many blobs of docker.io/library/a are downloaded already"), "{told}");
    for (answer, digest) in running.into_iter().zip(&digests) {
        assert_eq!(image::sha256(&answer.bytes().await.expect("a body")), *digest);
    }
    assert_eq!(hubcap.get(&blob("a", &digests[PLACES + 1])).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_daemon_in_the_background_has_an_end() {
    const FLOOD: usize = 17 << 20;
    let place = Place::new();
    std::fs::create_dir(place.state()).expect("a directory");
    let (path, old) = (place.state().join("hubcap.log"), place.state().join("hubcap.log.1"));
    let mut log = std::fs::OpenOptions::new().create(true).append(true).open(&path).expect("a file");
    let mut flood = |byte: u8| log.write_all(&vec![byte; FLOOD]).expect("written");
    flood(b'a');
    let mut command = place.serve("http://127.0.0.1:9", &["--background"]);
    let errors = std::fs::OpenOptions::new().append(true).open(&path).expect("a file");
    let mut daemon = command.stdout(std::process::Stdio::null()).stderr(errors).spawn().expect("it starts");
    let text = |path: &std::path::Path| std::fs::read_to_string(path).unwrap_or_default();
    eventually("the first flood is the old log", || {
        text(&old).len() >= FLOOD && text(&path).contains("INFO")
    })
    .await;
    assert!(text(&path).len() < FLOOD, "and not this one as well");
    flood(b'b');
    let pid = rustix::process::Pid::from_child(&daemon);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    assert!(daemon.wait().expect("its end").success());
    assert!(text(&path).contains("stopping") && text(&path).len() < FLOOD, "the daemon's log has its end");
    assert!(text(&old).ends_with('b'), "the old one is the one before");
}
