//! What `docker save` writes: `manifest.json`, which names a configuration and layers. The registry's own manifest is
//! not in it, so one is made: the image keeps its id, which is the configuration's digest, and gets a new digest.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::os::unix::fs::FileExt as _;

use bytes::Bytes;
use hubcap_oci::{Algorithm, Compression, Descriptor, Digest, ImageRef, Manifest, media_type};
use serde::Deserialize;
use serde_json::json;

use super::image::{Image, Origin, named};
use super::members::{Member, Place, Source};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Config {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Vec<Digest>,
}

pub(super) fn images(source: &Source) -> Result<Vec<Image>, String> {
    let saved: Vec<Saved> = serde_json::from_slice(&source.small("manifest.json")?)
        .map_err(|error| format!("manifest.json is not what `docker save` writes: {error}"))?;
    let mut known = HashMap::new();
    saved.iter().map(|saved| image(source, saved, &mut known)).collect()
}

/// `known` are the digests of members that were read, by where they are: several layers and images may be the same one.
fn image(source: &Source, saved: &Saved, known: &mut HashMap<Place, Digest>) -> Result<Image, String> {
    let names = saved.repo_tags.iter().flatten();
    let name =
        |text: &String| text.parse::<ImageRef>().map(|name| named(&name)).map_err(|error| error.to_string());
    let names = names.map(name).collect::<Result<_, _>>()?;
    let config = source.small(&saved.config)?;
    let digest = Digest::of(Algorithm::Sha256, &config);
    // `docker save` calls it by its digest, and so does everybody else.
    let called = saved.config.rsplit('/').next().unwrap_or_default().trim_end_matches(".json");
    if called.len() == 64
        && Digest::from_parts(Algorithm::Sha256, called).is_ok_and(|called| called != digest)
    {
        return Err(format!("it is damaged: {:?} has the digest {digest}", saved.config));
    }
    let RootFs { diff_ids } = serde_json::from_slice::<Config>(&config)
        .map_err(|error| format!("{:?} is no image's configuration: {error}", saved.config))?
        .rootfs;
    let paths = saved.layers.as_deref().unwrap_or_default();
    if paths.len() != diff_ids.len() {
        let (has, says) = (paths.len(), diff_ids.len());
        return Err(format!("manifest.json names {has} layers, and the image's configuration {says}"));
    }
    let member = source.member(&saved.config).ok_or_else(|| format!("{:?} is missing", saved.config))?;
    let mut contents = vec![(digest, member)];
    let mut layers = Vec::new();
    for (path, diff_id) in paths.iter().zip(&diff_ids) {
        let member = source.member(path).ok_or_else(|| format!("the layer {path:?} is missing"))?;
        let compression = compression(&member).map_err(|error| format!("{path:?}: {error}"))?;
        // The configuration names a layer by what it is uncompressed; one that is compressed is read once to be named.
        let digest = match compression {
            None => *diff_id,
            Some(_) => match known.entry(member.place()?) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(unknown) => *unknown.insert(member.digest()?),
            },
        };
        layers.push(Layer { compression, digest, size: member.size });
        contents.push((digest, member));
    }
    let top = manifest(digest, config.len() as u64, &layers)?;
    Ok(Image { names, top, children: Vec::new(), contents, origin: Origin::Tool })
}

struct Layer {
    compression: Option<Compression>,
    digest: Digest,
    size: u64,
}

/// How a layer is compressed, where a manifest has a media type for that.
fn compression(layer: &Member) -> std::io::Result<Option<Compression>> {
    let mut start = [0; 6];
    let length = layer.size.min(6) as usize;
    layer.file.read_exact_at(&mut start[..length], layer.offset)?;
    let known = |one: &Compression| matches!(one, Compression::Gzip | Compression::Zstd);
    Ok(Compression::of(&start[..length]).filter(known))
}

/// Docker's own manifest, since the configuration is Docker's; it has no media type for zstd, OCI's has.
fn manifest(config: Digest, config_size: u64, layers: &[Layer]) -> Result<(Manifest, Bytes), String> {
    let oci = layers.iter().any(|layer| layer.compression == Some(Compression::Zstd));
    let (kind, config_kind) = match oci {
        true => (media_type::OCI_MANIFEST, "application/vnd.oci.image.config.v1+json"),
        false => (media_type::DOCKER_MANIFEST, "application/vnd.docker.container.image.v1+json"),
    };
    let layer_kind = if oci { Compression::oci_layer } else { Compression::docker_layer };
    let layers: Vec<Descriptor> = layers
        .iter()
        .map(|layer| Descriptor::new(layer_kind(layer.compression), layer.digest, layer.size))
        .collect();
    let text = json!({
        "schemaVersion": 2,
        "mediaType": kind,
        "config": Descriptor::new(config_kind, config, config_size),
        "layers": layers,
    });
    let bytes = Bytes::from(text.to_string());
    let digest = Digest::of(Algorithm::Sha256, &bytes);
    let manifest = Manifest::parse(digest, &bytes, Some(kind)).map_err(|error| error.to_string())?;
    Ok((manifest, bytes))
}
