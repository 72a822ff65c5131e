//! The proof: an image without content, which only hubcap has. Who can pull it, under a tag that was thought of a moment
//! ago, pulls through hubcap, and no registry needs to be asked.

use std::sync::OnceLock;

use bytes::Bytes;
use http::StatusCode;
use hubcap_cache::Outcome;
use hubcap_oci::{Algorithm, Digest, Endpoint, Platform, Reference, Repository, media_type};
use serde_json::json;

use crate::api::{DIGEST, Reply};

/// Under `library/`, where nobody but Docker can put anything.
pub const PROOF: &str = "hubcap-proof";

/// The empty archive, as gzip has it; every registry has this layer.
const LAYER: [u8; 32] = [
    31, 139, 8, 0, 0, 9, 110, 136, 0, 255, 98, 24, 5, 163, 96, 20, 140, 88, 0, 8, 0, 0, 255, 255, 46, 175,
    181, 239, 0, 4, 0, 0,
];
/// The digest of the archive itself.
const DIFF_ID: &str = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";

struct Image {
    manifest: (Digest, Bytes),
    blobs: [(Digest, Bytes); 2],
}

impl Image {
    fn get() -> &'static Self {
        static IMAGE: OnceLock<Image> = OnceLock::new();
        IMAGE.get_or_init(|| {
            let named = |bytes: Vec<u8>| (Digest::of(Algorithm::Sha256, &bytes), Bytes::from(bytes));
            let Platform { os, architecture, .. } = Platform::host();
            let config = named(
                json!({
                    "os": os, "architecture": architecture, "config": {},
                    "rootfs": {"type": "layers", "diff_ids": [DIFF_ID]},
                    "history": [{"comment": "hubcap: dockerd pulls through it"}],
                })
                .to_string()
                .into_bytes(),
            );
            let layer = named(LAYER.to_vec());
            let manifest = json!({
                "schemaVersion": 2, "mediaType": media_type::DOCKER_MANIFEST,
                "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "size": config.1.len(),
                    "digest": config.0},
                "layers": [{"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": layer.1.len(),
                    "digest": layer.0}],
            });
            Self { manifest: named(manifest.to_string().into_bytes()), blobs: [config, layer] }
        })
    }
}

/// Whether a request is for the proof.
pub(crate) fn is_meant(repository: &Repository) -> bool {
    let name = repository.as_str();
    name.strip_prefix("library/").unwrap_or(name) == PROOF
}

/// The proof's manifest and blobs; `None` for what it does not have.
pub(crate) fn answer(endpoint: &Endpoint) -> Option<Reply> {
    let image = Image::get();
    let ((digest, bytes), media_type) = match endpoint {
        Endpoint::Manifest { reference, .. } => {
            let manifest = &image.manifest;
            let wanted = !matches!(reference, Reference::Digest(digest) if *digest != manifest.0);
            (wanted.then_some(manifest)?, media_type::DOCKER_MANIFEST)
        }
        Endpoint::Blob { digest, .. } => {
            (image.blobs.iter().find(|blob| blob.0 == *digest)?, "application/octet-stream")
        }
        _ => return None,
    };
    let reply = Reply::new(StatusCode::OK, Outcome::Local).with(DIGEST, digest.to_string());
    Some(reply.body(media_type, bytes.len() as u64, bytes.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proof_is_an_image_whose_parts_are_there_and_nothing_else_is() {
        let ask = |path: &str| answer(&Endpoint::parse(path, &[]).expect("an endpoint"));
        let image = Image::get();
        let layer = "sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4";
        assert_eq!(image.blobs[1].0.to_string(), layer);
        for path in
            ["manifests/t1".into(), format!("manifests/{}", image.manifest.0), format!("blobs/{layer}")]
        {
            assert!(ask(&format!("/v2/library/{PROOF}/{path}")).is_some(), "{path}");
        }
        assert!(ask(&format!("/v2/{PROOF}/manifests/{layer}")).is_none());
        assert!(
            is_meant(&PROOF.parse().expect("a name"))
                && !is_meant(&"a/hubcap-proof".parse().expect("a name"))
        );
    }
}
