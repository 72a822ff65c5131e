//! What pulls without hubcap would have taken: a model.
//!
//! dockerd fetches an image's layers at the same time and unpacks them one after the other, each when it is there and all before
//! it are unpacked. So a pull takes about as long as the longer of the two, and what cannot overlap: the fetch of the first layer
//! and the unpacking of the last. When each layer was there, and when the pull ended, is known of the pulls with hubcap. That tells how
//! long dockerd unpacks; a layer's part of it is its part of the bytes. The model then has the layers come as fast as the registry
//! would have sent them, and unpacks them again.
//!
//! hubcap and dockerd share the processors. What hubcap works while a pull goes on, it takes from the unpacking: of so many processors,
//! each second of work is that part of a second. Where some are idle that is too much, and the model is too short by it.
//!
//! It leaves out the registry's first answers.

use crate::job::pulls::{Pull, groups};
use crate::job::speed::{Speed, Speeds};

/// Layers that dockerd fetches at a time, each over one connection. Into containerd's store it fetches all, which is then seen.
const CONNECTIONS: usize = 3;
/// How often the interval is halved in which the time for unpacking lies.
const HALVINGS: usize = 60;
/// The least number of bytes that counts as left.
const EPSILON: f64 = 1e-3;

/// Seconds of pulls; those that overlap count once.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Estimate {
    /// With hubcap, as measured.
    pub(crate) with_hubcap: f64,
    /// Without it, as modeled.
    pub(crate) plain: f64,
}

/// A pull, in seconds since the first one of its group began.
struct Timed<'a> {
    began: f64,
    layers: Vec<Layer<'a>>,
}

struct Layer<'a> {
    bytes: f64,
    /// When all of it was with dockerd.
    received: f64,
    speed: &'a Speed,
}

/// The time of these pulls with hubcap and without it. A pull whose end or whose registry's speed is not known is left out; `None` where that
/// leaves none.
///
/// `processors` is how many the machine has.
pub(crate) fn estimate(pulls: &[Pull], speeds: &Speeds, processors: usize) -> Option<Estimate> {
    let known: Vec<&Pull> = pulls.iter().filter(|pull| is_known(pull, speeds)).collect();
    let mut whole = Estimate::default();
    for group in groups(&known) {
        let one = estimate_group(group, speeds, processors);
        whole.with_hubcap += one.with_hubcap;
        whole.plain += one.plain;
    }
    Some(whole).filter(|_| !known.is_empty())
}

/// Whether a pull's end is known, and how fast its registry is.
pub(crate) fn is_known(pull: &Pull, speeds: &Speeds) -> bool {
    pull.ended.is_some() && speed_of(pull, speeds).is_some()
}

fn speed_of<'a>(pull: &Pull, speeds: &'a Speeds) -> Option<&'a Speed> {
    speeds.get(pull.repository.split('/').next()?)
}

fn estimate_group(pulls: &[&Pull], speeds: &Speeds, processors: usize) -> Estimate {
    let start = pulls.iter().map(|pull| pull.began).min().unwrap_or_default();
    let end = pulls.iter().map(|pull| pull.end()).max().unwrap_or_default();
    // Milliseconds of a job are far from f64's limits.
    let seconds = |at: u64| at.saturating_sub(start) as f64 / 1000.0;
    let timed: Vec<Timed<'_>> = pulls
        .iter()
        .filter_map(|pull| {
            let speed = speed_of(pull, speeds)?;
            let layer = |blob: &hubcap_cache::ClientRequest| Layer {
                bytes: blob.bytes as f64,
                received: seconds(blob.ended),
                speed,
            };
            Some(Timed { began: seconds(pull.began), layers: pull.blobs.iter().map(layer).collect() })
        })
        .collect();
    let received = timed.iter().map(|pull| pull.layers.iter().map(|layer| layer.received).collect());
    let per_byte = unpacking(&timed, &received.collect::<Vec<_>>(), seconds(end));
    let undisturbed = per_byte - (worked(pulls) / processors as f64 / bytes(&timed)).min(per_byte);
    let plain = finish(&timed, &transfers(&timed, connections(pulls)), undisturbed);
    Estimate { with_hubcap: seconds(end), plain }
}

/// Seconds of processor time that the daemon used while these pulls went on.
fn worked(pulls: &[&Pull]) -> f64 {
    let began = pulls.iter().map(|pull| pull.worked.start).min().unwrap_or_default();
    let ended = pulls.iter().map(|pull| pull.worked.end).max().unwrap_or_default();
    ended.saturating_sub(began) as f64 / 1000.0
}

