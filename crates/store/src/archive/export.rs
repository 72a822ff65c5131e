//! One image as a tar: as `docker save` writes it (docker-archive), or an OCI layout in a tar (oci-archive). Read from
//! the layout alone, so it works beside a running daemon. Each content is compared with its name while it is copied.

mod attested;

use std::collections::HashSet;
use std::io::{Read, Write};

use fs_err as fs;
use hubcap_oci::select::{Found, Search};
use hubcap_oci::{
    Compression, Descriptor, Digest, ImageRef, Link, Manifest, Platform, Reference, Verifier, media_type,
};
use serde_json::json;

use attested::Attested;

use crate::error::Error;
use crate::layout::image_index::{PRIVATE, REF_NAME, wrapper};
use crate::layout::{Layout, OCI_LAYOUT, content_path, own};
use crate::permissions::Readers;

/// How containerd, and with it dockerd, reads an image's name in a layout.
pub(crate) const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `manifest.json`, the configuration and the layers; docker load and podman load take it. Layers stay compressed
    /// as they are.
    DockerArchive,
    /// `oci-layout`, `index.json` and `blobs/`: podman load takes it, and docker load with containerd's image store.
    OciArchive,
}

/// An image that is here with all that one platform needs.
#[derive(Debug, Clone)]
pub struct CompleteImage {
    name: ImageRef,
    manifest: Descriptor,
    config: Descriptor,
    layers: Vec<Descriptor>,
    attested: Attested,
}

/// What the store has of an image.
#[derive(Debug, Clone)]
pub enum Availability {
    /// All that one platform needs.
    Complete(Box<CompleteImage>),
    /// Not all; this is missing.
    Missing(String),
}

impl CompleteImage {
    /// Bytes of all that is written in this format except the manifests, each counted once.
    pub fn size(&self, format: Format) -> u64 {
        self.contents(format).map(|content| content.size).sum()
    }

    /// Whether attestations that belong into an OCI archive are not in the store.
    pub const fn lacks_attestations(&self) -> bool {
        matches!(self.attested, Attested::Missing)
    }

    /// Whether a layer is compressed with zstd, which docker load cannot read before Docker 23.
    pub fn has_zstd(&self) -> bool {
        self.layers.iter().any(|layer| Compression::of_layer(&layer.media_type) == Some(Compression::Zstd))
    }

    /// The configuration, the layers, and in an OCI archive the attestations.
    fn contents(&self, format: Format) -> impl Iterator<Item = &Descriptor> {
        let attestations = match (format, &self.attested) {
            (Format::OciArchive, Attested::By { contents, .. }) => contents.as_slice(),
            _ => &[],
        };
        let mut seen = HashSet::new();
        let all = std::iter::once(&self.config).chain(&self.layers).chain(attestations);
        all.filter(move |one| seen.insert(one.digest))
    }
}

impl Layout {
    /// Looks up what the store has of an image for one platform.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Damaged`] when the store cannot be read.
    pub fn find(&self, name: &ImageRef, platform: &Platform) -> Result<Availability, Error> {
        Ok(match self.named(name)? {
            Some(top) => match self.complete(&top, name, platform) {
                Ok(image) => Availability::Complete(Box::new(image)),
                Err(what) => Availability::Missing(what),
            },
            None => Availability::Missing(format!("{name} is not in the store")),
        })
    }

    /// What of an image in this format not everybody may have. That its manifest names it is no permission: it may be written only
    /// if the image's repository has it, which the index knows.
    pub fn guarded(&self, image: &CompleteImage, format: Format) -> Vec<Digest> {
        let index = match (format, &image.attested) {
            (Format::OciArchive, Attested::By { index, .. }) => Some(&**index),
            _ => None,
        };
        let all = image.contents(format).chain([&image.manifest]).chain(index);
        all.map(|one| one.digest).filter(|digest| self.readers(digest) != Readers::All).collect()
    }

