//! Blobs that are being fetched: bars on a terminal, plain lines elsewhere.

use std::collections::HashMap;

use hubcap_cache::prefetch::Event;
use hubcap_oci::Digest;
use indicatif::ProgressBar;

use crate::show::progress::{Progress, bytes};

/// A blob's name is shown as its algorithm and the first 12 digits.
const SHOWN: usize = "sha256:".len() + 12;

/// The blobs of a prefetch.
pub(crate) struct Transfers {
    progress: Progress,
    bars: HashMap<Digest, ProgressBar>,
}

impl Transfers {
    pub(crate) fn new() -> Self {
        Self { progress: Progress::new(), bars: HashMap::new() }
    }

    /// Shows what happened to a blob; events of images show nothing.
    pub(crate) fn show(&mut self, event: &Event) {
        match event {
            Event::Receiving { digest, received, size } => match self.bars.get(digest) {
                Some(bar) => bar.set_position(*received),
                None => {
                    let bar = self.progress.bar(&short(digest), size.unwrap_or(0));
                    self.bars.insert(*digest, bar);
                }
            },
            Event::Received { digest, bytes: amount } => {
                if let Some(bar) = self.bars.remove(digest) {
                    bar.finish_and_clear();
                }
                if amount.fetched > 0 {
                    self.progress.line(&format!("{}  {} fetched", short(digest), bytes(amount.fetched)));
                }
            }
            Event::Image(_) => {}
        }
    }
}

fn short(digest: &Digest) -> String {
    digest.to_string().chars().take(SHOWN).collect()
}
