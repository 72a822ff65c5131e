//! What `docker save` writes: `manifest.json`, which names a configuration and layers. The registry's own manifest is
//! not in it, so one is made: the image keeps its id, which is the configuration's digest, and gets a new digest.

use bytes::Bytes;
use hubcap_oci::{Algorithm, Descriptor, Digest, ImageRef, Manifest, media_type};
use serde::Deserialize;
use serde_json::json;

use super::members::{Member, Source};
use super::{Image, named};

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
    saved.iter().map(|saved| image(source, saved)).collect()
}

fn image(source: &Source, saved: &Saved) -> Result<Image, String> {
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
        return Err(format!("it is damaged: {} has the digest {digest}", saved.config));
    }
    let RootFs { diff_ids } = serde_json::from_slice::<Config>(&config)
        .map_err(|error| format!("{} is no image's configuration: {error}", saved.config))?
        .rootfs;
    let paths = saved.layers.as_deref().unwrap_or_default();
    if paths.len() != diff_ids.len() {
        let (has, says) = (paths.len(), diff_ids.len());
        return Err(format!("manifest.json names {has} layers, and the image's configuration {says}"));
    }
    let member = source.member(&saved.config).ok_or_else(|| format!("{} is missing", saved.config))?;
    let mut contents = vec![(digest, member)];
    let mut layers = Vec::new();
    for (path, diff_id) in paths.iter().zip(&diff_ids) {
        let member = source.member(path).ok_or_else(|| format!("the layer {path} is missing"))?;
        let form = Form::of(&member).map_err(|error| format!("{path}: {error}"))?;
        // The configuration names a layer by what it is unpacked; what is packed has to be read once to be named.
        let digest = match form {
            Form::Plain => *diff_id,
            Form::Gzip | Form::Zstd => member.digest()?,
        };
        layers.push((form, digest, member.size));
        contents.push((digest, member));
    }
    let top = manifest((digest, config.len() as u64), &layers)?;
    Ok(Image { names, top, children: Vec::new(), contents })
}

/// How a layer is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    Gzip,
    Zstd,
}

impl Form {
    fn of(layer: &Member) -> std::io::Result<Self> {
        use std::os::unix::fs::FileExt as _;
        let mut magic = [0; 4];
        let length = layer.size.min(4) as usize;
        layer.file.read_exact_at(&mut magic[..length], layer.offset)?;
        Ok(match magic {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd] => Self::Zstd,
            _ => Self::Plain,
        })
    }
}

/// Docker's own manifest, since the configuration is Docker's; it has no word for zstd, OCI's has.
fn manifest(config: (Digest, u64), layers: &[(Form, Digest, u64)]) -> Result<(Manifest, Bytes), String> {
    let oci = layers.iter().any(|(form, ..)| *form == Form::Zstd);
    let (kind, config_kind) = match oci {
        true => (media_type::OCI_MANIFEST, "application/vnd.oci.image.config.v1+json"),
        false => (media_type::DOCKER_MANIFEST, "application/vnd.docker.container.image.v1+json"),
    };
    let layer_kind = |form| match (oci, form) {
        (true, Form::Plain) => "application/vnd.oci.image.layer.v1.tar",
        (true, Form::Gzip) => "application/vnd.oci.image.layer.v1.tar+gzip",
        (_, Form::Zstd) => "application/vnd.oci.image.layer.v1.tar+zstd",
        (false, Form::Plain) => "application/vnd.docker.image.rootfs.diff.tar",
        (false, Form::Gzip) => "application/vnd.docker.image.rootfs.diff.tar.gzip",
    };
    let layers: Vec<Descriptor> = layers
        .iter()
        .map(|(form, digest, size)| Descriptor::new(layer_kind(*form), *digest, *size))
        .collect();
    let text = json!({
        "schemaVersion": 2,
        "mediaType": kind,
        "config": Descriptor::new(config_kind, config.0, config.1),
        "layers": layers,
    });
    let bytes = Bytes::from(text.to_string());
    let digest = Digest::of(Algorithm::Sha256, &bytes);
    let manifest = Manifest::parse(digest, &bytes, Some(kind)).map_err(|error| error.to_string())?;
    Ok((manifest, bytes))
}
