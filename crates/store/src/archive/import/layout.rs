//! An OCI layout, in a tar or as a directory: its manifests are taken as they are, so digests stay.

use std::collections::HashSet;

use bytes::Bytes;
use hubcap_oci::{Descriptor, Digest, ImageRef, Link, Manifest, media_type};
use serde::Deserialize;

use super::image::{Image, Origin, named};
use super::members::Source;
use crate::archive::export::CONTAINERD_NAME;
use crate::layout::content_path;
use crate::layout::image_index::{PRIVATE, REF_NAME, read_entry};
use crate::store::Store;

/// The most manifests that one image may have.
const MAX_MANIFESTS: usize = 10_000;
/// How many bytes all manifests of a file may have together: they are in memory until the images are in the store.
const MAX_MANIFEST_BYTES: usize = 64 << 20;

/// `index.json`, as far as it is read. Some tools write null for a list of nothing.
#[derive(Deserialize)]
struct Index {
    manifests: Option<Vec<Descriptor>>,
}

pub(super) fn images(source: &Source, store: &Store) -> Result<Vec<Image>, String> {
    let index: Index = serde_json::from_slice(&source.small("index.json")?)
        .map_err(|error| format!("index.json is no image index: {error}"))?;
    let entries = index.manifests.iter().flatten();
    // Another hubcap's lists of referrers are no images, and its registry knows the present ones.
    let images = entries.filter(|entry| read_entry(entry).is_none_or(|entry| entry.subject.is_none()));
    let mut left = MAX_MANIFEST_BYTES;
    images.map(|entry| image((source, store), entry, &mut left)).collect()
}

/// `left` is how many bytes of manifests may still be read.
fn image(from: (&Source, &Store), entry: &Descriptor, left: &mut usize) -> Result<Image, String> {
    let mut manifest = |link: &Link| {
        let found = manifest(from.0, link)?;
        let size = found.as_ref().map_or(0, |(_, bytes)| bytes.len());
        *left = left
            .checked_sub(size)
            .ok_or_else(|| format!("its manifests have more than {MAX_MANIFEST_BYTES} bytes"))?;
        Ok::<_, String>(found)
    };
    // Another hubcap's store says more than others.
    let of_store = read_entry(entry);
    let origin = match &of_store {
        _ if entry.annotations.contains_key(PRIVATE) => Origin::Private,
        Some(_) => Origin::PublicInStore,
        None => Origin::Tool,
    };
    let (names, descriptor) = match of_store {
        Some(entry) => (vec![(entry.target, entry.tag)], entry.descriptor),
        None => (name(entry)?.iter().map(named).collect(), entry.clone()),
    };
    let mut image = Image {
        names,
        origin,
        top: manifest(&Link::from(&descriptor))?
            .ok_or_else(|| format!("the manifest {} is missing", descriptor.digest))?,
        children: Vec::new(),
        contents: Vec::new(),
    };
    // What wraps a single manifest for the sake of other tools is not the image's own; hubcap says itself what is.
    if origin == Origin::Tool
        && let [only] = image.top.0.links.manifests.as_slice()
        && only.platform.is_none()
        && image.top.0.descriptor.media_type == media_type::OCI_INDEX
        && let Some(unwrapped) = manifest(only)?
    {
        image.top = unwrapped;
    }
    let mut seen = HashSet::from([image.top.0.descriptor.digest]);
    let mut rest = image.top.0.links.manifests.clone();
    while let Some(child) = rest.pop() {
        if seen.insert(child.digest)
            && let Some(child) = manifest(&child)?
        {
            rest.extend(child.0.links.manifests.iter().cloned());
            image.children.push(child);
            if image.children.len() > MAX_MANIFESTS {
                return Err(format!("an image in it has more than {MAX_MANIFESTS} manifests"));
            }
        }
    }
    if image.children.is_empty() && !image.top.0.links.manifests.is_empty() {
        return Err(format!("none of the manifests of {} is in it", image.top.0.descriptor.digest));
    }
    let all = std::iter::once(&image.top).chain(&image.children);
    for blob in all.clone().flat_map(|(manifest, _)| manifest.links.blobs()) {
        match from.0.member(&content_path(&blob.digest)) {
            Some(member) => image.contents.push((blob.digest, member)),
            None if from.1.has(&blob.digest) || blob.is_foreign() => {}
            None => return Err(format!("the content {} is missing", blob.digest)),
        }
    }
    for (manifest, _) in all {
        let digest = manifest.descriptor.digest;
        image.contents.extend(from.0.member(&content_path(&digest)).map(|member| (digest, member)));
    }
    Ok(image)
}

/// The image's whole name, as the tools write it. A mere tag, which the specification allows too, is no name.
fn name(entry: &Descriptor) -> Result<Option<ImageRef>, String> {
    let whole = entry.annotations.get(CONTAINERD_NAME);
    let whole = whole.or_else(|| entry.annotations.get(REF_NAME).filter(|name| name.contains(['/', ':'])));
    whole.map(|name| name.parse().map_err(|error: hubcap_oci::ParseError| error.to_string())).transpose()
}

/// A manifest of the layout; `None` when it is not there.
fn manifest(source: &Source, link: &Link) -> Result<Option<(Manifest, Bytes)>, String> {
    let (path, digest) = (content_path(&link.digest), link.digest);
    if !source.has(&path) {
        return Ok(None);
    }
    let bytes = source.small(&path)?;
    let actual = Digest::of(digest.algorithm(), &bytes);
    if actual != digest {
        return Err(format!("it is damaged: the manifest {digest} has the digest {actual}"));
    }
    let manifest =
        Manifest::parse(digest, &bytes, Some(&link.media_type)).map_err(|error| error.to_string())?;
    Ok(Some((manifest, bytes)))
}
