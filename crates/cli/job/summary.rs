//! The job summary: the time and bytes that hubcap saved in a run, as Markdown.

use std::fmt::Write as _;

use hubcap_cache::{RemovedImage, RepositoryStats, Snapshot};
use hubcap_upstream::RateLimit;
use time::OffsetDateTime;

use crate::job::speed::Speeds;
use crate::show::progress::bytes;

/// How many images get bars.
const BARS: usize = 8;
/// A difference of less than this, in seconds, counts as none.
const EVEN: f64 = 1.0;

/// What a run measured.
pub(crate) struct Summary<'a> {
    meter: &'a Snapshot,
    speeds: &'a Speeds,
    /// How long restoring the store took, in seconds, where that is known.
    restored_in: Option<f64>,
}

/// What the cache was worth.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Worth {
    /// Nothing was pulled.
    Nothing,
    /// Everything came from the upstream.
    Filled,
    /// Bytes came from the store, and nothing tells how long they would have taken else.
    Unmeasured { saved: u64 },
    /// `upstream` seconds for what the store gave in `store` seconds, after `restore` seconds.
    Measured { saved: u64, upstream: f64, store: f64, restore: Option<f64> },
}

/// How a repository was answered, in a word; `None` when nothing of it was pulled.
fn word(one: &RepositoryStats) -> Option<&'static str> {
    match (one.stale, one.saved(), one.fetched, one.failed) {
        (1.., ..) => Some("stale"),
        (0, 0, 0, 0) => None,
        (0, 0, 0, _) => Some("failed"),
        (0, _, 0, _) => Some("hit"),
        (0, 0, ..) => Some("miss"),
        (0, ..) => Some("partly hit"),
    }
}

impl<'a> Summary<'a> {
    pub(crate) const fn new(meter: &'a Snapshot, speeds: &'a Speeds, restored_in: Option<f64>) -> Self {
        Self { meter, speeds, restored_in }
    }

    /// Bytes that no upstream had to send.
    pub(crate) fn saved(&self) -> u64 {
        self.meter.repositories.values().map(RepositoryStats::saved).sum()
    }

    fn worth(&self) -> Worth {
        let served: u64 = self.meter.repositories.values().map(|one| one.served).sum();
        let (saved, mut upstream, mut unmeasured) = (self.saved(), 0.0, false);
        for (name, one) in self.meter.repositories.iter().filter(|(_, one)| one.saved() > 0) {
            let registry = name.split('/').next().unwrap_or_default();
            match self.speeds.get(registry) {
                Some(speed) => upstream += speed.seconds(one.saved(), one.largest),
                None => unmeasured = true,
            }
        }
        // Of an image that came from both, the store's part of its time.
        let part = |one: &RepositoryStats| one.saved() as f64 / one.served.max(1) as f64;
        let store =
            self.meter.repositories.values().map(|one| part(one) * one.answering_ms as f64 / 1000.0).sum();
        match (served, saved) {
            (0, _) => Worth::Nothing,
            (_, 0) => Worth::Filled,
            _ if unmeasured => Worth::Unmeasured { saved },
            _ => Worth::Measured { saved, upstream, store, restore: self.restored_in },
        }
    }

