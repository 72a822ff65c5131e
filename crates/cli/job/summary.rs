//! The job summary: the time and bytes that hubcap saved, as Markdown for the job's page and as lines for a terminal.

mod escape;
mod timeline;

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use hubcap_cache::{RemovedImage, RepositoryStats};
use hubcap_upstream::RateLimit;
use time::OffsetDateTime;

use crate::job::report::Report;
use crate::job::speed::{Speed, Speeds};
use crate::job::worth::{Steps, Worth};
use crate::job::{github, plain};
use crate::show::progress::bytes;
use crate::show::strangers::visible;
use crate::show::unpacking::Told;
use escape::{code, host};
use timeline::{Shares, diagram};

/// Images in the table, and lines of each kind below it: GitHub drops a page of more than 1 MiB.
const IMAGES: usize = 50;
const LINES: usize = 20;
/// Tags that are named of an image.
const TAGS: usize = 5;

/// A job's report, and what hubcap's own steps took.
struct Summary<'a> {
    report: &'a Report,
    worth: Worth,
}

/// An image that was pulled.
struct Row<'a> {
    name: String,
    word: &'static str,
    stats: &'a RepositoryStats,
}

/// Adds the summary to the job's page, and sets the step's output. Outside a job, returns it as lines for a terminal.
pub(crate) fn publish(report: &Report, steps: Steps) -> Option<String> {
    let summary = Summary::new(report, steps);
    if let Some(seconds) = summary.worth.seconds_saved() {
        github::output("seconds-saved", &seconds.to_string());
    }
    (!github::summary(&summary.markdown())).then(|| summary.plain())
}

impl<'a> Summary<'a> {
    fn new(report: &'a Report, steps: Steps) -> Self {
        Self { report, worth: report.worth(steps) }
    }

    /// For `$GITHUB_STEP_SUMMARY`.
    fn markdown(&self) -> String {
        let Self { report, worth } = self;
        let mut text = format!("### hubcap\n\n**{}** {}\n", worth.verdict(), worth.reasons());
        let rows = self.rows();
        if !rows.is_empty() {
            let _ = writeln!(text, "\n{}", self.sources());
            text.push_str(
                "\n| image | | store | Actions cache | registry | answered in |\n|---|---|--:|--:|--:|--:|\n",
            );
        }
        for Row { name, word, stats } in rows.iter().take(IMAGES) {
            let _ = writeln!(
                text,
                "| {} | {word} | {} | {} | {} | {:.1} s |",
                code(name),
                bytes(stored(stats)),
                bytes(stats.cached),
                bytes(stats.fetched),
                stats.answering_ms as f64 / 1000.0
            );
        }
        text.push_str(&more(rows.len(), IMAGES, "images"));
        text.push_str(&diagram(&report.pulls));
        self.lines(code).for_each(|line| {
            let _ = writeln!(text, "\n{line}");
        });
        text
    }

    /// For a terminal or a log.
    fn plain(&self) -> String {
        let mut text = format!("{} {}\n", self.worth.verdict(), self.worth.reasons().replace('`', ""));
        let rows = self.rows();
        if !rows.is_empty() {
            let _ = writeln!(text, "{}", self.sources());
        }
        for Row { name, word, stats } in rows.iter().take(IMAGES) {
            let _ = writeln!(
                text,
                "{}  {word}: {} from the store, {} from the Actions cache, {} from the registry, answered in {:.1} s",
                visible(name),
                bytes(stored(stats)),
                bytes(stats.cached),
                bytes(stats.fetched),
                stats.answering_ms as f64 / 1000.0
            );
        }
        text.push_str(&more(rows.len(), IMAGES, "images"));
        self.lines(visible).for_each(|line| {
            let _ = writeln!(text, "{line}");
        });
        text
    }

