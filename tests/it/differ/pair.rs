//! Two containerds, of which one unpacks by hubcap, and what both make of the same image.

use super::Differ;
use super::containerd::{Blob, Containerd, Packed, Snapshotter, Version, image_of};
use super::entry::{Entry, archive};
use super::tree::assert_same;

pub(super) struct Pair {
    pub(super) differ: Differ,
    ours: Containerd,
    theirs: Containerd,
    images: usize,
    dir: tempfile::TempDir,
}

/// What both made of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Played {
    /// The same trees.
    Same,
    /// An error.
    Refused,
}

impl Pair {
    /// None where this containerd is not unpacked.
    pub(super) fn start(version: Version, snapshotter: Snapshotter) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        let differ = Differ::start(dir.path());
        let start = |name: &str, differ| {
            let mut started = Containerd::start(&dir.path().join(name), version, differ)?;
            started.snapshotter = snapshotter;
            Some(started)
        };
        let ours = start("ours", Some(&differ))?;
        let theirs = start("theirs", None)?;
        Some(Self { differ, ours, theirs, images: 0, dir })
    }

    /// Fails if only one takes the image, or if one tree is another.
    pub(super) fn play(&mut self, about: &str, layers: &[Blob]) -> Played {
        self.images += 1;
        let image = image_of(self.dir.path(), &format!("image{}", self.images), layers);
        let both = [&self.ours, &self.theirs];
        let before = both.map(|containerd| containerd.snapshots().last().copied().unwrap_or(0));
        let [our, their] = both.map(|containerd| containerd.import(&image));
        std::fs::remove_file(image).expect("there");
        assert_eq!(our.is_ok(), their.is_ok(), "{about}: {our:?}; right is containerd's {their:?}");
        if their.is_err() {
            return Played::Refused;
        }
        let new = |at: usize| -> Vec<u32> {
            both[at].snapshots().into_iter().filter(|&number| number > before[at]).collect()
        };
        let (our, their) = (new(0), new(1));
        // If a layer was there before, nothing was compared.
        assert_eq!((our.len(), their.len()), (layers.len(), layers.len()), "{about}");
        for (layer, (our, their)) in our.into_iter().zip(their).enumerate() {
            assert_same(
                &self.ours.snapshot(our),
                &self.theirs.snapshot(their),
                &format!("{about}, layer {layer}"),
            );
        }
        Played::Same
    }

    /// The same for layers of these entries.
    pub(super) fn play_entries(&mut self, about: &str, layers: &[Vec<Entry>]) -> Played {
        let blobs = layers.iter().map(|entries| Blob::new(&archive(entries), Packed::Gzip));
        self.play(about, &blobs.collect::<Vec<_>>())
    }
}
