//! Single cases, each in an image of its own: what containerd takes, and what it refuses.

mod paths;
mod removals;
mod values;

use super::containerd::{Snapshotter, Version};
use super::entry::Entry;
use super::pair::{Pair, Played};

/// An image: what is special in it, what becomes of it, and its layers.
type Case = (&'static str, Played, Vec<Vec<Entry>>);

/// Plays all by both versions.
fn play(cases: impl Fn() -> Vec<Case>) {
    for version in [Version::Sid, Version::Trixie] {
        play_by(version, Snapshotter::Overlayfs, cases());
    }
}

fn play_by(version: Version, snapshotter: Snapshotter, cases: Vec<Case>) {
    let Some(mut pair) = Pair::start(version, snapshotter) else { return };
    for (about, expected, layers) in cases {
        assert_eq!(pair.play_entries(about, &layers), expected, "{about}, by both");
    }
    // Nothing was left to containerd.
    assert!(!pair.differ.log().contains("left to containerd"), "{}", pair.differ.log());
}
