//! Images out of bytes.

use hubcap_oci::{Algorithm, Compression, Digest, media_type};
use serde_json::{Value, json};

use super::origin::Origin;

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Digest::of(Algorithm::Sha256, bytes).to_string()
}

/// An image that was put into an origin.
pub(crate) struct Image {
    pub(crate) manifest: Vec<u8>,
    pub(crate) digest: String,
    pub(crate) blobs: Vec<String>,
}

/// Puts an OCI image with these layers under `repository:tag`, and under its digest.
pub(crate) fn put(origin: &Origin, name: &str, layers: &[&[u8]]) -> Image {
    put_for(origin, name, layers, "amd64")
}

pub(crate) fn put_for(origin: &Origin, name: &str, layers: &[&[u8]], architecture: &str) -> Image {
    let config =
        json!({"os": "linux", "architecture": architecture, "rootfs": {"type": "layers", "diff_ids": []}});
    put_with(origin, name, config.to_string().as_bytes(), layers)
}

fn put_with(origin: &Origin, name: &str, config: &[u8], layers: &[&[u8]]) -> Image {
    let blob = |media_type: &str, bytes: &[u8]| json!({"mediaType": media_type, "digest": sha256(bytes), "size": bytes.len()});
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "config": blob("application/vnd.oci.image.config.v1+json", config),
        "layers": layers.iter().map(|layer| blob(Compression::oci_layer(Compression::of(layer)), layer)).collect::<Vec<_>>(),
    });
    let mut blobs = vec![origin.put_blob(config)];
    blobs.extend(layers.iter().map(|layer| origin.put_blob(layer)));
    let manifest = manifest.to_string().into_bytes();
    let digest = origin.put_manifest(name, media_type::OCI_MANIFEST, &manifest);
    Image { manifest, digest, blobs }
}

/// The same, with a layer that is compressed by gzip.
pub(crate) fn real_gzip(origin: &Origin) -> Image {
    let (layer, config) = real_layer(origin.seed().wrapping_add(7), "amd64");
    put_with(origin, "org/app:1", config.as_bytes(), &[&super::packed("gzip", &layer)])
}

/// Puts an image that dockerd unpacks under `org/app:1`: its layer is a tar archive, and its configuration names it.
pub(crate) fn real(origin: &Origin) -> Image {
    real_at(origin, "org/app:1", 7)
}

/// The same under another name, and with other bytes for another `seed`.
pub(crate) fn real_at(origin: &Origin, name: &str, seed: u64) -> Image {
    real_for(origin, name, seed, "amd64")
}

/// The same for another architecture.
pub(crate) fn real_for(origin: &Origin, name: &str, seed: u64, architecture: &str) -> Image {
    let (layer, config) = real_layer(seed.wrapping_add(origin.seed()), architecture);
    put_with(origin, name, config.as_bytes(), &[&layer])
}

/// The same, with these files in its layer.
pub(crate) fn of_files(origin: &Origin, name: &str, files: &[(String, Vec<u8>)]) -> Image {
    let (layer, config) = layer_of(files, "amd64");
    put_with(origin, name, config.as_bytes(), &[&layer])
}

/// A layer, and the configuration of an image that has it alone.
fn real_layer(seed: u64, architecture: &str) -> (Vec<u8>, String) {
    layer_of(&[("data/noise".into(), super::noise(600_000, seed))], architecture)
}

fn layer_of(files: &[(String, Vec<u8>)], architecture: &str) -> (Vec<u8>, String) {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        archive.append_data(&mut header, path, content.as_slice()).expect("an entry");
    }
    let layer = archive.into_inner().expect("an archive");
    let config = json!({"os": "linux", "architecture": architecture, "config": {},
        "rootfs": {"type": "layers", "diff_ids": [sha256(&layer)]}});
    (layer, config.to_string())
}

/// Puts an index over manifests that are already there.
pub(crate) fn put_index(origin: &Origin, name: &str, children: &[(&Image, &str)]) -> String {
    let entry = |(image, architecture): &(&Image, &str)| -> Value {
        json!({"mediaType": media_type::OCI_MANIFEST, "digest": image.digest, "size": image.manifest.len(),
            "platform": {"os": "linux", "architecture": architecture}})
    };
    let index = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX,
        "manifests": children.iter().map(entry).collect::<Vec<_>>()});
    origin.put_manifest(name, media_type::OCI_INDEX, index.to_string().as_bytes())
}
