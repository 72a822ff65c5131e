use std::time::Duration;

use hubcap_cache::{ClientRequest, RegistryStats, Snapshot};
use hubcap_oci::{Algorithm, Digest};

use super::*;
use crate::job::pulls::Pull;

const GB: u64 = 1_000_000_000;
const SDK: &str = "docker.io/library/sdk";

/// A job that pulled an image of 1 GB in 10 s, of which the Actions cache and the registry had so many bytes.
fn report(cached: u64, fetched: u64) -> Report {
    let one = RepositoryStats {
        tags: ["1".to_owned()].into(),
        hits: 3,
        served: GB,
        fetched,
        cached,
        answering_ms: 2000,
        ..RepositoryStats::default()
    };
    let rate_limit = Some(RateLimit { limit: 100, remaining: 76, window: Duration::from_secs(21600) });
    let meter = Snapshot {
        repositories: [(SDK.to_owned(), one)].into(),
        registries: [("docker.io".to_owned(), RegistryStats { rate_limit, ..Default::default() })].into(),
        ..Snapshot::default()
    };
    let blob = ClientRequest {
        repository: SDK.into(),
        blob: Some(Digest::of(Algorithm::Sha256, b"")),
        place: Some(1),
        came: 1_780_000_000_000,
        began: 1_780_000_000_000,
        ended: 1_780_000_002_000,
        blocked: 0,
        bytes: GB,
        registry: fetched,
        cache: cached,
        worked: 0,
    };
    let pull = Pull {
        repository: SDK.into(),
        began: blob.came,
        sent: blob.ended,
        ended: Some(blob.came + 10_000),
        worked: 0..0,
        blobs: vec![blob],
    };
    Report { meter, pulls: vec![pull], ..Report::default() }
}

/// With a registry that gives one connection so many MB a second.
fn at(speed: u64, report: Report) -> Report {
    let rate = speed as f64 * 1e6;
    let speed = Speed { one: rate, all: rate, bytes: 312_000_000, at: 0 };
    Report { speeds: [("docker.io".to_owned(), speed)].into(), ..report }
}

fn markdown(report: &Report) -> String {
    Summary::new(report, Steps { start: Some(3.0), end: 2.0 }).markdown()
}

#[test]
fn a_gain_is_told_with_what_it_is_made_of() {
    // 20 s of transfer, and 8 s of unpacking.
    let page = markdown(&at(50, report(0, 0)));
    assert!(page.starts_with("### hubcap\n\n**Saved about 13 s.** With hubcap: 15.0 s"), "{page}");
    assert!(page.contains("10.0 s were pulls, 3.0 s hubcap's first step and 2.0 s its last one"), "{page}");
    assert!(page.contains("Without: about 28.0 s, as modeled."), "{page}");
}

#[test]
fn a_loss_is_told_as_readily() {
    let page = markdown(&at(1000, report(0, 0)));
    assert!(page.contains("**Lost about 6 s.**") && page.contains("faster without hubcap"), "{page}");
}

#[test]
fn without_a_speed_nothing_is_claimed() {
    let page = markdown(&report(0, 0));
    assert!(page.contains("**Not measured") && page.contains("docker.io not measured"), "{page}");
}

#[test]
fn where_requests_are_forgotten_nothing_is_claimed() {
    let page = markdown(&at(50, Report { forgotten: 1, ..report(0, 0) }));
    assert!(page.contains("**Not measured"), "{page}");
}

#[test]
fn without_pulls_it_says_where_to_look() {
    assert!(markdown(&Report::default()).contains("**Nothing was pulled through hubcap.**"));
}

#[test]
fn the_store_the_cache_and_the_registry_are_told_apart() {
    let page = markdown(&report(300_000_000, 100_000_000));
    let row = "| `docker.io/library/sdk:1` | partly hit | 600.0 MB | 300.0 MB | 100.0 MB | 2.0 s |";
    assert!(page.contains(row), "{page}");
    assert!(page.contains("1.0 GB went to clients: 600.0 MB came from the store"), "{page}");
}

