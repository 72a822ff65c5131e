//! A client that means ill: whatever it tries ends in a clear answer, and leads to nobody.

use std::net::{SocketAddr, TcpListener};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use crate::support::hubcap::{Hubcap, Place, manifest, run};
use crate::support::image;
use crate::support::origin::{Origin, quirk};

/// Somebody inside whom nobody may be led to.
struct Witness(TcpListener);

impl Witness {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("set");
        Self(listener)
    }

    fn port(&self) -> u16 {
        self.0.local_addr().expect("an address").port()
    }

    fn saw_nobody(&self) -> bool {
        self.0.accept().is_err()
    }
}

/// Sends bytes as they are, and reads to the end.
async fn raw(url: &str, request: &str) -> String {
    let address: SocketAddr = url.trim_start_matches("http://").parse().expect("an address");
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: hubcap\r\nconnection: close\r\n\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_path_and_no_namespace_leads_to_where_nobody_allowed() {
    let (origin, place, witness) = (Origin::start().await, Place::new(), Witness::new());
    let port = witness.port();
    // Even where everything is allowed that could be a registry of the Internet.
    let upstreams = ["--upstream", "*", "--upstream", &format!("local*:{port}"), "--upstream", "local*"];
    for more in [[].as_slice(), &upstreams] {
        let hubcap = place.start(&origin.url(), more);
        let mut tries: Vec<String> = [
            format!("127.0.0.1_{port}/a"),
            format!("localhost_{port}/a"),
            "localhost/a".into(),
            "169.254.169.254/latest/meta-data".into(),
            "2130706433.1/a".into(),
            "ghcr.io@127.0.0.1/a".into(),
            "ghcr.io%2fa".into(),
            "%2e%2e/%2e%2e/etc".into(),
            "../../etc".into(),
            "ghcr.io/../127.0.0.1/a".into(),
            "/127.0.0.1/a".into(),
        ]
        .iter()
        .map(|name: &String| manifest(name, "1"))
        .collect();
        let namespaces = [
            format!("127.0.0.1:{port}"),
            format!("localhost:{port}"),
            format!("[::1]:{port}"),
            format!("ghcr.io@127.0.0.1:{port}"),
            format!("127.1:{port}"),
            format!("0x7f000001:{port}"),
            format!("http://127.0.0.1:{port}"),
            format!("127.0.0.1:{port}/v2/%23"),
            "localhost".into(),
            "10.0.0.1".into(),
            "169.254.169.254".into(),
            "ghcr.io%00".into(),
            String::new(),
        ];
        tries.extend(namespaces.iter().map(|name| format!("{}?ns={name}", manifest("org/app", "1"))));
        for path in &tries {
            let answer = raw(&hubcap.http, &get(path)).await;
            let line = answer.lines().next().unwrap_or_default().to_owned();
            assert!(line.contains(" 400 ") || line.contains(" 404 "), "{path}: {answer}");
            assert!(answer.contains("\"errors\"") && answer.contains("\"message\""), "{path}: {answer}");
        }
        assert!(witness.saw_nobody(), "{more:?}");
        assert_eq!(origin.log().len(), 0, "{:?}", origin.log());
        assert_eq!(hubcap.stop(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_to_a_clouds_metadata_or_out_of_http_is_not_followed() {
    let (origin, place) = (Origin::start().await, Place::new());
    image::put(&origin, "library/x:1", &[b"layer"]);
    let hubcap = place.start(&origin.url(), &[]);
    for (tag, location) in [
        ("1", "http://169.254.169.254/latest/meta-data"),
        ("2", "file:///etc/passwd"),
        ("3", "http://[fe80::1]/"),
        ("4", "gopher://127.0.0.1/"),
        ("5", "http://"),
    ] {
        origin.heal();
        origin.quirk("manifests/", quirk::redirect(307, location));
        let answer = hubcap.get(&manifest("x", tag)).await;
        assert_eq!(answer.status(), 404, "{location}");
        let told = answer.text().await.expect("a body");
        assert!(told.contains("redirect"), "{location}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_behind_a_proxy_leads_to_no_private_address() {
    // It is asked for everything, with the whole URL.
    let (proxy, place) = (Origin::start().await, Place::new());
    image::put(&proxy, "library/x:1", &[b"layer"]);
    let mut command = place.serve("http://registry.example", &[]);
    command.env("http_proxy", proxy.url());
    let hubcap = Hubcap::spawn(command);
    assert_eq!(hubcap.get(&manifest("x", "1")).await.status(), 200, "{}", hubcap.log());
    for location in ["http://10.0.0.7/secret", "http://[fd00::7]/secret", "http://169.254.169.254/secret"] {
        proxy.quirk("manifests/2", quirk::redirect(307, location));
        let answer = hubcap.get(&manifest("x", "2")).await;
        assert_eq!(answer.status(), 404, "{location}");
        let told = answer.text().await.expect("a body");
        assert!(told.contains("redirect"), "{location}: {told}");
        assert!(!proxy.log().iter().any(|asked| format!("{asked:?}").contains("secret")), "{location}");
        proxy.heal();
    }
    // A name is for the proxy to judge.
    proxy.quirk("manifests/2", quirk::redirect(307, "http://other.example/v2/library/x/manifests/1"));
    assert_eq!(hubcap.get(&manifest("x", "2")).await.status(), 200, "{}", hubcap.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_another_repository_opens_nothing_however_the_registry_is_named() {
    let (origin, place) = (Origin::start().await, Place::new());
    let image = image::put(&origin, "org/private:1", &[&[5; 50_000]]);
    origin.make_private("org/private", "me:hunter2", "Bearer mine");
    let upstream = format!("ghcr.io={}", origin.url());
    let hubcap =
        place.start("http://127.0.0.1:9", &["--upstream", &upstream, "--proxy-listen", "127.0.0.1:0"]);
    let client = hubcap.through_proxy(&place);
    let paths = [manifest("org/private", "1"), crate::support::hubcap::blob("org/private", &image.blobs[1])];
    // In the store now.
    for path in &paths {
        let answer = hubcap
            .ask(reqwest::Method::GET, &format!("{path}?ns=ghcr.io"), &[("authorization", "Bearer mine")])
            .await;
        assert_eq!(answer.status(), 200);
        answer.bytes().await.expect("a body");
    }
    for path in &paths {
        for who in [None, Some("Bearer another"), Some("Basic bWU6bm8=")] {
            let headers: Vec<(&str, &str)> = who.iter().map(|value| ("authorization", *value)).collect();
            for named in [path.replace("/v2/", "/v2/ghcr.io/"), format!("{path}?ns=ghcr.io")] {
                let answer = hubcap.ask(reqwest::Method::GET, &named, &headers).await;
                assert_eq!(answer.status(), 403, "{named} {who:?}");
            }
            let mut request = client.get(format!("https://ghcr.io{path}"));
            if let Some(who) = who {
                request = request.header("authorization", who);
            }
            let answer = request.send().await.expect("an answer");
            assert_eq!(answer.status(), 401, "the registry's own no: {path} {who:?}");
        }
        let mine = client.get(format!("https://ghcr.io{path}")).header("authorization", "Bearer mine");
        let mine = mine.send().await.expect("an answer");
        assert!(crate::support::hubcap::status(&mine).starts_with("hubcap; hit"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_leads_to_nothing_inside() {
    let (origin, place, witness) = (Origin::start().await, Place::new(), Witness::new());
    let hubcap = place.start(&origin.url(), &["--proxy-listen", "127.0.0.1:0"]);
    let proxy = hubcap.proxy.clone().expect("a proxy");
    let port = witness.port();
    for to in [
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        format!("[::1]:{port}"),
        format!("ghcr.io@127.0.0.1:{port}"),
        format!("ghcr.io:{port}"),
        "127.0.0.1:443".into(),
        "localhost:443".into(),
        "2130706433:443".into(),
        "0x7f.1:443".into(),
        "[::ffff:127.0.0.1]:443".into(),
        "169.254.169.254:443".into(),
        "10.0.0.1:443".into(),
        "127.0.0.1:22".into(),
        "ghcr.io".into(),
    ] {
        let answer = raw(&proxy, &format!("CONNECT {to} HTTP/1.1\r\nhost: {to}\r\n\r\n")).await;
        let line = answer.lines().next().unwrap_or_default();
        assert!(line.contains(" 403 ") || line.contains(" 400 "), "{to}: {answer}");
    }
    for request in [
        format!("GET http://127.0.0.1:{port}/ HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n"),
        get("/v2/library/x/manifests/1"),
    ] {
        let answer = raw(&proxy, &request).await;
        assert!(answer.contains(" 403 ") && answer.contains("CONNECT only"), "{answer}");
    }
    assert!(witness.saw_nobody());
    assert_eq!(origin.log().len(), 0);
    // The status line says why: it is all that Go's clients show.
    let answer = raw(&proxy, "CONNECT localhost:443 HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 403 hubcap: localhost leads to a private address"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_by_the_name_of_a_strangers_web_page_is_refused() {
    let (origin, place) = (Origin::start().await, Place::new());
    image::put(&origin, "library/a:1", &[b"layer"]);
    let hubcap = place.start(&origin.url(), &["--name", "mirror.ci.example"]);
    let get =
        |hosts: &str| format!("GET {} HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n", manifest("a", "1"));
    // Clients on loopback may speak plain HTTP on the HTTPS port as well.
    for url in [hubcap.http.clone(), hubcap.https.replace("https:", "http:")] {
        for (host, status) in [
            ("rebound.example:5443", 421),
            ("rebound.example", 421),
            ("127.0.0.1:5443", 200),
            ("localhost:5443", 200),
            ("host.docker.internal:5443", 200),
            ("mirror.ci.example:5443", 200),
        ] {
            let answer = raw(&url, &get(&format!("Host: {host}\r\n"))).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{host}: {answer}");
        }
        let answer = raw(&url, &get("Host: localhost\r\nHost: rebound.example\r\n")).await;
        assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
        let absolute = format!("http://rebound.example{}", manifest("a", "1"));
        let request = format!("GET {absolute} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let answer = raw(&url, &request).await;
        assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");
    }
    assert!(hubcap.log().contains("--name"), "{}", hubcap.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_name_that_a_strange_daemon_tells_is_a_command_to_the_runner_or_an_escape_sequence() {
    const NAME: &str = "x\n::set-output name=key::y\r##[error]z\u{9b}31m\u{202e}";
    let (origin, place) = (Origin::start().await, Place::new());
    image::put(&origin, "library/x:1", &[b"layer"]);
    let hubcap = place.start(&origin.url(), &[]);
    assert_eq!(hubcap.get(&manifest("x", "1")).await.status(), 200);
    let mut socket = UnixStream::connect(place.state().join("admin.sock")).await.expect("a connection");
    socket.write_all(b"GET /status HTTP/1.0\r\n\r\n").await.expect("sent");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.expect("an answer");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
    let mut meter = serde_json::from_str::<Value>(body).expect("a status")["meter"].take();
    // As a daemon says it that is not hubcap.
    meter["repositories"] = json!({ NAME: meter["repositories"]["docker.io/library/x"].take() });
    let report = json!({"meter": meter, "pulls": [], "forgotten": 0, "speeds": {}, "unpacking": null});
    let path = place.dir.path().join("report");
    std::fs::write(&path, report.to_string()).expect("written");
    let ended = run(place.dir.path(), &["summary", path.to_str().expect("text"), "--end=1"]);
    let told = String::from_utf8(ended.stdout).expect("text");
    let line = r"x\n::set-output name=key::y\r# #[error]z\u{9b}31m\u{202e}:1  miss: ";
    assert!(told.lines().any(|told| told.starts_with(line)), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_name_of_a_file_is_a_command_to_the_runner_or_an_escape_sequence() {
    const NAME: &str = "x\n::set-output name=key::y\r\u{1b}[31m\u{202e}";
    let (origin, place) = (Origin::start().await, Place::new());
    image::put(&origin, "library/x:1", &[b"layer"]);
    let hubcap = place.start(&origin.url(), &[]);
    assert_eq!(hubcap.get(&manifest("x", "1")).await.status(), 200);
    assert_eq!(hubcap.stop(), Some(0));
    // As a store out of a cache may be that somebody else has written.
    for directory in ["quarantine", "blobs/sha256"] {
        std::fs::write(place.store().join(directory).join(NAME), b"x").expect("written");
    }
    let image = place.dir.path().join("image");
    std::fs::create_dir(&image).expect("made");
    let store = place.store();
    let (store, image) = (store.to_str().expect("text"), image.to_str().expect("text"));
    let mut commands = vec![vec!["gc", "--dry-run"], vec!["verify"], vec!["verify", "--repair"], vec!["gc"]];
    for saved in [
        json!([{"Config": NAME, "RepoTags": ["x:1"], "Layers": []}]),
        json!([{"Config": "c", "RepoTags": [NAME], "Layers": []}]),
        json!([{"Config": "c", "RepoTags": ["x:1"], "Layers": [NAME]}]),
    ] {
        let image = format!("{image}/{}", commands.len());
        std::fs::create_dir(&image).expect("made");
        std::fs::write(format!("{image}/manifest.json"), saved.to_string()).expect("written");
        let config = json!({"rootfs": {"diff_ids": [image::sha256(b"")]}}).to_string();
        std::fs::write(format!("{image}/c"), config).expect("written");
        commands.push(vec!["import", image.leak()]);
    }
    for command in commands {
        let ended = run(place.dir.path(), &[&command[..], &["--store", store]].concat());
        let told = [ended.stdout, ended.stderr].concat();
        let told = String::from_utf8(told).expect("text");
        assert!(told.contains("\\u{202e}"), "{command:?}: {told}");
        let is_quiet =
            |line: &str| !line.trim_start().starts_with("::") && !line.contains(['\r', '\u{1b}', '\u{202e}']);
        assert!(told.lines().all(is_quiet), "{command:?}: {told:?}");
    }
}
