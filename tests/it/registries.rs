//! Several registries at once, with the same repository in each: never mixed up. Three of Debian's docker-registry: one
//! for everybody, one with htpasswd, one with token authentication.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::SystemTime;

use axum::Router;
use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{Request, Response, StatusCode, header};
use hubcap_oci::query::parse_query;
use serde_json::json;

use crate::support::hubcap::{Hubcap, Place, blob, manifest, status};
use crate::support::image::sha256;
use crate::support::programs::{Registry, program, succeed};

/// `me:hunter2`, by `htpasswd -nbB`.
pub(crate) const HTPASSWD: &str = "me:$2y$05$yKgkFH1c0LaQZZAc86J3iumErf5JlwDgZ6B5NFloWBaZRVBkR4rtO\n";

/// A token service (distribution's token specification) that gives `you:t0p` what is asked for, and others nothing.
/// Its tokens are signed with RS256.
async fn token_service(dir: &Path) -> String {
    let (key, certificate) = (dir.join("token.key"), dir.join("token.crt"));
    succeed(
        program("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=tokens",
                "-keyout",
            ])
            .arg(&key)
            .arg("-out")
            .arg(&certificate),
    );
    let pem = std::fs::read_to_string(certificate).expect("a certificate");
    let chain: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/token", listener.local_addr().expect("an address"));
    let app = Router::new().fallback(async move |request: Request<Body>| {
        let expected = format!("Basic {}", STANDARD.encode("you:t0p"));
        let sent = request.headers().get(header::AUTHORIZATION).map(|value| value.to_str().expect("text").to_owned());
        if sent.as_ref().is_some_and(|sent| *sent != expected) {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            return response;
        }
        let query = parse_query(request.uri().query());
        let scope = query.iter().find(|(key, _)| key == "scope").map(|(_, value)| value.clone()).unwrap_or_default();
        let access: Vec<_> = scope
            .rsplit_once(':')
            .and_then(|(rest, actions)| Some((rest.split_once(':')?, actions)))
            .filter(|_| sent.is_some())
            .map(|((kind, name), actions)| {
                json!({"type": kind, "name": name, "actions": actions.split(',').collect::<Vec<_>>()})
            })
            .into_iter()
            .collect();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time").as_secs();
        let claims = json!({"iss": "tokens", "sub": "you", "aud": "third", "iat": now, "nbf": now - 60, "exp": now + 300,
            "jti": now.to_string(), "access": access});
        let head = json!({"typ": "JWT", "alg": "RS256", "x5c": [chain]});
        let signed = [head, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let mut openssl = program("openssl")
            .args(["dgst", "-sha256", "-sign"])
            .arg(&key)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("openssl starts");
        openssl.stdin.take().expect("its input").write_all(signed.as_bytes()).expect("written");
        let signature = openssl.wait_with_output().expect("its end").stdout;
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
        Response::new(Body::from(json!({"token": token, "expires_in": 300}).to_string()))
    });
    tokio::spawn(async move { axum::serve(listener, app).await.expect("a server") });
    url
}

