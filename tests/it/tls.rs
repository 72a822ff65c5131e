//! HTTPS with the local CA.

use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt as _, chown};

use crate::support::hubcap::Place;
use crate::support::origin::Origin;
use crate::support::programs::{program, succeed};

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_trusts_the_ca_is_served_and_one_that_does_not_is_not() {
    let (origin, place) = (Origin::start().await, Place::new());
    let hubcap = place.start(&origin.url(), &[]);
    let pem = std::fs::read(place.state().join("ca.pem")).expect("the certificate");
    let trusted = reqwest::Certificate::from_pem(&pem).expect("a certificate");
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([trusted]).build().expect("a client");
    for url in [hubcap.https.clone(), hubcap.https.replace("127.0.0.1", "localhost")] {
        assert_eq!(client.get(format!("{url}/v2/")).send().await.expect("an answer").status(), 200);
    }
    let stranger = reqwest::Client::builder().no_proxy().build().expect("a client");
    assert!(stranger.get(format!("{}/v2/", hubcap.https)).send().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_is_for_the_names_that_were_given_too() {
    let (origin, place) = (Origin::start().await, Place::new());
    drop(place.start(&origin.url(), &[]));
    let hubcap = place.start(&origin.url(), &["--name", "mirror.ci.example"]);
    let address: SocketAddr = hubcap.https.trim_start_matches("https://").parse().expect("an address");
    let pem = std::fs::read(place.state().join("ca.pem")).expect("the certificate");
    let trusted = reqwest::Certificate::from_pem(&pem).expect("a certificate");
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([trusted]);
    let client = client.resolve("mirror.ci.example", address).build().expect("a client");
    let url = format!("https://mirror.ci.example:{}/v2/", address.port());
    assert_eq!(client.get(&url).send().await.expect("an answer").status(), 200);
    let strange = client.get(&url).header("host", "rebound.example").send().await.expect("an answer");
    assert_eq!(strange.status(), 421);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_is_torn_or_that_others_may_know_is_made_anew() {
    let (origin, place, another) = (Origin::start().await, Place::new(), Place::new());
    for place in [&place, &another] {
        assert_eq!(place.start(&origin.url(), &[]).stop(), Some(0));
    }
    let [key, pem] = ["ca.key", "ca.pem"].map(|name| place.state().join(name));
    let served = async |what: &str| {
        let before = std::fs::read(&pem).expect("the certificate");
        let hubcap = place.start(&origin.url(), &[]);
        let now = std::fs::read(&pem).expect("the certificate");
        let trusted = reqwest::Certificate::from_pem(&now).expect("a certificate");
        let client =
            reqwest::Client::builder().no_proxy().tls_certs_only([trusted]).build().expect("a client");
        let url = format!("{}/v2/", hubcap.https);
        assert_eq!(client.get(url).send().await.expect(what).status(), 200, "{what}");
        assert_eq!(hubcap.stop(), Some(0));
        before != now
    };
    assert!(!served("it is kept").await);
    std::fs::copy(another.state().join("ca.key"), &key).expect("copied");
    assert!(served("the key is another one's").await);
    std::fs::write(&key, "").expect("written");
    assert!(served("the key is torn").await);
    chown(&key, Some(65_534), None).expect("given away");
    assert!(served("the key is another user's").await);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o666)).expect("changed");
    assert!(served("everybody may write the key").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn openssl_accepts_the_chain_with_its_name_constraints() {
    let (origin, place) = (Origin::start().await, Place::new());
    let hubcap = place.start(&origin.url(), &[]);
    let address = hubcap.https.trim_start_matches("https://");
    let ca = place.state().join("ca.pem");
    let told = succeed(
        program("openssl")
            .args([
                "s_client",
                "-connect",
                address,
                "-verify_return_error",
                "-verify_ip",
                "127.0.0.1",
                "-CAfile",
            ])
            .arg(&ca),
    );
    assert!(told.contains("Verify return code: 0 (ok)"), "{told}");
    let text = succeed(program("openssl").args(["x509", "-noout", "-text", "-in"]).arg(&ca));
    assert!(
        text.contains("CA:TRUE, pathlen:0") && text.contains("X509v3 Name Constraints: critical"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ca_is_private_kept_out_of_the_store_and_used_again() {
    let (origin, place) = (Origin::start().await, Place::new());
    drop(place.start(&origin.url(), &[]));
    let read = |name: &str| std::fs::read_to_string(place.state().join(name)).expect("a file");
    let (certificate, key) = (read("ca.pem"), read("ca.key"));
    for name in ["ca.pem", "ca.key"] {
        let mode = std::fs::metadata(place.state().join(name)).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let found = std::process::Command::new("grep")
        .args(["-rl", "PRIVATE KEY"])
        .arg(place.store())
        .output()
        .expect("grep");
    assert_eq!(found.status.code(), Some(1), "a private key in the store");
    drop(place.start(&origin.url(), &[]));
    assert_eq!((read("ca.pem"), read("ca.key")), (certificate.clone(), key));
    std::fs::write(place.state().join("ca.key"), "rubbish").expect("written");
    drop(place.start(&origin.url(), &[]));
    assert_ne!(read("ca.pem"), certificate, "a CA without its key is made anew");
}
