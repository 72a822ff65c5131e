//! How fast a single connection is, as well as a run can tell.

use std::time::Duration;

/// A connection must bring this many bytes before its rate counts: below, the time is mostly the registry's first answer.
const LEAST: u64 = 1 << 20;
/// How many bytes the fastest connections must have brought together before their rate is a measure.
const ENOUGH: u64 = 20_000_000;

/// The fastest connections, as many as brought enough together. Connections that share a line are slower than one alone, so the
/// mean of all would tell of hubcap's own parallel fetches; and one lucky small connection tells nothing.
#[derive(Debug, Default)]
pub(super) struct Fastest(Vec<Connection>);

#[derive(Debug, Clone, Copy)]
struct Connection {
    bytes: u64,
    took: Duration,
}

impl Connection {
    /// Bytes a second.
    fn rate(self) -> f64 {
        // Bytes of a blob are far from f64's limits.
        self.bytes as f64 / self.took.as_secs_f64().max(1e-6)
    }
}

impl Fastest {
    /// Notes a connection that brought `bytes` in `took`.
    pub(super) fn note(&mut self, bytes: u64, took: Duration) {
        if bytes < LEAST {
            return;
        }
        let new = Connection { bytes, took };
        let place = self.0.partition_point(|one| one.rate() >= new.rate());
        self.0.insert(place, new);
        let before = |one: &Connection, sum: &mut u64| {
            let is_needed = *sum < ENOUGH;
            *sum += one.bytes;
            is_needed
        };
        let mut sum = 0;
        self.0.retain(|one| before(one, &mut sum));
    }

    /// Bytes a second; `None` where too few came to tell.
    pub(super) fn rate(&self) -> Option<f64> {
        let bytes = self.0.iter().map(|one| one.bytes).sum::<u64>();
        let took = self.0.iter().map(|one| one.took).sum();
        (bytes >= ENOUGH).then(|| Connection { bytes, took }.rate())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1_000_000;

    fn rate(connections: &[(u64, u64)]) -> Option<u64> {
        let mut fastest = Fastest::default();
        for (mb, millis) in connections {
            fastest.note(mb * MB, Duration::from_millis(*millis));
        }
        assert!(fastest.0.len() <= 20, "memory is bounded");
        fastest.rate().map(|rate| (rate / 1e6).round() as u64)
    }

    #[test]
    fn less_than_twenty_megabytes_tell_nothing() {
        assert_eq!(rate(&[]), None);
        assert_eq!(rate(&[(15, 100), (4, 100)]), None);
        assert_eq!(rate(&[(15, 100), (5, 100)]), Some(100));
    }

    #[test]
    fn connections_that_shared_the_line_do_not_count_beside_fast_ones() {
        assert_eq!(rate(&[(100, 10_000), (30, 500), (100, 10_000)]), Some(60));
    }

    #[test]
    fn a_lucky_small_connection_counts_with_what_else_it_takes_to_be_enough() {
        assert_eq!(rate(&[(2, 10), (38, 990)]), Some(40));
        let many: Vec<(u64, u64)> = (0..1000).map(|_| (2, 40)).collect();
        assert_eq!(rate(&many), Some(50));
    }
}
