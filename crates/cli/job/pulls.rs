//! The pulls of a job, put together from the requests that the daemon answered and from dockerd's word of when they ended.

use std::collections::BTreeMap;
use std::ops::Range;

use hubcap_cache::{ClientRequest, RequestLog};
use hubcap_clients::Pulled;
use serde::{Deserialize, Serialize};

/// Requests for one repository that are further apart than this, in milliseconds, are of different pulls.
const APART: u64 = 5000;

/// A pull of one image. Times are milliseconds since the epoch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Pull {
    /// `registry/repository`
    pub(crate) repository: String,
    /// When its first request came.
    pub(crate) began: u64,
    /// When the client had its last byte.
    pub(crate) sent: u64,
    /// When dockerd had it unpacked. `None` where dockerd does not say: it was a build, another client, or too long ago.
    pub(crate) ended: Option<u64>,
    /// The daemon's processor time so far, in milliseconds, at the end of the first request and of the last one.
    pub(crate) worked: Range<u64>,
    /// Its blobs, in the order in which they are unpacked.
    pub(crate) blobs: Vec<ClientRequest>,
}

impl Pull {
    /// Its bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.blobs.iter().map(|blob| blob.bytes).sum()
    }

    /// When it ended, as far as that is known.
    pub(crate) fn end(&self) -> u64 {
        self.ended.unwrap_or(self.sent)
    }

    /// Adds a request; several for one blob are parts of it.
    fn add(&mut self, request: ClientRequest) {
        if request.blob.is_none() || request.bytes == 0 {
            return;
        }
        match self.blobs.iter_mut().find(|blob| blob.blob == request.blob) {
            Some(blob) => {
                blob.ended = blob.ended.max(request.ended);
                blob.blocked += request.blocked;
                blob.bytes += request.bytes;
                blob.registry += request.registry;
                blob.cache += request.cache;
            }
            None => self.blobs.push(request),
        }
    }
}

/// The pulls in which something was sent, in the order in which they began.
pub(crate) fn pulls(log: RequestLog, ended: &[Pulled]) -> Vec<Pull> {
    let mut of_repository: BTreeMap<String, Vec<ClientRequest>> = BTreeMap::new();
    for request in log.requests {
        of_repository.entry(request.repository.clone()).or_default().push(request);
    }
    let mut pulls: Vec<Pull> = of_repository
        .into_iter()
        .flat_map(|(repository, mut requests)| {
            requests.sort_by_key(|request| request.came);
            let mut ends: Vec<u64> = ended
                .iter()
                .filter(|pulled| pulled.image.target().to_string() == repository)
                .map(|pulled| pulled.at)
                .collect();
            ends.sort_unstable();
            split(&repository, requests, &ends)
        })
        .filter(|pull| pull.bytes() > 0)
        .collect();
    pulls.sort_by_key(|pull| pull.began);
    pulls
}

/// The pulls of one repository: a request after the end of a pull, or long after all others, begins the next one.
fn split(repository: &str, requests: Vec<ClientRequest>, ends: &[u64]) -> Vec<Pull> {
    let mut pulls: Vec<Pull> = Vec::new();
    for request in requests {
        let goes_on = pulls.last().is_some_and(|pull| {
            let has_ended = ends.iter().any(|end| (pull.began..=request.came).contains(end));
            !has_ended && request.came <= pull.sent + APART
        });
        match pulls.last_mut().filter(|_| goes_on) {
            Some(pull) => {
                pull.sent = pull.sent.max(request.ended);
                pull.worked.start = pull.worked.start.min(request.worked);
                pull.worked.end = pull.worked.end.max(request.worked);
                pull.add(request);
            }
            None => {
                let (began, sent) = (request.came, request.ended);
                let (repository, worked) = (repository.to_owned(), request.worked..request.worked);
                let mut pull = Pull { repository, began, sent, ended: None, worked, blobs: Vec::new() };
                pull.add(request);
                pulls.push(pull);
            }
        }
    }
    for at in 0..pulls.len() {
        let next = pulls.get(at + 1).map_or(u64::MAX, |next| next.began);
        let pull = &mut pulls[at];
        // Of one that is served at once, the two clocks may differ by a millisecond.
        pull.ended =
            ends.iter().copied().find(|end| (pull.began..=next).contains(end)).map(|end| end.max(pull.sent));
        pull.blobs.sort_by_key(|blob| (blob.place.unwrap_or(u32::MAX), blob.came));
    }
    pulls
}

