//! Images and stores as files.

pub(crate) mod export;
mod headers;
pub(crate) mod import;
pub(crate) mod restore;

use std::collections::HashSet;

use hubcap_oci::Digest;

use crate::permissions::Readers;

/// The manifests of private images that anybody may have, as far as their modes say (`readers`), without being a public image's: the
/// store is a copy that has lost its modes. Modes that are right tell what private images share with public ones. `images` are
/// the images' own manifests, and whether they are private.
fn without_modes(images: &[(Digest, bool)], readers: impl Fn(&Digest) -> Readers) -> HashSet<Digest> {
    let public: HashSet<Digest> =
        images.iter().filter(|(_, private)| !private).map(|(top, _)| *top).collect();
    let private = images.iter().filter(|(_, private)| *private).map(|(top, _)| *top);
    private.filter(|top| !public.contains(top) && readers(top) == Readers::All).collect()
}
