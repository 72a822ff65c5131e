//! The pulls as bars of time, which GitHub draws from Mermaid's `gantt`.

use std::fmt::Write as _;

use hubcap_cache::ClientRequest;

use super::escape::label;
use crate::job::pulls::{Pull, groups};
use crate::show::progress::bytes;

/// Pulls that are drawn, and layers of each: the largest ones.
const PULLS: usize = 8;
const LAYERS: usize = 5;
/// A first byte that took less than this, in milliseconds, is no wait.
const WAIT: u64 = 100;
/// Between pulls that do not overlap, so much time is drawn.
const BETWEEN: u64 = 1000;
/// Unpacking of less than this, in seconds, is nothing to save at.
const LITTLE: f64 = 2.0;

/// The seconds of the pulls of which the end is known.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Shares {
    /// All.
    pub(crate) whole: f64,
    /// After the client had the last byte: dockerd unpacks.
    pub(crate) after: f64,
    /// In which bytes were there, and the client took none.
    pub(crate) blocked: f64,
}

impl Shares {
    pub(crate) fn of(pulls: &[Pull]) -> Self {
        // Milliseconds of a job are far from f64's limits.
        let seconds = |from: u64, to: u64| to.saturating_sub(from) as f64 / 1000.0;
        let mut shares = Self::default();
        for (pull, ended) in pulls.iter().filter_map(|pull| Some((pull, pull.ended?))) {
            shares.whole += seconds(pull.began, ended);
            shares.after += seconds(pull.sent, ended);
            // Blobs are sent at the same time.
            shares.blocked += pull.blobs.iter().map(|blob| seconds(0, blob.blocked)).fold(0.0, f64::max);
        }
        shares
    }

    /// Whether most of the time passed after the last byte.
    pub(crate) fn is_mostly_unpacking(&self) -> bool {
        self.after > LITTLE && self.after > self.whole / 2.0
    }
}

/// The diagram; empty where nothing was pulled.
pub(super) fn diagram(pulls: &[Pull]) -> String {
    let mut largest: Vec<&Pull> = pulls.iter().collect();
    largest.sort_by_key(|pull| std::cmp::Reverse(pull.bytes()));
    largest.truncate(PULLS);
    largest.sort_by_key(|pull| pull.began);
    if largest.is_empty() {
        return String::new();
    }
    // `x` reads milliseconds since the epoch, and `%s` writes seconds since it: no clock of the reader's has a part in it.
    let mut text = "\n```mermaid\ngantt\n  title Seconds of the pulls, without the time between them\n  dateFormat x\n  \
                    axisFormat %s\n  todayMarker off\n"
        .to_owned();
    let mut start = 0;
    for group in groups(&largest) {
        let began = group.first().map_or(0, |pull| pull.began);
        let at = |moment: u64| start + moment.saturating_sub(began);
        for pull in group {
            draw(&mut text, pull, at);
        }
        start = group.iter().map(|pull| at(pull.end())).max().unwrap_or(start) + BETWEEN;
    }
    text.push_str("```\n");
    let undrawn = pulls.len() - largest.len();
    if undrawn > 0 {
        let _ = writeln!(text, "\n{undrawn} smaller pulls are not drawn.");
    }
    text
}

fn draw(text: &mut String, pull: &Pull, at: impl Fn(u64) -> u64) {
    let _ = writeln!(text, "  section {}", label(&pull.repository));
    let first = pull.blobs.iter().map(|blob| blob.began).min().unwrap_or(pull.began);
    // A bar of no time is not drawn.
    let mut bar = |name: &str, class: &str, (from, to): (u64, u64)| {
        let _ = writeln!(text, "  {name} :{class}{}, {}", at(from), at(to.max(from + 1)));
    };
    if first > pull.began + WAIT {
        bar("until the first byte", "", (pull.began, first));
    }
    let mut layers: Vec<&ClientRequest> = pull.blobs.iter().collect();
    layers.sort_by_key(|blob| std::cmp::Reverse(blob.bytes));
    let rest = layers.split_off(layers.len().min(LAYERS));
    layers.sort_by_key(|blob| blob.place);
    for blob in layers {
        let source = Source::of(blob);
        bar(&format!("{} {}", bytes(blob.bytes), source.name()), source.class(), (blob.began, blob.ended));
    }
    if let Some(last) = rest.iter().map(|blob| blob.ended).max() {
        let begin = rest.iter().map(|blob| blob.began).min().unwrap_or(last);
        let size = bytes(rest.iter().map(|blob| blob.bytes).sum());
        bar(&format!("{} smaller, {size}", rest.len()), "", (begin, last));
    }
    if let Some(ended) = pull.ended {
        bar("after the last byte", "", (pull.sent, ended));
    }
}

