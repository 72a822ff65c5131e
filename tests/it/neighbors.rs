//! What fails for one client, or in one repository, does not keep the others from the registry.

use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::Method;

use crate::support::hubcap::{Hubcap, Place, blob, manifest};
use crate::support::origin::{Act, Origin, Quirk, Reply, quirk};
use crate::support::programs::program;
use crate::support::{eventually, image, noise};

const LIMITED: &str = "Bearer limited";

/// A registry with so many repositories, and hubcap before it.
async fn world(count: usize, more: &[&str]) -> (Origin, Place, Hubcap) {
    let (origin, place) = (Origin::start().await, Place::new());
    for number in 0..count {
        image::put(&origin, &format!("org/app{number}:1"), &[b"layer"]);
    }
    let hubcap = place.start(&origin.url(), more);
    (origin, place, hubcap)
}

async fn get(hubcap: &Hubcap, number: usize) -> u16 {
    hubcap.get(&manifest(&format!("org/app{number}"), "1")).await.status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_limited_does_not_close_the_registry_to_others() {
    let (origin, _place, hubcap) = world(10, &[]).await;
    let limit = quirk::retry_after(429, 600);
    origin.quirk("/v2/", quirk::with_login(LIMITED, limit));
    assert_eq!(hubcap.get_as(&manifest("org/app0", "1"), Some(LIMITED)).await.status(), 404);
    for number in 0..10 {
        assert_eq!(get(&hubcap, number).await, 200, "{}", hubcap.log());
    }
    // It is not asked on behalf of that client for as long as it said.
    origin.forget();
    assert_eq!(hubcap.get_as(&manifest("org/app11", "1"), Some(LIMITED)).await.status(), 404);
    assert_eq!(origin.log().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_fails_does_not_close_the_registry_to_others() {
    let (origin, _place, hubcap) = world(60, &[]).await;
    origin.quirk("/v2/org/broken/", quirk::status(500));
    let tags = ["1", "2", "3", "4"];
    let failed = join_all(
        tags.iter().map(async |tag| hubcap.get(&manifest("org/broken", tag)).await.status().as_u16()),
    );
    assert_eq!(failed.await, [404; 4]);
    for number in 0..60 {
        assert_eq!(get(&hubcap, number).await, 200, "{}", hubcap.log());
    }
    origin.forget();
    assert_eq!(hubcap.get(&manifest("org/broken", "5")).await.status(), 404);
    assert_eq!(origin.log().len(), 0, "the repository itself is left alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moments_absence_is_over_soon_however_many_clients_asked_in_it() {
    const CLIENTS: usize = 100;
    let (origin, _place, hubcap) = world(CLIENTS + 1, &["--upstream-timeout", "2s"]).await;
    origin.quirk("/v2/", quirk::hang());
    let answers = join_all((0..CLIENTS).map(|number| get(&hubcap, number))).await;
    assert!(answers.iter().all(|status| *status == 404), "{answers:?}");
    origin.heal();
    let end = Instant::now() + Duration::from_secs(10);
    while get(&hubcap, CLIENTS).await != 200 {
        assert!(Instant::now() < end, "a registry that is back is not asked: {}", hubcap.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_a_quiet_registry_for_repositories_that_never_answer_does_not_close_it_to_others() {
    let (origin, _place, hubcap) = world(1, &["--upstream-timeout", "1s"]).await;
    origin.quirk("/v2/org/evil", quirk::hang());
    let evil = (0..8)
        .map(async |name| hubcap.get(&manifest(&format!("org/evil{name}"), "1")).await.status().as_u16());
    assert_eq!(join_all(evil).await, [404; 8]);
    assert_eq!(get(&hubcap, 0).await, 200, "{}", hubcap.log());
    let asked = origin.log().iter().filter(|asked| asked.target == "/v2/").count();
    assert_eq!(asked, 1, "the registry itself, once for all of them");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_back_is_open_to_all_though_the_first_that_it_is_asked_for_never_answers() {
    let (origin, _place, hubcap) = world(1, &["--upstream-timeout", "2s"]).await;
    origin.quirk("/v2/", quirk::hang());
    let evil =
        async |name: &str| hubcap.get(&manifest(&format!("org/evil{name}"), "1")).await.status().as_u16();
    let failed = join_all(["a", "b", "c"].map(evil));
    assert_eq!(failed.await, [404; 3]);
    origin.forget();
    assert_eq!(get(&hubcap, 0).await, 404);
    assert_eq!(origin.log().len(), 0, "a registry that is silent itself is left alone");
    origin.heal();
    origin.quirk("/v2/org/evil", quirk::hang());
    // Refused at once until one of them is the probe.
    let probe = async {
        while origin.count(&Method::HEAD, "evil") + origin.count(&Method::GET, "evil") == 0 {
            evil("d").await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let good = async {
        eventually("the probe", || {
            origin.count(&Method::HEAD, "evil") + origin.count(&Method::GET, "evil") > 0
        })
        .await;
        while get(&hubcap, 0).await != 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        biased;
        () = probe => panic!("the probe has ended before others were let pass: {}", hubcap.log()),
        () = good => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_does_not_come_keeps_nobody_waiting_who_wants_another_one() {
    let (origin, _place, hubcap) = world(10, &["--upstream-timeout", "20s"]).await;
    origin.like_docker_hub(None);
    assert_eq!(get(&hubcap, 9).await, 200, "what the registry wants is known");
    origin.quirk("/token?", Quirk::new(|asked| asked.target.contains("app0").then_some(Act::Hang)));
    let late = get(&hubcap, 0);
    let others = async {
        eventually("the first token is asked for", || origin.count(&Method::GET, "app0") > 0).await;
        join_all((1..9).map(|number| get(&hubcap, number))).await
    };
    tokio::select! {
        biased;
        statuses = others => assert_eq!(statuses, [200; 8], "{}", hubcap.log()),
        status = late => panic!("{status} came before the others"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_token_that_is_refused_is_refused_with_it() {
    let (origin, _place, hubcap) = world(1, &[]).await;
    origin.like_docker_hub(None);
    origin.quirk(
        "/token?",
        quirk::answer(|_| {
            std::thread::sleep(Duration::from_millis(300));
            Some(Reply::status(403))
        }),
    );
    let tags: Vec<String> = (0..16).map(|tag| manifest("org/app0", &tag.to_string())).collect();
    let refused = join_all(tags.iter().map(async |path| hubcap.get(path).await.status().as_u16()));
    assert_eq!(refused.await, [403; 16], "{}", hubcap.log());
    let asked = origin.count(&Method::GET, "/token?");
    assert!(asked < 16, "{asked} requests for one and the same no");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_repository_alone_meets_does_not_close_the_registry_to_others() {
    let of_evil = |act: fn() -> Act| Quirk::new(move |asked| asked.target.contains("evil").then(act));
    let limited = || Act::Answer(Reply::status(429).with("retry-after", "600"));
    let token = "/token?";
    for (what, at, quirk) in [
        ("its manifests hang", "/v2/org/evil", quirk::hang()),
        ("its connections are closed", "/v2/org/evil", of_evil(|| Act::Close)),
        ("it is led to a host that is down", "/v2/org/evil", quirk::redirect(307, "http://127.0.0.1:1/x")),
        ("its tokens hang", token, of_evil(|| Act::Hang)),
        ("its tokens fail", token, of_evil(|| Act::Answer(Reply::status(500)))),
        ("its tokens are limited", token, of_evil(limited)),
    ] {
        let (origin, _place, hubcap) = world(12, &["--upstream-timeout", "500ms"]).await;
        origin.like_docker_hub(None);
        origin.quirk(at, quirk);
        assert_eq!(get(&hubcap, 0).await, 200);
        for number in 1..12 {
            let evil = (0..4).map(async |n| {
                let path = manifest("org/evil", &format!("{number}.{n}"));
                hubcap.get(&path).await.status().as_u16()
            });
            assert_eq!(join_all(evil).await, [404; 4], "{what}");
            assert_eq!(get(&hubcap, number).await, 200, "{what}: {}", hubcap.log());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_repositories_that_fail_does_not_close_the_registry_to_others() {
    let evil = |reply: fn() -> Reply| {
        Quirk::new(move |asked| asked.target.contains("evil").then(|| Act::Answer(reply())))
    };
    let limited = || Reply::status(429).with("retry-after", "600");
    for (what, at, quirk) in [
        ("they fail", "/v2/org/evil", quirk::status(500)),
        ("they are led to a host that is down", "/v2/org/evil", quirk::redirect(307, "http://127.0.0.1:1/x")),
        ("their tokens fail", "/token?", evil(|| Reply::status(503))),
        ("their tokens are limited", "/token?", evil(limited)),
    ] {
        let (origin, _place, hubcap) = world(5, &["--upstream-timeout", "500ms"]).await;
        origin.like_docker_hub(None);
        origin.quirk(at, quirk);
        for number in 0..5 {
            // More than before, nothing of which has worked before the first one, and some of which are asked again.
            let names = (0..8).chain(100 * number + 100..100 * number + 108);
            let failed = names.map(async |name| {
                hubcap.get(&manifest(&format!("org/evil{name}"), "1")).await.status().as_u16()
            });
            assert_eq!(join_all(failed).await, [404; 16], "{what}");
            assert_eq!(get(&hubcap, number).await, 200, "{what}: {}", hubcap.log());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_changes_its_token_service_is_asked_what_it_wants_now() {
    let (origin, _place, hubcap) = world(6, &["--upstream-timeout", "1s"]).await;
    // One repository names a service of its own, which is down, and is the first to be asked.
    origin.like_docker_hub(None);
    let realm = r#"Bearer realm="http://127.0.0.1:1/token",service="r""#;
    let own = quirk::change(move |reply| {
        if reply.status == 401 {
            reply.without("www-authenticate").with("www-authenticate", realm)
        } else {
            reply
        }
    });
    origin.quirk("/v2/org/evil", own);
    assert_eq!(hubcap.get(&manifest("org/evil", "1")).await.status(), 404);
    for number in 0..3 {
        assert_eq!(get(&hubcap, number).await, 200, "{}", hubcap.log());
    }
    // The service is gone, and the registry wants no token any more.
    origin.quirk("/token?", quirk::hang());
    origin.want_no_tokens();
    for number in 3..6 {
        assert_eq!(get(&hubcap, number).await, 200, "{}", hubcap.log());
    }
}

/// hubcap, as it is started with `command`, where a name server is asked that never answers.
fn with_silent_name_server(place: &Place, command: &Command) -> (Hubcap, UdpSocket) {
    let mut free = (1..255).filter_map(|last| UdpSocket::bind((Ipv4Addr::new(127, 53, 53, last), 53)).ok());
    let server = free.next().expect("a free address");
    let settings = place.dir.path().join("resolv.conf");
    let address = server.local_addr().expect("an address").ip();
    std::fs::write(&settings, format!("nameserver {address}\n")).expect("written");
    let mut unshared = program("unshare");
    unshared
        .args(["--mount", "sh", "-c", "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\""])
        .arg(settings);
    unshared.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        value.map(|value| unshared.env(name, value));
    }
    (Hubcap::spawn(unshared), server)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_hosts_of_a_silent_name_server_does_not_keep_others_from_their_contents() {
    const HOSTS: usize = 600;
    let (origin, place) = (Origin::start().await, Place::new());
    let image =
        image::put(&origin, "library/x:1", &[&noise(200_000, 1), &noise(200_000, 2), &noise(200_000, 3)]);
    let (hubcap, server) =
        with_silent_name_server(&place, &place.serve(&origin.url(), &["--upstream", "*.silent.example"]));
    let asked = async |number: usize| {
        let path = format!("{}?ns=host{number}.silent.example", manifest("x", "1"));
        hubcap.get(&path).await.status().as_u16()
    };
    let others = async {
        // They wait for an answer by now.
        server.set_nonblocking(true).expect("set");
        let server = tokio::net::UdpSocket::from_std(server).expect("a socket");
        for _ in 0..20 {
            server.recv(&mut [0; 512]).await.expect("a question");
        }
        let mut waited = Vec::new();
        for digest in &image.blobs {
            let began = Instant::now();
            assert!(!hubcap.get(&blob("x", digest)).await.bytes().await.expect("a blob").is_empty());
            waited.push(began.elapsed());
        }
        waited
    };
    let (statuses, waited) = tokio::join!(join_all((0..HOSTS).map(asked)), others);
    assert!(statuses.iter().all(|status| *status == 502), "{statuses:?}");
    assert!(waited.iter().all(|one| *one < Duration::from_secs(2)), "{waited:?}");
}