    /// What the store knows under that name: a tag, or a digest that is reachable in its repository.
    fn named(&self, name: &ImageRef) -> Result<Option<Link>, Error> {
        let images = self.read_index()?;
        let mut entries = images.entries().filter(|entry| {
            entry.target.registry == name.registry && entry.target.repository == name.repository
        });
        Ok(match &name.reference {
            Reference::Tag(tag) => entries
                .find(|entry| entry.tag.as_ref() == Some(tag))
                .map(|entry| Link::from(&entry.descriptor)),
            Reference::Digest(digest) => entries.find_map(|entry| {
                let graph = self.graph(&Link::from(&entry.descriptor));
                graph.manifests().find(|one| one.digest == *digest).cloned()
            }),
        })
    }

    /// The image with what one platform needs, or what is missing of that.
    fn complete(&self, top: &Link, name: &ImageRef, platform: &Platform) -> Result<CompleteImage, String> {
        let top = self
            .verified_manifest(top)
            .ok_or_else(|| format!("its manifest {} is not in the store", top.digest))?;
        let Manifest { descriptor, links } = self.for_platform(top.clone(), platform)?;
        let attested = Attested::find(self, &top, &descriptor, platform);
        // Their true lengths: a manifest may say others.
        let stored = |link: Link| match self.size_of(&link.digest) {
            Some(size) => Ok(Descriptor::new(link.media_type, link.digest, size)),
            None => Err(match link.url {
                Some(url) => format!(
                    "{} is not in the store; its registry need not have it, {url} has it",
                    link.digest
                ),
                None => format!("{} is not in the store", link.digest),
            }),
        };
        let config = stored(links.config.ok_or("it has no configuration")?)?;
        let layers: Vec<Descriptor> = links.layers.into_iter().map(stored).collect::<Result<_, _>>()?;
        Ok(CompleteImage { name: name.clone(), manifest: descriptor, config, layers, attested })
    }

    /// The manifest itself, or the one for the platform where it is an index.
    fn for_platform(&self, top: Manifest, platform: &Platform) -> Result<Manifest, String> {
        if !top.is_index() {
            return Ok(top);
        }
        let mut search = Search::new(platform, &top.links.manifests);
        loop {
            let candidate = search.next_candidate().map_err(|error| error.to_string())?;
            let manifest = match self.verified_manifest(&candidate.link) {
                Some(manifest) => manifest,
                None if candidate.is_silent() => continue,
                None => return Err(format!("its manifest for {platform} is not in the store")),
            };
            let own = manifest.links.config.as_ref().and_then(|config| self.platform_of(config));
            let found = match manifest.is_index() {
                true => Found::Index(&manifest.links.manifests),
                false => Found::Manifest(own.as_ref()),
            };
            if search.is_it(&candidate, found) {
                return Ok(manifest);
            }
        }
    }

    /// A manifest whose bytes have its digest.
    fn verified_manifest(&self, link: &Link) -> Option<Manifest> {
        let digest = link.digest;
        let bytes = self.small(&digest).ok()??;
        let right = Digest::of(digest.algorithm(), &bytes) == digest;
        right.then(|| Manifest::parse(digest, &bytes, Some(&link.media_type)).ok())?
    }
}

impl Layout {
    /// Writes an image; memory does not grow with it. `progress` is called with bytes as they are copied.
    ///
    /// # Errors
    /// [`Error::Damaged`] for a content that is not what its name says, [`Error::Io`]; what was written is of no use then.
    pub fn export(
        &self,
        image: &CompleteImage,
        format: Format,
        out: impl Write,
        progress: impl Fn(u64),
    ) -> Result<(), Error> {
        let mut writer = Writer { layout: self, tar: tar::Builder::new(out), progress };
        match format {
            Format::DockerArchive => writer.docker(image)?,
            Format::OciArchive => writer.oci(image)?,
        }
        writer.tar.into_inner()?.flush()?;
        Ok(())
    }
}

struct Writer<'a, W: Write, P: Fn(u64)> {
    layout: &'a Layout,
    tar: tar::Builder<W>,
    progress: P,
}