/// Pulls, in the order in which they began, that overlap.
pub(crate) fn groups<'a, 'b>(pulls: &'a [&'b Pull]) -> impl Iterator<Item = &'a [&'b Pull]> {
    let mut end = 0;
    let mut starts: Vec<usize> = Vec::new();
    for (at, pull) in pulls.iter().enumerate() {
        if at == 0 || pull.began > end {
            starts.push(at);
        }
        end = end.max(pull.end());
    }
    let ends: Vec<usize> = starts.iter().skip(1).copied().chain([pulls.len()]).collect();
    starts.into_iter().zip(ends).map(|(start, end)| &pulls[start..end])
}

#[cfg(test)]
mod tests {
    use hubcap_oci::{Algorithm, Digest};

    use super::*;

    /// A request for a blob of this name; for a manifest without one.
    fn request(name: &str, (came, ended): (u64, u64), place: u32) -> ClientRequest {
        ClientRequest {
            repository: "docker.io/library/sdk".into(),
            blob: Some(Digest::of(Algorithm::Sha256, name.as_bytes())).filter(|_| !name.is_empty()),
            place: Some(place),
            came,
            began: came,
            ended,
            blocked: 0,
            bytes: 10,
            registry: 0,
            cache: 0,
            worked: ended,
        }
    }

    fn of(requests: Vec<ClientRequest>, ends: &[u64]) -> Vec<(u64, u64, Option<u64>, usize)> {
        let image = "sdk:1".parse().expect("an image");
        let ended: Vec<Pulled> =
            ends.iter().map(|at| Pulled { image: Clone::clone(&image), at: *at }).collect();
        let pulls = pulls(RequestLog { requests, forgotten: 0 }, &ended);
        pulls.iter().map(|pull| (pull.began, pull.sent, pull.ended, pull.blobs.len())).collect()
    }

    #[test]
    fn a_pull_lasts_from_its_manifest_until_dockerd_has_unpacked_it() {
        let requests =
            vec![request("", (100, 110), 0), request("a", (120, 900), 1), request("b", (120, 700), 2)];
        assert_eq!(of(requests, &[9000]), [(100, 900, Some(9000), 2)]);
    }

    #[test]
    fn the_daemon_s_work_for_a_pull_is_what_it_did_after_the_manifest() {
        let requests =
            vec![request("", (100, 110), 0), request("b", (120, 700), 2), request("a", (120, 900), 1)];
        assert_eq!(pulls(RequestLog { requests, forgotten: 0 }, &[])[0].worked, 110..900);
    }

    #[test]
    fn blobs_are_in_the_order_of_their_image() {
        let requests = vec![request("b", (100, 200), 2), request("a", (101, 150), 1)];
        let pulls = pulls(RequestLog { requests, forgotten: 0 }, &[]);
        assert_eq!(pulls[0].blobs.iter().map(|blob| blob.place).collect::<Vec<_>>(), [Some(1), Some(2)]);
    }

    #[test]
    fn what_comes_after_the_end_of_a_pull_is_another_one() {
        let requests = vec![request("a", (100, 200), 1), request("b", (1500, 1600), 1)];
        assert_eq!(of(requests, &[1000, 2000]), [(100, 200, Some(1000), 1), (1500, 1600, Some(2000), 1)]);
    }

    #[test]
    fn a_build_long_before_a_pull_is_no_part_of_it() {
        let requests = vec![request("a", (100, 200), 1), request("b", (9500, 9600), 1)];
        assert_eq!(of(requests, &[10_000]), [(100, 200, None, 1), (9500, 9600, Some(10_000), 1)]);
    }

    #[test]
    fn parts_of_a_blob_are_one_blob() {
        let requests = vec![request("a", (100, 200), 1), request("a", (150, 400), 1)];
        assert_eq!(of(requests, &[]), [(100, 400, None, 1)]);
    }

    #[test]
    fn a_look_at_a_manifest_is_no_pull() {
        assert_eq!(of(vec![request("", (100, 110), 0)], &[120]), []);
    }
}
