//! Docker's own look-up of logins: its file, its variable, and its helpers, as users and their tools leave them.

use crate::support::hubcap::{Hubcap, Place, manifest};
use crate::support::image;
use crate::support::origin::{Origin, Quirk, quirk};
use crate::support::programs::install_script;

/// What is there of Docker's, and how hubcap is started.
struct Logins {
    place: Place,
    origin: Origin,
    variables: Vec<(&'static str, String)>,
}

impl Logins {
    /// A registry that wants `me:hunter2`.
    async fn new() -> Self {
        let (origin, place) = (Origin::start().await, Place::new());
        origin.like_docker_hub(Some("me:hunter2"));
        image::put(&origin, "org/app:1", &[b"layer"]);
        std::fs::create_dir(place.dir.path().join(".docker")).expect("a directory");
        Self { place, origin, variables: Vec::new() }
    }

    /// In a text for Docker's file, `HOST` is the registry.
    fn text(&self, text: &str) -> String {
        text.replace("HOST", self.origin.url().trim_start_matches("http://"))
    }

    fn file(self, text: &str) -> Self {
        std::fs::write(self.place.dir.path().join(".docker/config.json"), self.text(text)).expect("a file");
        self
    }

    fn variable(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, self.text(value)));
        self
    }

    fn helper(self, name: &str, script: &str) -> Self {
        let bin = self.place.dir.path().join("bin");
        std::fs::create_dir_all(&bin).expect("a directory");
        let path = bin.join(format!("docker-credential-{name}"));
        install_script(path, &format!("#!/bin/sh\n{script}\n"));
        let search = format!("{}:{}", bin.display(), std::env::var("PATH").expect("PATH"));
        self.variable("PATH", &search)
    }

    fn start(&self) -> Hubcap {
        let mut command = self.place.serve(&self.origin.url(), &[]);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        Hubcap::spawn(command)
    }

    /// The status of the image's manifest, and what hubcap said.
    async fn play(&self) -> (u16, String) {
        let hubcap = self.start();
        let status = hubcap.get(&manifest("org/app", "1")).await.status().as_u16();
        let log = hubcap.log();
        for secret in ["hunter2", "aHVudGVyMg"] {
            assert!(!log.contains(secret), "{log}");
        }
        (status, log)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_a_login_in_dockers_file_is_found() {
    for text in [
        r#"{"auths":{"http://HOST/v2/":{"auth":"bWU6aHVudGVyMg=="}}}"#,
        r#"{"auths":{"HOST/org":{"auth":"bWU6aHVudGVyMg=="}}}"#,
        r#"{"auths":{"HOST":{"auth":"bWU6aHVu\ndGVyMg"}}}"#,
        r#"{"auths":{"HOST":{"username":"me","password":"hunter2"}}}"#,
        r#"{"auths":{"HOST":{"auth":"bWU6aHVudGVyMg=="},"other.example":{"auth":"?"},"third.example":7}}"#,
        "\u{feff}{\"auths\":{\"HOST\":{\"auth\":\"bWU6aHVudGVyMg==\"}}}",
    ] {
        let (status, log) = Logins::new().await.file(text).play().await;
        assert_eq!(status, 200, "{text}: {log}");
    }
    let variable = r#"{"auths":{"HOST":{"auth":"bWU6aHVudGVyMg=="}}}"#;
    let other = r#"{"auths":{"HOST":{"auth":"bWU6d3Jvbmc="}}}"#;
    let logins = Logins::new().await.file(other).variable("DOCKER_AUTH_CONFIG", variable);
    assert_eq!(logins.play().await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn helpers_are_asked_as_docker_asks_them() {
    const SAYS: &str = r#"echo '{"ServerURL":"x","Username":"me","Secret":"hunter2"}'"#;
    let empty = r#"{"auths":{"HOST":{}},"credsStore":"test"}"#;
    let talks = format!("cat >/dev/null; echo 'key ring {{locked}}' >&2; echo 'Warning: {{old}}'; {SAYS}");
    for (text, script) in [
        (empty, SAYS),
        (r#"{"auths":{"HOST":{"auth":""}},"credHelpers":{"HOST":"test"},"credsStore":"none"}"#, SAYS),
        (empty, talks.as_str()),
        (r#"{"auths":{"HOST":{"auth":"bWU6aHVudGVyMg=="}},"credsStore":"test"}"#, "echo locked; exit 1"),
    ] {
        let (status, log) = Logins::new().await.helper("test", script).file(text).play().await;
        assert_eq!(status, 200, "{text} {script}: {log}");
    }
    // Whatever a helper does, hubcap goes on without it, and says why where that is news.
    for (script, told) in [
        ("echo 'credentials not found in native keychain'; exit 1", None),
        ("echo hunter2; exit 3", Some("docker-credential-test failed: exit status: 3")),
        ("echo hunter2", Some("docker-credential-test printed no login")),
    ] {
        let (status, log) = Logins::new().await.helper("test", script).file(empty).play().await;
        assert_eq!(status, 403);
        assert_eq!(log.contains("WARN"), told.is_some(), "{log}");
        assert!(log.contains(told.unwrap_or_default()), "{log}");
    }
    let (status, log) = Logins::new().await.file(r#"{"credsStore":"absent"}"#).play().await;
    assert!(status == 403 && log.contains("docker-credential-absent cannot be run"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_in_dockers_file_are_used() {
    let posted = |form: &'static str| -> Quirk {
        quirk::answer(move |asked| {
            let answer = || crate::support::origin::Reply::new(r#"{"access_token":"token-1"}"#);
            (asked.method == reqwest::Method::POST && asked.body.contains(form)).then(answer)
        })
    };
    let logins = Logins::new().await;
    logins.origin.quirk("/token", posted("grant_type=refresh_token&client_id=hubcap"));
    let text = r#"{"auths":{"HOST":{"auth":"MDAwOg==","identitytoken":"hunter2"}}}"#;
    let (status, log) = logins.file(text).play().await;
    assert_eq!(status, 200, "{log}");
    let logins = Logins::new().await;
    logins.origin.quirk("/token", quirk::status(500));
    let (status, log) = logins.file(r#"{"auths":{"HOST":{"registrytoken":"token-1"}}}"#).play().await;
    assert_eq!(status, 200, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_file_is_told_once_and_public_images_come_all_the_same() {
    for (text, why) in [
        (r#"{"auths":{"HOST":{"auth":"bWU6aHVudGVyMg=="}"#, "EOF while parsing"),
        (r#"["hunter2"]"#, "not a JSON object"),
        (r#"{"auths":"hunter2"}"#, "its auths is not a JSON object"),
    ] {
        let logins = Logins::new().await.file(text);
        logins.origin.like_docker_hub(None);
        for name in ["org/b:1", "org/c:1"] {
            image::put(&logins.origin, name, &[b"layer"]);
        }
        let upstream = format!("other.example={}", logins.origin.url().replace("127.0.0.1", "localhost"));
        let hubcap = Hubcap::spawn(logins.place.serve(&logins.origin.url(), &["--upstream", &upstream]));
        for name in ["org/app", "org/b", "other.example/org/c"] {
            assert_eq!(hubcap.get(&manifest(name, "1")).await.status(), 200);
        }
        let log = hubcap.log();
        assert_eq!(log.matches("Docker's configuration file cannot be read").count(), 1, "{log}");
        assert!(
            log.contains(why) && log.contains(".docker/config.json") && !log.contains("hunter2"),
            "{log}"
        );
    }
}
