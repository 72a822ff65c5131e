//! The HTTP proxy: registries whose TLS ends at hubcap, and tunnels for the rest.

use std::path::Path;
use std::process::Command;

use reqwest::Method;

use crate::real::layout;
use crate::support::eventually;
use crate::support::hubcap::{Place, blob, header, manifest, status};
use crate::support::image;
use crate::support::origin::{Origin, quirk};
use crate::support::programs::{Registry, program, succeed};

const PROXY: [&str; 2] = ["--proxy-listen", "127.0.0.1:0"];

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_through_connect_is_the_same_image_as_by_namespace_and_by_path() {
    let (origin, place) = (Origin::start().await, Place::new());
    let image = image::put(&origin, "org/app:1", &[&[3; 100_000]]);
    let upstream = format!("ghcr.io={}", origin.url());
    let hubcap = place.start("http://127.0.0.1:9", &[PROXY.as_slice(), &["--upstream", &upstream]].concat());
    let client = hubcap.through_proxy(&place);
    for path in [manifest("org/app", "1"), blob("org/app", &image.blobs[1])] {
        let first = client.get(format!("https://ghcr.io{path}")).send().await.expect("an answer");
        assert_eq!((first.status().as_u16(), status(&first).as_str()), (200, "hubcap; fwd=miss; stored"));
        let bytes = first.bytes().await.expect("a body");
        origin.forget();
        let again = client.get(format!("https://GHCR.io:443{path}")).send().await.expect("an answer");
        assert!(status(&again).starts_with("hubcap; hit"), "{}", status(&again));
        for named in [format!("{path}?ns=ghcr.io"), path.replace("/v2/", "/v2/ghcr.io/")] {
            let answer = hubcap.get(&named).await;
            assert!(status(&answer).starts_with("hubcap; hit"), "{named}: {}", status(&answer));
            assert_eq!(answer.bytes().await.expect("a body"), bytes);
        }
        assert_eq!(origin.log().len(), 0);
    }
    // Lists lead on where they were asked.
    for tag in ["2", "3"] {
        image::put(&origin, &format!("org/app:{tag}"), &[tag.as_bytes()]);
    }
    let list = "/v2/org/app/tags/list?n=1";
    for (named, link, namespace) in [
        (
            list.replace("/v2/", "/v2/ghcr.io/"),
            "</v2/ghcr.io/org/app/tags/list?n=1&last=1>; rel=\"next\"",
            "",
        ),
        (
            format!("{list}&ns=ghcr.io"),
            "</v2/org/app/tags/list?n=1&last=1&ns=ghcr.io>; rel=\"next\"",
            "ghcr.io",
        ),
    ] {
        let answer = hubcap.get(&named).await;
        assert_eq!(
            (header(&answer, "link").as_str(), header(&answer, "oci-namespace").as_str()),
            (link, namespace)
        );
    }
    let answer = client.get(format!("https://ghcr.io{list}")).send().await.expect("an answer");
    assert_eq!(header(&answer, "link"), "</v2/org/app/tags/list?n=1&last=1>; rel=\"next\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_holds_through_connect_too_whatever_is_pushed() {
    let (origin, place) = (Origin::start().await, Place::new());
    let locked = image::put(&origin, "org/app:1", &[b"locked"]);
    let moved = image::put(&origin, "org/app:1", &[b"moved"]);
    image::put(&origin, "org/app:2", &[b"another"]);
    let lock = place.dir.path().join("hubcap.lock");
    let text = format!("version = 1\n\n[images.\"ghcr.io/org/app:1\"]\ndigest = \"{}\"\n", locked.digest);
    std::fs::write(&lock, text).expect("written");
    let (upstream, frozen) = (format!("ghcr.io={}", origin.url()), format!("--frozen={}", lock.display()));
    let more = [PROXY.as_slice(), &["--upstream", &upstream, &frozen]].concat();
    let hubcap = place.start("http://127.0.0.1:9", &more);
    let client = hubcap.through_proxy(&place);
    let ask = async |method: Method, path: String| {
        client.request(method, format!("https://ghcr.io{path}")).send().await.expect("an answer")
    };
    // A HEAD of a blob is a step of a push, after which the registry is asked what a tag means.
    for is_pushed in [false, true] {
        if is_pushed {
            ask(Method::HEAD, blob("org/app", &moved.blobs[1])).await;
        }
        for method in [Method::GET, Method::HEAD] {
            let answer = ask(method.clone(), manifest("org/app", "1")).await;
            assert_eq!(header(&answer, "docker-content-digest"), locked.digest, "{method} {is_pushed}");
            let answer = ask(method.clone(), manifest("org/app", "2")).await;
            let told = status(&answer);
            assert_eq!(
                (answer.status().as_u16(), told.as_str()),
                (404, "hubcap; detail=not-locked"),
                "{method}"
            );
        }
    }
    assert_eq!(ask(Method::TRACE, "/v2/".into()).await.status(), 405);
    let place = Place::new();
    origin.quirk(&locked.digest, quirk::status(404));
    let hubcap = place.start("http://127.0.0.1:9", &more);
    let client = hubcap.through_proxy(&place);
    let answer =
        client.get(format!("https://ghcr.io{}", manifest("org/app", "1"))).send().await.expect("an answer");
    assert_eq!(answer.status(), 404, "the registry has another one");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_registrys_own_challenge_and_its_noes_reach_the_client_and_a_dead_one_is_told() {
    let (mut origin, place) = (Origin::start().await, Place::new());
    let image = image::put(&origin, "org/private:1", &[b"layer"]);
    image::put(&origin, "org/public:1", &[b"layer"]);
    origin.make_private("org/private", "me:hunter2", "Bearer mine");
    let upstream = format!("ghcr.io={}", origin.url());
    let hubcap = place.start("http://127.0.0.1:9", &[PROXY.as_slice(), &["--upstream", &upstream]].concat());
    let client = hubcap.through_proxy(&place);
    let get = async |path: &str, who: Option<&str>| {
        let mut request = client.get(format!("https://ghcr.io{path}"));
        if let Some(who) = who {
            request = request.header("authorization", who);
        }
        request.send().await.expect("an answer")
    };
    for path in ["/v2/".to_owned(), manifest("org/private", "1"), blob("org/private", &image.blobs[1])] {
        let answer = get(&path, None).await;
        assert_eq!(answer.status(), 401, "{path}");
        assert!(
            header(&answer, "www-authenticate").starts_with("Bearer realm=\"http://127.0.0.1:"),
            "{path}"
        );
    }
    assert_eq!(get(&manifest("org/private", "1"), Some("Bearer mine")).await.status(), 200);
    assert_eq!(get(&manifest("org/public", "1"), None).await.status(), 200);
    assert_eq!(get(&manifest("org/public", "2"), Some("Bearer x")).await.status(), 404);
    origin.die().await;
    assert_eq!(get("/v2/", None).await.status(), 502);
    let answer = get(&manifest("org/public", "3"), None).await;
    assert_eq!(answer.status(), 502);
    assert!(answer.text().await.expect("a body").contains("cannot be used now"));
    assert!(status(&get(&manifest("org/public", "1"), None).await).starts_with("hubcap; hit"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_intercepted_is_tunnelled_where_that_is_allowed() {
    let (origin, place) = (Origin::start().await, Place::new());
    image::put(&origin, "library/x:1", &[b"layer"]);
    let first = place.start(&origin.url(), &[]);
    let inside = first.https.trim_start_matches("https://").to_owned();
    let other = Place::new();
    let start =
        |tunnel: &str| other.start(&origin.url(), &[PROXY.as_slice(), &["--proxy-tunnel", tunnel]].concat());
    let ask = async |hubcap: &crate::support::hubcap::Hubcap| {
        let pem = std::fs::read(place.state().join("ca.pem")).expect("the certificate");
        let trusted = reqwest::Certificate::from_pem(&pem).expect("a certificate");
        let proxy = reqwest::Proxy::https(hubcap.proxy.as_deref().expect("a proxy")).expect("a URL");
        let client =
            reqwest::Client::builder().proxy(proxy).tls_certs_only([trusted]).build().expect("a client");
        client.get(format!("https://{inside}{}", manifest("x", "1"))).send().await
    };
    let hubcap = start(&inside);
    // The certificate is the other one's: nobody is between.
    assert_eq!(ask(&hubcap).await.expect("an answer").status(), 200);
    assert_eq!(hubcap.stop(), Some(0), "a tunnel that is silent holds nobody up");
    let hubcap = start("127.0.0.1:1");
    assert!(ask(&hubcap).await.is_err());
    eventually("the log says how to allow it", || hubcap.log().contains("--proxy-tunnel 127.0.0.1:")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ca_is_for_the_intercepted_registries_and_keeps_its_key_when_it_learns_of_one() {
    let (origin, place) = (Origin::start().await, Place::new());
    let read = |name: &str| std::fs::read_to_string(place.state().join(name)).expect("a file");
    let text = || {
        succeed(program("openssl").args(["x509", "-noout", "-text", "-in"]).arg(place.state().join("ca.pem")))
    };
    drop(place.start(&origin.url(), &[]));
    let (first, key) = (read("ca.pem"), read("ca.key"));
    assert!(!text().contains("DNS:ghcr.io"));
    let intercept =
        ["--proxy-intercept", "ghcr.io", "--upstream", "*.azurecr.io", "--proxy-intercept", "*.azurecr.io"];
    let upstream = format!("ghcr.io={}", origin.url());
    let more = [PROXY.as_slice(), &intercept, &["--upstream", &upstream]].concat();
    let hubcap = place.start(&origin.url(), &more);
    let told = text();
    assert!(
        told.contains("DNS:ghcr.io") && told.contains("DNS:azurecr.io") && !told.contains("quay.io"),
        "{told}"
    );
    assert_eq!(read("ca.key"), key);
    // Who trusts the old one goes on to be served as a mirror's client.
    let old = reqwest::Certificate::from_pem(first.as_bytes()).expect("a certificate");
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([old]).build().expect("a client");
    assert_eq!(client.get(format!("{}/v2/", hubcap.https)).send().await.expect("an answer").status(), 200);
    assert_eq!(
        hubcap.through_proxy(&place).get("https://ghcr.io/v2/").send().await.expect("an answer").status(),
        200
    );
    let second = read("ca.pem");
    drop(hubcap);
    // One that is for more than is needed stays.
    drop(place.start(&origin.url(), &[]));
    assert_eq!(read("ca.pem"), second);
}

/// skopeo, which knows only of the proxy, and trusts hubcap for ghcr.io.
fn skopeo(place: &Path, proxy: &str) -> Command {
    let certificates = place.join("certificates");
    std::fs::create_dir_all(&certificates).expect("a directory");
    std::fs::copy(place.join("state/ca.pem"), certificates.join("ca.crt")).expect("copied");
    let mut skopeo = program("skopeo");
    skopeo.args(["--insecure-policy"]).env("HTTPS_PROXY", proxy);
    skopeo
}

#[tokio::test(flavor = "multi_thread")]
async fn skopeo_logs_in_pushes_and_pulls_through_connect_and_gets_what_it_pushed_last() {
    let place = Place::new();
    let dir = place.dir.path();
    std::fs::write(dir.join("htpasswd"), crate::registries::HTPASSWD).expect("a file");
    let auth = format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", dir.join("htpasswd").display());
    let registry = Registry::start_with(dir, &auth);
    let upstream = format!("ghcr.io=http://127.0.0.1:{}", registry.port);
    let hubcap = place.start("http://127.0.0.1:9", &[PROXY.as_slice(), &["--upstream", &upstream]].concat());
    let proxy = hubcap.proxy.clone().expect("a proxy");
    let image = layout(dir);
    let copy = |from: &str, to: &str, more: &[&str]| {
        let mut skopeo = skopeo(dir, &proxy);
        let certificates = dir.join("certificates").display().to_string();
        skopeo.arg("copy").args(more).args([from, to]);
        skopeo
            .arg(if to.starts_with("docker:") { "--dest-cert-dir" } else { "--src-cert-dir" })
            .arg(certificates);
        skopeo
    };
    let local = format!("oci:{}:it", image.display());
    let name = "docker://ghcr.io/org/app:1";
    assert!(!copy(&local, name, &["--dest-creds", "me:wrong"]).output().expect("it runs").status.success());
    succeed(&mut copy(&local, name, &["--dest-creds", "me:hunter2"]));
    let pulled = |into: &str| {
        let into = dir.join(into);
        let to = format!("dir:{}", into.display());
        succeed(&mut copy(name, &to, &["--src-creds", "me:hunter2"]));
        std::fs::read(into.join("manifest.json")).expect("a manifest")
    };
    let first = pulled("first");
    assert_eq!(pulled("second"), first);
    // The config and three layers, once.
    let misses = |log: &str| {
        log.lines().filter(|line| line.contains("/blobs/") && line.contains("outcome=\"miss\"")).count()
    };
    eventually("each blob was fetched once", || misses(&hubcap.log()) == 4).await;
    // Within the TTL, another one under the same tag.
    succeed(&mut copy(&local, name, &["--dest-creds", "me:hunter2", "--format", "v2s2"]));
    assert_ne!(pulled("third"), first);
    // Nobody else has it, and hubcap has no login.
    let answer = hubcap.ask(Method::GET, &manifest("ghcr.io/org/app", "1"), &[]).await;
    assert_eq!(answer.status(), 403);
    assert!(!hubcap.log().contains("hunter2") && !hubcap.log().contains("bWU6aHVudGVyMg"));
}
