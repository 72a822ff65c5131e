//! Answers as servers write them, byte for byte: what Go's client reads, hubcap reads.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::quirks::{REGISTRY, REPOSITORY};
use crate::support::hubcap::{Place, manifest};
use crate::support::image::sha256;

const BODY: &str =
    r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
const TYPE: &str = "Content-Type: application/vnd.oci.image.index.v1+json";

/// What they do, and an answer to a GET.
fn answers() -> Vec<(&'static str, Vec<u8>)> {
    let length = format!("Content-Length: {}", BODY.len());
    let head = |more: &str| format!("HTTP/1.1 200 OK\r\n{TYPE}\r\n{length}\r\n{more}\r\n{BODY}").into_bytes();
    let with = |begin: &str| format!("{begin}{TYPE}\r\n{length}\r\n\r\n{BODY}").into_bytes();
    let (first, second) = BODY.split_at(20);
    let chunked = |name: &str, trailer: &str| {
        format!(
            "HTTP/1.1 200 OK\r\n{TYPE}\r\n{name}\r\n\r\n{:x};name=value\r\n{first}\r\n{:X}\r\n{second}\r\n0\r\n{trailer}\r\n",
            first.len(),
            second.len()
        )
        .into_bytes()
    };
    let mut latin = head("X-Name: caf?\r\n");
    let at = latin.iter().position(|byte| *byte == b'?').expect("the mark");
    latin[at] = 0xe9;
    vec![
        ("as they should", head("")),
        (
            "early hints before",
            with("HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\n"),
        ),
        ("100 before", with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")),
        ("no reason", with("HTTP/1.1 200\r\n")),
        ("an empty reason", with("HTTP/1.1 200 \r\n")),
        ("a reason that is not ASCII", with("HTTP/1.1 200 Tr\u{e8}s bien\r\n")),
        ("the length twice", head(&format!("{length}\r\n"))),
        (
            "lines that end with a line feed alone",
            String::from_utf8(head("")).expect("text").replace("\r\n", "\n").into_bytes(),
        ),
        ("a header over two lines", head("X-Long: one,\r\n  two\r\n")),
        ("a space behind a header's name", head("X-Space : one\r\n")),
        ("a header with a space in its name", head("X Space: one\r\n")),
        ("a header whose value is Latin-1", latin),
        ("chunks with extensions", chunked("Transfer-Encoding: chunked", "")),
        ("chunks with trailers", chunked("Transfer-Encoding: chunked", "X-Sum: 1\r\n")),
        ("chunks that are called so in capitals", chunked("TRANSFER-ENCODING: Chunked", "")),
        ("a length beside chunks", chunked("Content-Length: 7\r\nTransfer-Encoding: chunked", "")),
        ("HTTP/1.0", with("HTTP/1.0 200 OK\r\n")),
        ("a web page behind the answer", [head(""), b"<html>".to_vec()].concat()),
    ]
}

/// Answers every request of a connection, a HEAD with the body as well where `is_rude`.
async fn serve(listener: TcpListener, answer: Vec<u8>, is_rude: bool) {
    while let Ok((stream, _)) = listener.accept().await {
        let answer = answer.clone();
        tokio::spawn(async move { requests(stream, &answer, is_rude).await });
    }
}

async fn requests(mut stream: TcpStream, answer: &[u8], is_rude: bool) -> std::io::Result<()> {
    let mut found = Vec::new();
    while stream.read_buf(&mut found).await? > 0 {
        if !found.ends_with(b"\r\n\r\n") {
            continue;
        }
        if found.starts_with(b"HEAD") && !is_rude {
            let head = format!(
                "HTTP/1.1 200 OK\r\n{TYPE}\r\nDocker-Content-Digest: {}\r\n\r\n",
                sha256(BODY.as_bytes())
            );
            stream.write_all(head.as_bytes()).await?;
        } else {
            stream.write_all(answer).await?;
        }
        found.clear();
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_gos_client_reads_is_read_however_it_is_written() {
    let mut wrong = Vec::new();
    for (what, answer) in answers() {
        if let Err(why) = ask(answer, false).await {
            wrong.push(format!("{what}: {why}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_answered_with_a_body_costs_nothing() {
    let (_, answer) = answers().remove(0);
    assert_eq!(ask(answer, true).await, Ok(()));
}

/// Asks for some tags, over connections that are used again.
async fn ask(answer: Vec<u8>, is_rude: bool) -> Result<(), String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let upstream = format!("{REGISTRY}=http://{}", listener.local_addr().expect("an address"));
    let server = tokio::spawn(serve(listener, answer, is_rude));
    let place = Place::new();
    let hubcap = place.start("http://127.0.0.1:9", &["--tag-ttl", "0s", "--upstream", &upstream]);
    for tag in ["1", "2", "1", "3"] {
        let got = hubcap.get(&manifest(&format!("{REGISTRY}/{REPOSITORY}"), tag)).await;
        let (code, text) = (got.status(), got.text().await.expect("a body"));
        if code != 200 || text != BODY {
            return Err(format!("{tag}: {code} {text}"));
        }
    }
    server.abort();
    Ok(())
}
