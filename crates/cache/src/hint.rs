//! Where a blob ends, as a manifest says it: a hint for a blob whose length its registry does not tell.

use hubcap_oci::{Digest, Target};
use hubcap_store::Store;
use hubcap_upstream::{Fetch, RegistryBlob};

use crate::on_disk::on_disk;

/// Tells a fetch of unknown length what the stored manifests of its repository say. Without them it goes on without a hint.
pub(crate) async fn hint(fetch: &mut Fetch<RegistryBlob>, store: &Store, target: &Target, blob: Digest) {
    let (store, target) = (store.clone(), target.clone());
    match on_disk(move || store.hinted_size(&target, &blob)).await {
        Ok(Some(size)) => fetch.hint(size),
        Ok(None) => {}
        Err(error) => tracing::debug!(target: "hubcap::cache", "no length is known of {blob}: {error}"),
    }
}