    /// The summary, for `$GITHUB_STEP_SUMMARY`.
    pub(crate) fn markdown(&self) -> String {
        let mut markdown = format!("### hubcap\n\n{}\n", self.verdict());
        let pulled: Vec<_> = self.meter.repositories.iter().filter(|(_, one)| word(one).is_some()).collect();
        if !pulled.is_empty() {
            markdown.push_str(
                "\n| image | | from the store | from upstream | answered in |\n|---|---|--:|--:|--:|\n",
            );
        }
        for (name, one) in &pulled {
            let tags: Vec<String> = one.tags.iter().map(|tag| format!(":{tag}")).collect();
            let tags = tags.join(", ");
            let (stored, fetched) = (bytes(one.saved()), bytes(one.fetched));
            let seconds = one.answering_ms as f64 / 1000.0;
            let _ = writeln!(
                markdown,
                "| `{name}{tags}` | {} | {stored} | {fetched} | {seconds:.1} s |",
                word(one).unwrap_or_default()
            );
        }
        markdown.push_str(&chart(&pulled));
        for name in self.meter.tag_lock.refused.keys() {
            let _ = writeln!(
                markdown,
                "\n`{name}` is not in `hubcap.lock` and was refused; dockerd fetches it past hubcap."
            );
        }
        for (name, now) in &self.meter.tag_lock.moved {
            let _ =
                writeln!(markdown, "\n`{name}` was served as it is locked; upstream it is `{now}` by now.");
        }
        for (name, image) in &self.meter.removed {
            let _ = writeln!(markdown, "\n{}", removed(name, image));
        }
        for (name, registry) in &self.meter.registries {
            if let Some(RateLimit { remaining, limit, .. }) = registry.rate_limit {
                let _ = writeln!(
                    markdown,
                    "\n{name} reported {remaining} of {limit} pulls left in its rate limit."
                );
            }
        }
        markdown
    }

    /// Honest: a cache that costs more than it saves says so, and what to do.
    fn verdict(&self) -> String {
        match self.worth() {
            Worth::Nothing => {
                "No image was pulled through hubcap in this job, so it saved nothing. If images were pulled, \
                they went past it: `hubcap doctor` says why."
                    .into()
            }
            Worth::Filled => {
                "Everything came from upstream in this job, and fills the store for the next one: \
                nothing was saved yet."
                    .into()
            }
            Worth::Unmeasured { saved } => format!(
                "**{}** came from the store instead of upstream. How long upstream would have taken was not measured: \
                 nothing of that size was fetched yet.",
                bytes(saved)
            ),
            Worth::Measured { saved, upstream, store, restore } => {
                let spent = store + restore.unwrap_or(0.0);
                let restored = restore.map_or_else(
                    || " (what restoring the cache took is not known here, and comes on top)".to_owned(),
                    |restore| format!(", restoring the cache ({restore:.1} s) included"),
                );
                let figures = format!(
                    "**{}** came from the store in {spent:.1} s{restored}; dockerd alone, at the speed measured from here, would \
                     have taken about {upstream:.1} s to fetch it.",
                    bytes(saved)
                );
                let gain = upstream - spent;
                let verdict = if gain > EVEN {
                    format!("The cache saved this job about **{gain:.0} s**.")
                } else if gain > -EVEN {
                    "In time that is even; what it saved is upstream's traffic and rate limit.".to_owned()
                } else {
                    format!(
                        "The cache **cost this job about {:.0} s**. A smaller store is restored faster (`max-size`, fewer \
                         images); where upstream is as near as the cache, the job is faster without hubcap.",
                        -gain
                    )
                };
                format!("{verdict} {figures}")
            }
        }
    }
}

/// Says that an image is gone upstream, and since when at most.
fn removed(name: &str, image: &RemovedImage) -> String {
    let confirmed =
        image.confirmed.and_then(|at| OffsetDateTime::from_unix_timestamp(i64::try_from(at).ok()?).ok());
    let since = confirmed.map_or_else(String::new, |at| format!(", which last had it on {}", at.date()));
    format!(
        "`{name}` seems to be removed from its registry{since}. It was served from the store ({} answers), because \
         `on-removed` says so. It gets no updates any more: replace it, or keep a copy in a registry of yours.",
        image.served
    )
}

