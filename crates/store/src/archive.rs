//! Images and stores as files.

pub(crate) mod export;
mod headers;
pub(crate) mod import;
pub(crate) mod restore;

use std::collections::HashSet;

use hubcap_oci::Digest;

use crate::permissions::{Modes, Readers};

/// The manifests of private images that anybody may have, as far as their modes say (`readers`), without being a public image's: the
/// store is a copy that has lost its modes. Modes that are right tell what private images share with public ones. `images` are
/// the images' own manifests, and whether they are private.
fn without_modes(images: &[(Digest, bool)], readers: impl Fn(&Digest) -> Readers) -> HashSet<Digest> {
    private(images).filter(|top| readers(top) == Readers::All).collect()
}

/// Whether a store's modes are lost: it says so (`modes`), or those of its private images do, or nothing is known of any of these.
/// `readers` is who may have a manifest.
pub(crate) fn are_modes_lost(
    modes: Modes,
    images: &[(Digest, bool)],
    readers: impl Fn(&Digest) -> Option<Readers>,
) -> bool {
    let told: Vec<Option<Readers>> = private(images).map(|top| readers(&top)).collect();
    modes == Modes::Lost
        || told.contains(&Some(Readers::All))
        || (!told.is_empty() && told.iter().all(Option::is_none))
}

/// The manifests of private images that are no public image's.
fn private(images: &[(Digest, bool)]) -> impl Iterator<Item = Digest> {
    let public: HashSet<Digest> =
        images.iter().filter(|(_, private)| !private).map(|(top, _)| *top).collect();
    images
        .iter()
        .filter(|(_, private)| *private)
        .map(|(top, _)| *top)
        .filter(move |top| !public.contains(top))
}