/// An image whose one layer nobody else has, in a layout of its own; its layer's digest.
fn image(dir: &Path, text: &str) -> (std::path::PathBuf, String) {
    let root = dir.join("own");
    std::fs::create_dir_all(root.join("blobs/sha256")).expect("a directory");
    let put = |media_type: &str, bytes: &[u8]| {
        let digest = sha256(bytes);
        std::fs::write(root.join("blobs/sha256").join(digest.trim_start_matches("sha256:")), bytes)
            .expect("written");
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    };
    let plain = text.repeat(10_000);
    std::fs::write(dir.join("layer"), &plain).expect("written");
    // What is compressed already is pushed as it is.
    succeed(program("gzip").args(["-1", "-n", "-f"]).arg(dir.join("layer")));
    let layer = std::fs::read(dir.join("layer.gz")).expect("read");
    let layer = put("application/vnd.oci.image.layer.v1.tar+gzip", &layer);
    let config = json!({"os": "linux", "architecture": "amd64", "author": text,
        "rootfs": {"type": "layers", "diff_ids": [sha256(plain.as_bytes())]}});
    let config = put("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
    let manifest_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest =
        json!({"schemaVersion": 2, "mediaType": manifest_type, "config": config, "layers": [layer]});
    let mut entry = put(manifest_type, manifest.to_string().as_bytes());
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": "it"});
    std::fs::write(root.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("written");
    let index = json!({"schemaVersion": 2, "manifests": [entry]});
    std::fs::write(root.join("index.json"), index.to_string()).expect("written");
    (root, layer["digest"].as_str().expect("a digest").to_owned())
}

/// Three registries, each with an image of its own as `org/app:1`.
struct Three {
    dirs: [tempfile::TempDir; 3],
    registries: [Registry; 3],
    layers: Vec<String>,
}

const NAMES: [&str; 3] = ["ghcr.io", "quay.io", "registry.example:5000"];

impl Three {
    async fn start() -> Self {
        let dirs = [(); 3].map(|()| tempfile::tempdir().expect("a directory"));
        let [_, second, third] = [0, 1, 2].map(|at: usize| dirs[at].path());
        std::fs::write(second.join("htpasswd"), HTPASSWD).expect("a file");
        let realm = token_service(third).await;
        let more = [
            String::new(),
            format!(
                "auth:\n  htpasswd:\n    realm: second\n    path: {}\n",
                second.join("htpasswd").display()
            ),
            format!(
                "auth:\n  token:\n    realm: {realm}\n    service: third\n    issuer: tokens\n    rootcertbundle: {}\n",
                third.join("token.crt").display()
            ),
        ];
        let registries = [0, 1, 2].map(|at| Registry::start_with(dirs[at].path(), &more[at]));
        let mut layers = Vec::new();
        for at in 0..3 {
            let (layout, layer) = image(dirs[at].path(), NAMES[at]);
            let mut skopeo = program("skopeo");
            skopeo.args(["--insecure-policy", "copy", "--dest-tls-verify=false"]);
            skopeo.args([[].as_slice(), &["--dest-creds", "me:hunter2"], &["--dest-creds", "you:t0p"]][at]);
            skopeo.arg(format!("oci:{}:it", layout.display()));
            let port = registries[at].port;
            let pushing = skopeo.arg(format!("docker://127.0.0.1:{port}/org/app:1"));
            let mut pushing = std::mem::replace(pushing, program("true"));
            tokio::task::spawn_blocking(move || succeed(&mut pushing)).await.expect("pushed");
            layers.push(layer);
        }
        Self { dirs, registries, layers }
    }

    fn hubcap(&self, place: &Place, logins: &str) -> Hubcap {
        let ports = self.registries.each_ref().map(|registry| registry.port);
        let mut command = place.serve("http://127.0.0.1:9", &["--proxy-listen", "127.0.0.1:0"]);
        for (name, port) in NAMES.iter().zip(ports) {
            command.args(["--upstream", &format!("{name}=http://127.0.0.1:{port}")]);
        }
        if !logins.is_empty() {
            command.env("HUBCAP_LOGIN", logins);
        }
        Hubcap::spawn(command)
    }
}

/// How a client names a registry.
fn named(at: usize, path: &str) -> [String; 2] {
    let segment = NAMES[at].replace(':', "_");
    [format!("{path}?ns={}", NAMES[at]), path.replace("/v2/", &format!("/v2/{segment}/"))]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_repository_in_three_registries_is_three_repositories_however_they_are_named() {
    let (three, place) = (Three::start().await, Place::new());
    let logins = "quay.io=me:hunter2,registry.example:5000=you:t0p";
    let hubcap = three.hubcap(&place, logins);
    let client = hubcap.through_proxy(&place);
    for round in 0..2 {
        for at in 0..3 {
            for path in named(at, &manifest("org/app", "1")) {
                let answer = hubcap.get(&path).await;
                assert_eq!(answer.status(), 200, "{path}: {}", hubcap.log());
                let text = answer.text().await.expect("a body");
                assert!(text.contains(&three.layers[at]), "{path} in round {round}: {text}");
            }
            for (other, layer) in three.layers.iter().enumerate() {
                for path in named(at, &blob("org/app", layer)) {
                    let answer = hubcap.get(&path).await;
                    assert_eq!(answer.status() == 200, other == at, "{path}: {}", answer.status());
                    answer.bytes().await.expect("a body");
                }
            }
        }
    }
    // Through the proxy, with nobody's login but hubcap's: what each says is its own.
    let answer = client.get("https://ghcr.io/v2/org/app/manifests/1").send().await.expect("an answer");
    assert!(answer.text().await.expect("a body").contains(&three.layers[0]));
    let answer = client.get("https://registry.example:5000/v2/").send().await.expect("an answer");
    let challenge = crate::support::hubcap::header(&answer, "www-authenticate");
    assert!(challenge.contains("service=\"third\""), "{challenge}");
    // No login went to another than its own registry.
    for registry in &three.registries {
        assert!(!registry.log().contains("hunter2") && !registry.log().contains("t0p"));
    }
    assert!(!hubcap.log().contains("hunter2") && !hubcap.log().contains("t0p"));
    drop(hubcap);
    // Another job has the store, and no login: what is not public stays.
    let hubcap = three.hubcap(&place, "");
    for (at, expected) in [200, 403, 403].into_iter().enumerate() {
        for path in [manifest("org/app", "1"), blob("org/app", &three.layers[at])] {
            for path in named(at, &path) {
                assert_eq!(hubcap.get(&path).await.status(), expected, "{path}");
            }
        }
    }
    // A client's own login opens what is its own.
    let mine = format!("Basic {}", STANDARD.encode("me:hunter2"));
    let headers = [("authorization", mine.as_str())];
    let answer = hubcap.ask(reqwest::Method::GET, &named(1, &manifest("org/app", "1"))[0], &headers).await;
    assert_eq!(answer.status(), 200, "{}", status(&answer));
    let answer = hubcap.ask(reqwest::Method::GET, &named(2, &manifest("org/app", "1"))[0], &headers).await;
    assert_eq!(answer.status(), 403);
    assert!(three.dirs.iter().all(|dir| dir.path().exists()));
}
