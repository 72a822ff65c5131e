//! The job summary beside what the job's user measures: a dockerd, a registry that gives each connection so much, and the
//! action's steps.

use std::path::Path;
use std::time::Instant;

use crate::support::actions_cache::ActionsCache;
use crate::support::image;
use crate::support::noise;
use crate::support::origin::Origin;
use crate::support::origin::quirk::{self, Parts};
use crate::support::programs::Dockerd;
use crate::support::runner::{Ended, Job};

const IMAGE: &str = "library/sdk:1";
/// Bytes of its layer, and bytes a second of each connection.
const BYTES: usize = 40_000_000;
const RATE: usize = 10_000_000;
/// By what a step's own clock may differ from this test's, which also starts its process, in seconds.
const ODDS: f64 = 0.7;

/// A job's seconds, by this test's clock, and its last step.
struct Played {
    start: f64,
    pull: f64,
    end: f64,
    ended: Ended,
}

impl Played {
    /// The number behind some words of the page.
    fn says(&self, words: &str) -> f64 {
        let page = &self.ended.summary;
        let rest = page.split_once(words).unwrap_or_else(|| panic!("{words:?} in {page}")).1;
        rest.split(' ').next().and_then(|number| number.parse().ok()).expect("a number")
    }

    /// Asserts that the page has this job's seconds.
    fn assert_measured(&self) {
        let page = &self.ended.summary;
        for (words, measured) in [
            ("With hubcap: ", self.start + self.pull + self.end),
            (" s, of which ", self.pull),
            (" s were pulls, ", self.start),
            (" s hubcap's first step and ", self.end),
        ] {
            let said = self.says(words);
            assert!((said - measured).abs() < 2.0 * ODDS, "{words:?}: {said}, measured {measured}: {page}");
        }
        let saved: f64 = self.ended.output("seconds-saved").parse().expect("a number");
        let verdict = match saved {
            saved if saved > 0.0 => format!("**Saved about {saved} s.**"),
            saved if saved < 0.0 => format!("**Lost about {} s.**", -saved),
            _ => "**About even.**".to_owned(),
        };
        assert!(page.contains(&verdict), "{verdict}: {page}");
    }
}

fn timed<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let began = Instant::now();
    let done = work();
    (began.elapsed().as_secs_f64(), done)
}

/// A job on a new machine, whose store goes on as an archive.
fn play(dir: &Path, cache: &ActionsCache, origin: &Origin) -> Played {
    let (home, docker) = (dir.join("home"), dir.join("docker"));
    for directory in [&home, &docker] {
        std::fs::create_dir_all(directory).expect("a directory");
    }
    let dockerd = Dockerd::start_with(&docker, "{}", &[]);
    let mut job = Job::new(&home, &cache.url).installed();
    job.env("DOCKER_HOST", dockerd.host());
    job.env("HUBCAP_LISTEN", "127.0.0.1:0");
    for (input, value) in [
        ("version", env!("CARGO_BIN_EXE_hubcap")),
        ("upstreams", &format!("docker.io={}", origin.url())),
        ("certs-dir", docker.join("certs.d").to_str().expect("text")),
        ("carry", "archive"),
    ] {
        job.input(input, value);
    }
    let (start, began) = timed(|| job.main());
    assert!(began.success && began.warnings().is_empty(), "{}", began.log);
    let (pull, _) = timed(|| dockerd.docker(&["pull", "--quiet", IMAGE]));
    let (end, ended) = timed(|| job.post("success"));
    assert!(ended.success && ended.warnings().is_empty(), "{}", ended.log);
    Played { start, pull, end, ended }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_summary_says_the_seconds_that_the_job_took_and_would_have_taken() {
    let (origin, cache) = (Origin::start().await, ActionsCache::start());
    image::of_files(&origin, IMAGE, &[("data/noise".to_owned(), noise(BYTES, 1))]);
    // Without parts, one connection brings all of it, as it does for dockerd.
    origin.quirk("/blobs/", quirk::throttle(RATE, Parts::Refused));
    let dir = tempfile::tempdir().expect("a directory");
    let place = |name: &str| {
        let place = dir.path().join(name);
        std::fs::create_dir(&place).expect("a directory");
        place
    };
    let plain = Dockerd::start(&place("plain"), &origin.url());
    let (plain, _) = timed(|| plain.docker(&["pull", "--quiet", IMAGE]));

    let first = play(&place("first"), &cache, &origin);
    first.assert_measured();
    let modeled = first.says("Without: about ");
    assert!((modeled / plain - 1.0).abs() < 0.35, "{modeled}, measured {plain}: {}", first.ended.summary);
    assert!(first.ended.summary.contains("40.0 MB from the registry :crit"), "{}", first.ended.summary);

    // What the first one measured is remembered in the store.
    let second = play(&place("second"), &cache, &origin);
    second.assert_measured();
    assert!(second.pull < plain, "{}", second.pull);
    let modeled = second.says("Without: about ");
    assert!((modeled / plain - 1.0).abs() < 0.35, "{modeled}, measured {plain}: {}", second.ended.summary);
    let page = &second.ended.summary;
    assert!(
        page.contains("| hit | 40.0 MB | 0 B | 0 B |") && page.contains(" from the store :done"),
        "{page}"
    );
}