/// Bars, as GitHub draws them from Mermaid.
fn chart(pulled: &[(&String, &RepositoryStats)]) -> String {
    let mut largest: Vec<_> = pulled.iter().filter(|(_, one)| one.served + one.fetched > 0).collect();
    largest.sort_by_key(|(_, one)| std::cmp::Reverse(one.saved() + one.fetched));
    largest.truncate(BARS);
    if largest.is_empty() {
        return String::new();
    }
    let (mut names, mut bars) = (Vec::new(), Vec::new());
    for (name, one) in largest {
        let short = name.rsplit('/').next().unwrap_or(name);
        for (from, count) in [("store", one.saved()), ("upstream", one.fetched)] {
            // Quotes and brackets mean something to Mermaid; a repository's name has none.
            names.push(format!("\"{short}: {from}\""));
            bars.push(format!("{:.1}", count as f64 / 1e6));
        }
    }
    format!(
        "\n```mermaid\nxychart-beta horizontal\n  title \"MB from the store and from upstream\"\n  x-axis [{}]\n  bar [{}]\n```\n",
        names.join(", "),
        bars.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hubcap_cache::RegistryStats;

    use super::*;
    use crate::job::speed::Speed;

    fn meter(served: u64, fetched: u64, answering_ms: u64) -> Snapshot {
        let one = RepositoryStats {
            tags: ["1".to_owned()].into(),
            hits: 3,
            misses: u64::from(fetched > 0),
            served,
            fetched,
            answering_ms,
            ..RepositoryStats::default()
        };
        let rate_limit = Some(RateLimit { limit: 100, remaining: 76, window: Duration::from_secs(21600) });
        Snapshot {
            repositories: [("docker.io/library/sdk".to_owned(), one)].into(),
            registries: [("docker.io".to_owned(), RegistryStats { rate_limit, ..Default::default() })].into(),
            ..Snapshot::default()
        }
    }

    fn markdown(meter: &Snapshot, speed_of_one: Option<f64>, restored_in: Option<f64>) -> String {
        let speed = |speed: f64| ("docker.io".to_owned(), Speed { one: speed, all: speed });
        let speeds = speed_of_one.map(speed).into_iter().collect();
        Summary::new(meter, &speeds, restored_in).markdown()
    }

    #[test]
    fn a_gain_a_loss_and_what_is_not_known_are_told_apart() {
        let hit = meter(1_000_000_000, 0, 2000);
        let gain = markdown(&hit, Some(50e6), Some(3.0));
        assert!(gain.contains("saved this job about **15 s**"), "{gain}");
        assert!(gain.contains("| `docker.io/library/sdk:1` | hit | 1.0 GB | 0 B | 2.0 s |"), "{gain}");
        assert!(gain.contains("76 of 100 pulls left") && gain.contains("bar [1000.0, 0.0]"), "{gain}");
        let loss = markdown(&hit, Some(500e6), Some(30.0));
        assert!(loss.contains("cost this job about 30 s") && loss.contains("max-size"), "{loss}");
        assert!(markdown(&hit, Some(500e6), None).contains("even"), "2 s and 2 s");
        assert!(markdown(&hit, None, Some(3.0)).contains("was not measured"));
        assert!(markdown(&meter(1000, 1000, 1), None, None).contains("nothing was saved yet"));
        assert!(markdown(&meter(0, 0, 0), None, None).contains("No image was pulled"));
    }

    #[test]
    fn an_image_that_vanished_is_told_with_its_date() {
        let mut meter = meter(1000, 0, 1);
        let image = RemovedImage { served: 3, confirmed: Some(1_789_084_800) };
        meter.removed.insert("docker.io/minio/minio:latest".into(), image);
        meter.removed.insert("docker.io/minio/mc".into(), RemovedImage { served: 1, confirmed: None });
        let told = markdown(&meter, None, None);
        assert!(told.contains("`docker.io/minio/minio:latest` seems to be removed"), "{told}");
        assert!(told.contains("last had it on 2026-09-11") && told.contains("(3 answers)"), "{told}");
        assert!(told.contains("`docker.io/minio/mc` seems to be removed from its registry. It"), "{told}");
    }
}