#[test]
fn the_sample_behind_a_speed_is_told() {
    let page = markdown(&at(50, report(0, 0)));
    assert!(
        page.contains("docker.io 50 MB/s a connection and 50 MB/s in all, measured over 312.0 MB, "),
        "{page}"
    );
    assert!(page.contains("76 of 100 pulls left"), "{page}");
}

#[test]
fn a_pull_that_is_mostly_unpacking_is_told_so() {
    let page = markdown(&report(0, 0));
    assert!(
        page.contains("8.0 of 10.0 s of the pulls passed after the last byte: dockerd unpacked."),
        "{page}"
    );
    assert!(page.contains("  after the last byte :2000, 10000\n"), "{page}");
}

#[test]
fn what_the_figure_leaves_out_is_told() {
    let mut report = at(50, report(0, 0));
    let build = Pull { ended: None, ..report.pulls[0].clone() };
    report.pulls.push(build);
    let page = markdown(&report);
    assert!(page.contains("Not in the figure: pulls of 1.0 GB"), "{page}");
}

#[test]
fn lines_for_a_terminal_have_no_markdown() {
    let text = Summary::new(&at(50, report(1, 1)), Steps { start: None, end: 2.0 }).plain();
    for mark in ["`", "**", "|", "###", "gantt"] {
        assert!(!text.contains(mark), "{mark}: {text}");
    }
    assert!(text.contains("docker.io/library/sdk:1  partly hit: "), "{text}");
}

#[test]
fn a_page_of_many_images_is_bounded() {
    let mut report = report(0, 0);
    let one = report.meter.repositories[SDK].clone();
    for number in 0..5000 {
        let name = format!("docker.io/{}/{number}", "x".repeat(240));
        report.meter.repositories.insert(name.clone(), one.clone());
        report.meter.tag_lock.refused.insert(name, 1);
    }
    let page = markdown(&report);
    assert!(page.len() < 100_000, "{}", page.len());
    assert!(page.contains("4951 more images are not shown"), "{page}");
}

#[test]
fn an_image_that_vanished_is_told_with_its_date() {
    let mut report = report(0, 0);
    let image = RemovedImage { served: 3, confirmed: Some(1_789_084_800) };
    report.meter.removed.insert("docker.io/minio/minio:latest".into(), image);
    report.meter.removed.insert("docker.io/minio/mc".into(), RemovedImage { served: 1, confirmed: None });
    let page = markdown(&report);
    assert!(page.contains("`docker.io/minio/minio:latest` seems to be removed"), "{page}");
    assert!(page.contains("last had it on 2026-09-11") && page.contains("(3 answers)"), "{page}");
    assert!(page.contains("`docker.io/minio/mc` seems to be removed from its registry. It"), "{page}");
}

#[test]
fn no_name_that_a_strange_daemon_tells_is_markdown_on_the_page_or_more_than_a_line_for_a_terminal() {
    const EVIL: &str = "e\u{9b}\u{202e}\n# <b>[x](//y)`|";
    let mut report = at(50, report(0, 1));
    report.meter.repositories =
        report.meter.repositories.into_values().map(|one| (EVIL.to_owned(), one)).collect();
    report.meter.registries =
        report.meter.registries.into_values().map(|one| (EVIL.to_owned(), one)).collect();
    report.pulls[0].repository = EVIL.into();
    let page = markdown(&report);
    for told in [
        "| `e???# ?b?[x](//y)??:1` |",
        "e??????b?[x]? not measured",
        "e??????b?[x]???y??? reported 76 of 100 pulls left",
    ] {
        assert!(page.contains(told), "{told}: {page}");
    }
    for part in ["\u{9b}", "\u{202e}", "<b>", "\n# "] {
        assert!(!page.contains(part), "{part:?}: {page}");
    }
    let lines = Summary::new(&report, Steps { start: None, end: 2.0 }).plain();
    let name = r"e\u{9b}\u{202e}\n# <b>[x](//y)`|:1  ";
    assert!(lines.lines().any(|line| line.starts_with(name)), "{lines}");
}