/// Bytes of all layers, one at least.
fn bytes(pulls: &[Timed<'_>]) -> f64 {
    pulls.iter().flat_map(|pull| &pull.layers).map(|layer| layer.bytes).sum::<f64>().max(1.0)
}

/// How many blobs were asked for at the same time, and at least what dockerd's own store asks for.
fn connections(pulls: &[&Pull]) -> usize {
    let blobs = || pulls.iter().flat_map(|pull| &pull.blobs);
    let at = |moment: u64| blobs().filter(|blob| blob.came <= moment && moment < blob.ended).count();
    blobs().map(|blob| at(blob.came)).max().unwrap_or_default().max(CONNECTIONS)
}

/// When all is unpacked, if the layers are there at these times, and each byte takes so many seconds.
fn finish(pulls: &[Timed<'_>], received: &[Vec<f64>], per_byte: f64) -> f64 {
    let unpacked = |(pull, received): (&Timed<'_>, &Vec<f64>)| {
        let layers = pull.layers.iter().zip(received);
        layers.fold(pull.began, |done, (layer, received)| done.max(*received) + layer.bytes * per_byte)
    };
    pulls.iter().zip(received).map(unpacked).fold(0.0, f64::max)
}

/// Seconds that unpacking takes for each byte, where all is unpacked at `end`.
fn unpacking(pulls: &[Timed<'_>], received: &[Vec<f64>], end: f64) -> f64 {
    // With more, unpacking alone would take longer than the pull.
    let (mut least, mut most) = (0.0, end * pulls.len() as f64 / bytes(pulls));
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(least, most);
        if finish(pulls, received, middle) < end {
            least = middle;
        } else {
            most = middle;
        }
    }
    least
}

/// When each layer would be there, over as many connections at a time, which share the line.
fn transfers(pulls: &[Timed<'_>], connections: usize) -> Vec<Vec<f64>> {
    struct Transfer<'a> {
        at: (usize, usize),
        ready: f64,
        left: f64,
        speed: &'a Speed,
    }
    let mut waiting: Vec<Transfer<'_>> = pulls
        .iter()
        .enumerate()
        .flat_map(|(number, pull)| {
            pull.layers.iter().enumerate().map(move |(place, layer)| Transfer {
                at: (number, place),
                ready: pull.began,
                left: layer.bytes,
                speed: layer.speed,
            })
        })
        .collect();
    // The next one is the last.
    waiting.sort_by(|one, other| other.ready.total_cmp(&one.ready).then(other.at.cmp(&one.at)));
    let mut received: Vec<Vec<f64>> = pulls.iter().map(|pull| vec![0.0; pull.layers.len()]).collect();
    let (mut now, mut running) = (0.0, Vec::<Transfer<'_>>::new());
    loop {
        while running.len() < connections
            && let Some(next) = waiting.pop_if(|next| next.ready <= now)
        {
            running.push(next);
        }
        let next_ready = waiting.last().filter(|_| running.len() < connections).map(|next| next.ready);
        let count = running.len() as f64;
        let rate = |transfer: &Transfer<'_>| transfer.speed.one.min(transfer.speed.all / count);
        let first_end =
            running.iter().map(|transfer| now + transfer.left / rate(transfer)).min_by(f64::total_cmp);
        let Some(then) = first_end.into_iter().chain(next_ready).min_by(f64::total_cmp) else {
            return received;
        };
        let passed = then - now;
        for transfer in &mut running {
            transfer.left -= passed * rate(transfer);
        }
        now = then;
        running.retain(|transfer| {
            let goes_on = transfer.left > EPSILON;
            if !goes_on {
                received[transfer.at.0][transfer.at.1] = now;
            }
            goes_on
        });
    }
}

#[cfg(test)]
mod tests {
    use hubcap_cache::ClientRequest;
    use hubcap_oci::{Algorithm, Digest};

    use super::*;

    const MB: u64 = 1_000_000;

    /// A pull from the `began`th second on: of each layer the MB, and in which second it was there.
    fn pull(began: u64, layers: &[(u64, u64)], ended: u64) -> Pull {
        let blob = |(place, (mb, received)): (usize, &(u64, u64))| ClientRequest {
            repository: "docker.io/library/sdk".into(),
            blob: Some(Digest::of(Algorithm::Sha256, &[place as u8])),
            place: None,
            came: began * 1000,
            began: began * 1000,
            ended: received * 1000,
            blocked: 0,
            bytes: mb * MB,
            registry: 0,
            cache: 0,
            worked: 0,
        };
        Pull {
            repository: "docker.io/library/sdk".into(),
            began: began * 1000,
            sent: layers.iter().map(|(_, received)| received * 1000).max().unwrap_or_default(),
            ended: Some(ended * 1000),
            worked: 0..0,
            blobs: layers.iter().enumerate().map(blob).collect(),
        }
    }

    /// At so many MB a second, of one connection and of all.
    fn speeds(one: u64, all: u64) -> Speeds {
        let speed = Speed { one: (one * MB) as f64, all: (all * MB) as f64, bytes: 100 * MB, at: 0 };
        [("docker.io".to_owned(), speed)].into()
    }

    fn seconds(pulls: &[Pull], speeds: &Speeds) -> (f64, f64) {
        let Estimate { with_hubcap, plain } = estimate(pulls, speeds, 2).expect("all is known");
        (with_hubcap, (plain * 10.0).round() / 10.0)
    }

    #[test]
    fn where_unpacking_takes_the_most_time_only_the_first_layer_s_transfer_is_saved() {
        // Here after 1 s, and unpacked for 40 s: 10 s each.
        let pulls = [pull(0, &[(100, 1), (100, 1), (100, 1), (100, 1)], 41)];
        assert_eq!(seconds(&pulls, &speeds(50, 1000)), (41.0, 42.0));
    }

    #[test]
    fn where_the_transfer_takes_the_most_time_only_the_last_layer_is_unpacked_after_it() {
        // Unpacked in 1, 2 and 3 s; fetched in 10, 20 and 30 s.
        let pulls = [pull(0, &[(100, 1), (200, 1), (300, 1)], 7)];
        assert_eq!(seconds(&pulls, &speeds(10, 1000)), (7.0, 33.0));
    }

    #[test]
    fn what_hubcap_works_on_one_of_two_processors_would_not_have_held_up_the_unpacking() {
        let mut pulls = [pull(0, &[(100, 1), (100, 1), (100, 1), (100, 1)], 41)];
        pulls[0].worked = 1000..9000;
        assert_eq!(seconds(&pulls, &speeds(50, 1000)), (41.0, 38.0));
        // As much as there is.
        pulls[0].worked = 1000..900_000;
        assert_eq!(seconds(&pulls, &speeds(50, 1000)), (41.0, 2.0));
    }

    #[test]
    fn connections_share_the_line() {
        let pulls = [pull(0, &[(100, 1), (100, 1)], 1)];
        assert_eq!(seconds(&pulls, &speeds(100, 50)), (1.0, 4.0));
    }

    #[test]
    fn a_client_that_asks_for_all_at_once_would_do_so_without_hubcap() {
        let pulls = [pull(0, &[(100, 1); 6], 1)];
        assert_eq!(seconds(&pulls, &speeds(10, 1000)), (1.0, 10.0));
    }

    #[test]
    fn hubcap_may_be_slower_than_the_registry() {
        let pulls = [pull(0, &[(100, 8), (100, 10)], 11)];
        let (with, plain) = seconds(&pulls, &speeds(100, 1000));
        assert!(plain < with / 2.0, "{plain}");
    }

    #[test]
    fn pulls_that_overlap_share_the_line_and_count_once() {
        let pulls = [pull(0, &[(100, 1)], 2), pull(1, &[(100, 2)], 4)];
        let (with, plain) = seconds(&pulls, &speeds(100, 50));
        assert_eq!(with, 4.0);
        // 200 MB at 50 MB/s are 4 s, and the last one is unpacked after that.
        assert!((4.5..7.0).contains(&plain), "{plain}");
    }

    #[test]
    fn pulls_one_after_the_other_are_added() {
        let pulls = [pull(0, &[(100, 1)], 1), pull(60, &[(100, 61)], 61)];
        assert_eq!(seconds(&pulls, &speeds(10, 1000)), (2.0, 20.0));
    }

    #[test]
    fn a_pull_without_a_known_end_or_speed_is_left_out() {
        let mut unknown = pull(0, &[(100, 1)], 1);
        unknown.ended = None;
        assert_eq!(estimate(std::slice::from_ref(&unknown), &speeds(10, 10), 2), None);
        let known = pull(10, &[(100, 11)], 11);
        assert_eq!(estimate(std::slice::from_ref(&known), &Speeds::new(), 2), None);
        assert_eq!(seconds(&[unknown, known], &speeds(100, 100)), (1.0, 1.0));
    }
}