impl<W: Write, P: Fn(u64)> Writer<'_, W, P> {
    /// The form of `docker save` before Docker 25, which every loader knows. `manifest.json` comes first, so that what
    /// is no image is known at once.
    fn docker(&mut self, image: &CompleteImage) -> Result<(), Error> {
        let config = format!("{}.json", image.config.digest.hex());
        let layer = |digest: &Digest| format!("{}.tar", digest.hex());
        let layers: Vec<String> = image.layers.iter().map(|one| layer(&one.digest)).collect();
        let tags: Vec<String> = familiar(&image.name).into_iter().collect();
        let manifest = json!([{ "Config": config, "RepoTags": tags, "Layers": layers }]);
        self.small("manifest.json", manifest.to_string().as_bytes())?;
        self.content(&config, &image.config)?;
        for one in image.contents(Format::DockerArchive).skip(1) {
            self.content(&layer(&one.digest), one)?;
        }
        Ok(())
    }

    fn oci(&mut self, image: &CompleteImage) -> Result<(), Error> {
        let mut entry = image.manifest.clone();
        let wrapper = wrapper(&entry);
        if let Attested::By { index, .. } = &image.attested {
            entry = Descriptor::clone(index);
        } else if let Some((digest, bytes)) = &wrapper {
            entry = Descriptor::new(media_type::OCI_INDEX, *digest, bytes.len() as u64);
        }
        for name in [REF_NAME, CONTAINERD_NAME] {
            if matches!(image.name.reference, Reference::Tag(_)) {
                entry.annotations.insert(name.into(), image.name.to_string());
            }
        }
        let target = image.name.target();
        if self.layout.read_index()?.entries().any(|stored| stored.private && stored.target == target) {
            entry.annotations.insert(PRIVATE.into(), "true".into());
        }
        let index = json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [entry] });
        self.small("oci-layout", OCI_LAYOUT.as_bytes())?;
        self.small("index.json", index.to_string().as_bytes())?;
        match (&image.attested, wrapper) {
            (Attested::By { index, .. }, _) => self.content(&content_path(&index.digest), index)?,
            (_, Some((digest, bytes))) => self.small(&content_path(&digest), &bytes)?,
            (_, None) => {}
        }
        for one in std::iter::once(&image.manifest).chain(image.contents(Format::OciArchive)) {
            self.content(&content_path(&one.digest), one)?;
        }
        Ok(())
    }

    fn small(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.tar.append_data(&mut header(bytes.len() as u64), name, bytes)?;
        Ok(())
    }

    fn content(&mut self, name: &str, content: &Descriptor) -> Result<(), Error> {
        let path = self.layout.blob(&content.digest);
        let mut checked = Checked {
            file: fs::File::from_parts(own::open(&path)?, &path).take(content.size),
            verifier: Verifier::new(content.digest.algorithm()),
            read: 0,
            progress: &self.progress,
        };
        self.tar.append_data(&mut header(content.size), name, &mut checked)?;
        if checked.read != content.size || checked.verifier.finish() != content.digest {
            let why =
                "its bytes are not what its name says; `hubcap verify --repair` fetches it again".into();
            return Err(Error::Damaged { path, why });
        }
        Ok(())
    }
}

/// Copies, and hashes what it copies.
struct Checked<'a, P: Fn(u64)> {
    file: std::io::Take<fs::File>,
    verifier: Verifier,
    read: u64,
    progress: &'a P,
}

impl<P: Fn(u64)> Read for Checked<'_, P> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.file.read(buffer)?;
        self.verifier.update(&buffer[..length]);
        self.read += length as u64;
        (self.progress)(length as u64);
        Ok(length)
    }
}

/// The same image is the same tar everywhere: no time, and nobody's name.
fn header(size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    header
}

/// A tag as `docker save` writes it: `alpine:3` for Docker Hub's. An image that was named by its digest has none.
fn familiar(name: &ImageRef) -> Option<String> {
    let Reference::Tag(tag) = &name.reference else { return None };
    let repository = name.repository.to_string();
    Some(match name.registry.is_docker_hub() {
        true => format!("{}:{tag}", repository.strip_prefix("library/").unwrap_or(&repository)),
        false => format!("{}/{repository}:{tag}", name.registry),
    })
}