    /// The images, the largest first.
    fn rows(&self) -> Vec<Row<'_>> {
        let row = |(name, stats): (&String, &'a RepositoryStats)| {
            let mut tags: Vec<String> = stats.tags.iter().take(TAGS).map(|tag| format!(":{tag}")).collect();
            if stats.tags.len() > TAGS {
                tags.push("...".into());
            }
            Some(Row { name: format!("{name}{}", tags.join(", ")), word: word(stats)?, stats })
        };
        let mut rows: Vec<Row<'_>> = self.report.meter.repositories.iter().filter_map(row).collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.stats.served));
        rows
    }

    /// Where the bytes came from.
    fn sources(&self) -> String {
        let sum = |count: fn(&RepositoryStats) -> u64| {
            self.report.meter.repositories.values().map(count).sum::<u64>()
        };
        format!(
            "{} went to clients: {} came from the store, {} from the Actions cache and {} from registries.",
            bytes(sum(|one| one.served)),
            bytes(sum(stored)),
            bytes(sum(|one| one.cached)),
            bytes(sum(|one| one.fetched))
        )
    }

    /// The sentences below the table; `name` writes an image's name.
    fn lines(&self, name: impl Fn(&str) -> String) -> impl Iterator<Item = String> {
        let Report { meter, pulls, speeds, unpacking, .. } = self.report;
        let mut lines = Vec::new();
        let shares = Shares::of(pulls);
        if shares.whole > 0.0 {
            let mut line = format!(
                "{:.1} of {:.1} s of the pulls passed after the last byte: dockerd unpacked.",
                shares.after, shares.whole
            );
            if shares.blocked > 1.0 {
                let _ = write!(line, " For {:.1} s bytes were there, and dockerd took none.", shares.blocked);
            }
            let advice = unpacking.as_ref().and_then(Told::store_advice);
            if let Some(advice) = advice.filter(|_| shares.is_mostly_unpacking()) {
                let _ = write!(line, " {advice}");
            }
            lines.push(line);
        }
        let uncounted: u64 =
            pulls.iter().filter(|pull| !plain::is_known(pull, speeds)).map(|pull| pull.bytes()).sum();
        if uncounted > 0 && self.worth.seconds_saved().is_some() {
            lines.push(format!(
                "Not in the figure: pulls of {}, of which dockerd does not say the end (builds, other clients), or whose registry's speed \
                 was not measured.",
                bytes(uncounted)
            ));
        }
        lines.extend(unpacking.as_ref().map(Told::to_string));
        lines.extend(measured(speeds, pulls.iter().map(|pull| pull.repository.as_str())));
        let refused = meter.tag_lock.refused.keys().take(LINES).map(|image| {
            format!("{} is not in hubcap.lock and was refused; dockerd fetches it past hubcap.", name(image))
        });
        lines.extend(refused);
        if meter.tag_lock.refused.len() > LINES || meter.tag_lock.others_refused > 0 {
            lines.push(
                "More tags that are not in hubcap.lock were refused; hubcap's log names up to 500.".into(),
            );
        }
        let moved = meter.tag_lock.moved.iter().take(LINES).map(|(image, now)| {
            format!(
                "{} was served as it is locked; the registry has {} by now.",
                name(image),
                name(&now.to_string())
            )
        });
        lines.extend(moved);
        lines.extend(meter.removed.iter().take(LINES).map(|(image, removed)| gone(&name(image), removed)));
        for (registry, stats) in meter.registries.iter().take(LINES) {
            if let Some(RateLimit { remaining, limit, .. }) = stats.rate_limit {
                lines.push(format!(
                    "{} reported {remaining} of {limit} pulls left in its rate limit.",
                    host(registry)
                ));
            }
        }
        lines.into_iter()
    }
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

/// Bytes that clients got and that were in the store.
fn stored(one: &RepositoryStats) -> u64 {
    one.saved().saturating_sub(one.cached)
}

fn more(all: usize, shown: usize, what: &str) -> String {
    if all > shown { format!("\n{} more {what} are not shown.\n", all - shown) } else { String::new() }
}

/// How fast the registries are that something was pulled from, and how that is known.
fn measured<'a>(speeds: &Speeds, repositories: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut registries: Vec<&str> = repositories.filter_map(|name| name.split('/').next()).collect();
    registries.sort_unstable();
    registries.dedup();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let told: Vec<String> = registries
        .into_iter()
        .take(LINES)
        .map(|registry| match speeds.get(registry) {
            Some(Speed { one, all, bytes: sample, at }) => {
                let age = match now.saturating_sub(*at) / 86_400 {
                    0 => String::new(),
                    1 => ", a day ago".to_owned(),
                    days => format!(", {days} days ago"),
                };
                format!(
                    "{} {:.0} MB/s a connection and {:.0} MB/s in all, measured over {}{age}",
                    host(registry),
                    one / 1e6,
                    all / 1e6,
                    bytes(*sample)
                )
            }
            None => format!("{} not measured, for which 20 MB from there are needed", host(registry)),
        })
        .collect();
    (!told.is_empty()).then(|| format!("Speed of the registries: {}.", told.join("; ")))
}

/// Says that an image is gone upstream, and since when at most.
fn gone(name: &str, image: &RemovedImage) -> String {
    let confirmed =
        image.confirmed.and_then(|at| OffsetDateTime::from_unix_timestamp(i64::try_from(at).ok()?).ok());
    let since = confirmed.map_or_else(String::new, |at| format!(", which last had it on {}", at.date()));
    format!(
        "{name} seems to be removed from its registry{since}. It was served from the store ({} answers), because \
         on-removed says so. It gets no updates any more: replace it, or keep a copy in a registry of yours.",
        image.served
    )
}

#[cfg(test)]
mod tests;
