//! When dockerd's pulls ended: after it has unpacked the last layer, which no registry sees.

use std::time::SystemTime;

use hubcap_oci::ImageRef;
use serde::Deserialize;

use super::api;
use super::find::Dockerd;

/// A pull that has succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// What was pulled.
    pub image: ImageRef,
    /// When it was there, unpacked, in milliseconds since the epoch.
    pub at: u64,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "Actor")]
    actor: Actor,
    #[serde(rename = "timeNano")]
    time_nano: u64,
}

#[derive(Deserialize)]
struct Actor {
    #[serde(rename = "ID")]
    id: String,
}

impl Dockerd {
    /// The pulls that have ended since then, as far as dockerd remembers them: its last 256 events, of all kinds. None where it
    /// does not answer.
    pub fn pulled(&self, since: SystemTime) -> Vec<Pulled> {
        let seconds = |time: SystemTime| {
            let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            format!("{}.{:09}", since.as_secs(), since.subsec_nanos())
        };
        // Of the type image and the kind pull, as JSON in a URL.
        let filters = "%7B%22type%22%3A%5B%22image%22%5D%2C%22event%22%3A%5B%22pull%22%5D%7D";
        // With an end that has passed, dockerd answers with what it has, and waits for nothing.
        let until = seconds(SystemTime::now());
        let path = format!("/events?since={}&until={until}&filters={filters}", seconds(since));
        api::ask(&self.socket, "GET", &path).map(|answer| read(&answer.body)).unwrap_or_default()
    }
}

/// An event a line. What is none, or names no image, is left out.
fn read(body: &str) -> Vec<Pulled> {
    let pulled = |line: &str| {
        let Event { actor, time_nano } = serde_json::from_str(line).ok()?;
        Some(Pulled { image: actor.id.parse().ok()?, at: time_nano / 1_000_000 })
    };
    body.lines().filter_map(pulled).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_tells_the_image_and_the_moment() {
        // As dockerd 28.5.2 writes it.
        let event = r#"{"status":"pull","id":"sdk:1","Type":"image","Action":"pull","Actor":{"ID":"sdk:1","Attributes":{"name":"sdk"}},"scope":"local","time":1780000000,"timeNano":1780000000123456789}"#;
        let pulled = read(&format!("{event}\nnothing\n{{}}\n"));
        assert_eq!(pulled.len(), 1);
        assert_eq!(
            (pulled[0].image.to_string().as_str(), pulled[0].at),
            ("docker.io/library/sdk:1", 1_780_000_000_123)
        );
    }
}
