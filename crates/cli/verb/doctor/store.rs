//! The store, and the disk that it is on.

use std::path::Path;

use hubcap_store::{Layout, Limit};

use super::finding::{Finding, State};
use crate::settings::Config;
use crate::show::progress::bytes;

/// Looks at the store of these settings, with their limits.
pub(super) fn look(config: &Config) -> Vec<Finding> {
    let store = &config.store;
    if !store.exists() {
        let says = format!("{} is not there yet", store.display());
        return vec![Finding::new(State::Note, "store", says)];
    }
    let found = [Some(images(store, config)), damaged(store), disk(store, config)];
    found.into_iter().flatten().collect()
}

fn images(store: &Path, config: &Config) -> Finding {
    let layout = Layout::at(store);
    let images = match layout.images() {
        Ok(images) => images,
        Err(error) => {
            return Finding::new(State::Broken, "store", error.to_string())
                .remedy(format!("hubcap down; hubcap verify --repair --store {}", store.display()));
        }
    };
    let of = match config.max_size {
        Some(Limit::Bytes(most)) => format!(" of {}", bytes(most)),
        Some(part) => format!(" of {part} of the disk"),
        None => String::new(),
    };
    let says = format!("{}: {} images, {}{of}", store.display(), images.len(), bytes(layout.total()));
    Finding::new(State::Fine, "store", says)
}

fn damaged(store: &Path) -> Option<Finding> {
    let count = Layout::at(store).quarantined_count();
    let says = format!("{count} damaged contents are in quarantine/");
    let remedy = format!("rm -r {}/quarantine/*", store.display());
    (count > 0).then(|| Finding::new(State::Note, "store", says).remedy(remedy))
}

fn disk(store: &Path, config: &Config) -> Option<Finding> {
    let disk = rustix::fs::statvfs(store).ok()?;
    let (free, size) = (disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize);
    let least = match config.min_free {
        Limit::Bytes(least) => least,
        // Rounded to whole bytes.
        Limit::Part(part) => (size as f64 * part) as u64,
    };
    if free >= least {
        return Some(Finding::new(State::Fine, "disk", format!("{} are free", bytes(free))));
    }
    let says =
        format!("{} are free, less than --min-free: old images go, and new ones are not stored", bytes(free));
    Some(Finding::new(State::Note, "disk", says).remedy("make room on the disk, or lower --min-free"))
}