/// Where most of a blob's bytes came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Store,
    Cache { alone: bool },
    Registry { alone: bool },
}

impl Source {
    fn of(blob: &ClientRequest) -> Self {
        let (registry, cache) = (blob.registry, blob.cache);
        let store = blob.bytes.saturating_sub(registry + cache);
        if store >= registry.max(cache) {
            Self::Store
        } else if cache > registry {
            Self::Cache { alone: cache == blob.bytes }
        } else {
            Self::Registry { alone: registry == blob.bytes }
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Store => "from the store",
            Self::Cache { alone: true } => "from the Actions cache",
            Self::Cache { alone: false } => "mostly from the Actions cache",
            Self::Registry { alone: true } => "from the registry",
            Self::Registry { alone: false } => "mostly from the registry",
        }
    }

    /// Mermaid's own classes, which are readable in the light theme and the dark one.
    fn class(self) -> &'static str {
        match self {
            Self::Store => "done, ",
            Self::Cache { .. } => "active, ",
            Self::Registry { .. } => "crit, ",
        }
    }
}

#[cfg(test)]
mod tests {
    use hubcap_oci::{Algorithm, Digest};

    use super::*;

    fn blob(number: u64, (registry, cache): (u64, u64)) -> ClientRequest {
        ClientRequest {
            repository: "docker.io/library/sdk".into(),
            blob: Some(Digest::of(Algorithm::Sha256, &number.to_be_bytes())),
            place: None,
            came: 0,
            began: 1500,
            ended: 2500,
            blocked: 0,
            bytes: 100_000_000 + number,
            registry,
            cache,
            worked: 0,
        }
    }

    fn pull(began: u64, ended: Option<u64>, blobs: Vec<ClientRequest>) -> Pull {
        let repository = "docker.io/library/sdk".into();
        Pull { repository, began, sent: 2500, ended, worked: 0..0, blobs }
    }

    #[test]
    fn each_part_of_a_pull_is_a_bar() {
        let whole = 100_000_000;
        let blobs = vec![blob(0, (0, 0)), blob(0, (0, whole)), blob(0, (whole - 1, 1))];
        assert_eq!(
            diagram(&[pull(1000, Some(9000), blobs)]).lines().skip(7).collect::<Vec<_>>(),
            [
                "  section docker.io/library/sdk",
                "  until the first byte :0, 500",
                "  100.0 MB from the store :done, 500, 1500",
                "  100.0 MB from the Actions cache :active, 500, 1500",
                "  100.0 MB mostly from the registry :crit, 500, 1500",
                "  after the last byte :1500, 8000",
                "```",
            ]
        );
    }

    #[test]
    fn of_many_layers_the_small_ones_share_a_bar() {
        let blobs = (0..50).map(|number| blob(number, (0, 0))).collect();
        let diagram = diagram(&[pull(1500, None, blobs)]);
        assert!(diagram.contains("  45 smaller, 4.5 GB :0, 1000\n"), "{diagram}");
        assert_eq!(diagram.matches("from the store").count(), LAYERS);
    }

    #[test]
    fn the_time_between_pulls_is_not_drawn() {
        let later = |mut blob: ClientRequest| {
            (blob.began, blob.ended) = (3_600_000, 3_601_000);
            blob
        };
        let second = Pull { sent: 3_601_000, ..pull(3_600_000, None, vec![later(blob(1, (0, 0)))]) };
        let diagram = diagram(&[pull(1500, Some(3500), vec![blob(0, (0, 0))]), second]);
        assert!(diagram.contains(":done, 3000, 4000\n"), "{diagram}");
    }

    #[test]
    fn the_diagram_is_bounded() {
        let many = |number| pull(1500, None, (0..2000).map(|layer| blob(layer * number, (0, 0))).collect());
        let diagram = diagram(&(1_u64..300).map(many).collect::<Vec<_>>());
        assert!(diagram.len() < 10_000, "{}", diagram.len());
        assert!(diagram.contains("291 smaller pulls are not drawn"), "{diagram}");
    }

    #[test]
    fn a_pull_that_was_sent_at_once_and_ended_late_was_mostly_unpacking() {
        assert!(Shares::of(&[pull(1500, Some(9000), vec![blob(0, (0, 0))])]).is_mostly_unpacking());
        assert!(!Shares::of(&[pull(1500, Some(3000), vec![blob(0, (0, 0))])]).is_mostly_unpacking());
        assert!(!Shares::of(&[pull(1500, None, vec![blob(0, (0, 0))])]).is_mostly_unpacking());
    }
}
