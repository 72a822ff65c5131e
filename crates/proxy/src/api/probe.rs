//! The probe image: an image without content that only hubcap has. A dockerd that can pull it, under a tag made up a
//! moment ago, pulls through hubcap; no registry needs to be asked.

use std::sync::OnceLock;

use bytes::Bytes;
use http::StatusCode;
use hubcap_cache::Outcome;
use hubcap_oci::{Algorithm, Digest, Endpoint, Platform, Reference, Repository, media_type};
use serde_json::json;

use crate::api::{DIGEST, Reply};

/// The probe image's repository, under `library/`, where only Docker can publish.
pub const PROBE_IMAGE: &str = "hubcap-proof";

/// The empty archive, as gzip has it; every registry has this layer.
const LAYER: [u8; 32] = [
    31, 139, 8, 0, 0, 9, 110, 136, 0, 255, 98, 24, 5, 163, 96, 20, 140, 88, 0, 8, 0, 0, 255, 255, 46, 175,
    181, 239, 0, 4, 0, 0,
];
/// The digest of the archive itself.
const DIFF_ID: &str = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";

struct Image {
    manifest: Content,
    config: Content,
    layer: Content,
}

struct Content {
    digest: Digest,
    bytes: Bytes,
}

impl Content {
    fn new(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { digest: Digest::of(Algorithm::Sha256, &bytes), bytes }
    }
}

impl Image {
    fn get() -> &'static Self {
        static IMAGE: OnceLock<Image> = OnceLock::new();
        IMAGE.get_or_init(|| {
            let Platform { os, architecture, .. } = Platform::host();
            let config = json!({
                "os": os, "architecture": architecture, "config": {},
                "rootfs": {"type": "layers", "diff_ids": [DIFF_ID]},
                "history": [{"comment": "hubcap: dockerd pulls through it"}],
            });
            let (config, layer) = (Content::new(config.to_string()), Content::new(&LAYER[..]));
            let manifest = json!({
                "schemaVersion": 2, "mediaType": media_type::DOCKER_MANIFEST,
                "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "size": config.bytes.len(),
                    "digest": config.digest},
                "layers": [{"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": layer.bytes.len(),
                    "digest": layer.digest}],
            });
            Self { manifest: Content::new(manifest.to_string()), config, layer }
        })
    }
}

/// Whether this repository of Docker Hub is the probe image's.
pub(crate) fn is_probe(repository: &Repository) -> bool {
    let name = repository.as_str();
    name.strip_prefix("library/").unwrap_or(name) == PROBE_IMAGE
}

/// Answers for the probe image's manifest and blobs; `None` for anything else.
pub(crate) fn answer(endpoint: &Endpoint) -> Option<Reply> {
    let image = Image::get();
    let (content, media_type) = match endpoint {
        Endpoint::Manifest { reference: Reference::Digest(digest), .. }
            if *digest != image.manifest.digest =>
        {
            return None;
        }
        Endpoint::Manifest { .. } => (&image.manifest, media_type::DOCKER_MANIFEST),
        Endpoint::Blob { digest, .. } => {
            let content =
                [&image.config, &image.layer].into_iter().find(|content| content.digest == *digest)?;
            (content, "application/octet-stream")
        }
        _ => return None,
    };
    let reply = Reply::new(StatusCode::OK, Outcome::Local).with(DIGEST, content.digest.to_string());
    Some(reply.body(media_type, content.bytes.len() as u64, content.bytes.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probe_image_has_its_own_parts_only() {
        let ask = |path: &str| answer(&Endpoint::parse(path, None).expect("an endpoint"));
        let image = Image::get();
        let layer = "sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4";
        assert_eq!(image.layer.digest.to_string(), layer);
        for path in
            ["manifests/t1".into(), format!("manifests/{}", image.manifest.digest), format!("blobs/{layer}")]
        {
            assert!(ask(&format!("/v2/library/{PROBE_IMAGE}/{path}")).is_some(), "{path}");
        }
        assert!(ask(&format!("/v2/{PROBE_IMAGE}/manifests/{layer}")).is_none());
        assert!(
            is_probe(&PROBE_IMAGE.parse().expect("a name"))
                && !is_probe(&"a/hubcap-proof".parse().expect("a name"))
        );
    }
}
