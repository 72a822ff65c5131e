//! Images out of files: what `docker save` and `podman save` write, OCI layouts in a tar, and OCI layouts as
//! directories, other stores among them.
//!
//! A compressed archive is decompressed into the store's own directory first, which has room for what comes out of it anyway.
//! Beyond that nothing is unpacked: members are looked up by name and copied into `blobs/` by the one way that leads there. What a
//! file claims is checked before anything is written, and what was written is taken back when the rest turns out wrong.

mod decompress;
mod docker;
mod image;
mod layout;
mod members;

use std::collections::{HashMap, HashSet};
use std::path::Path;

use bytes::Bytes;
use hubcap_oci::{Digest, ImageRef, Manifest, Tag, Target};

use crate::archive::without_modes;
use crate::error::Error;
use crate::index::Word;
use crate::permissions::{Modes, Readers};
use crate::store::Store;
use image::{Image, Origin, named};
use members::{Member, Source};

/// An image that is in the store now.
#[derive(Debug, Clone)]
pub struct Imported {
    /// Its repository.
    pub target: Target,
    /// Its tag.
    pub tag: Option<Tag>,
    /// Its manifest or index.
    pub digest: Digest,
}

/// What the modes of a store would make everybody's though it has lost them: all that it has, where it says so itself (`modes`),
/// else what its private images have.
fn guarded(images: &[Image], modes: Modes) -> HashSet<Digest> {
    let of_store = || images.iter().filter(|image| image.origin != Origin::Tool);
    if modes == Modes::Lost {
        return of_store().flat_map(|image| image.contents.iter().map(|(digest, _)| *digest)).collect();
    }
    let top = |image: &Image| image.top.0.descriptor.digest;
    let tops: Vec<_> = of_store().map(|image| (top(image), image.origin == Origin::Private)).collect();
    let contents = images.iter().flat_map(|image| &image.contents);
    let modes: HashMap<_, _> = contents.map(|(digest, member)| (*digest, member.readers)).collect();
    let lost = without_modes(&tops, |top| modes.get(top).copied().unwrap_or(Readers::Granted));
    let private = images.iter().filter(|image| image.origin == Origin::Private && lost.contains(&top(image)));
    private.flat_map(|image| image.contents.iter().map(|(digest, _)| *digest)).collect()
}

impl Store {
    /// Takes in all images of a file or directory; `name` is for one that does not say its own, or instead of that.
    /// `progress` is told of bytes as they are copied.
    ///
    /// # Errors
    /// [`Error::Import`] when it is no image, or is damaged or incomplete; nothing of it is kept then.
    pub fn import(
        &self,
        path: &Path,
        name: Option<&ImageRef>,
        progress: &dyn Fn(u64),
    ) -> Result<Vec<Imported>, Error> {
        let bad = |why: String| Error::Import { path: path.to_owned(), why };
        let source = Source::open(path, &self.catalog().layout.ingests(), || self.room())?;
        let (is_layout, is_saved) =
            (source.has("oci-layout") && source.has("index.json"), source.has("manifest.json"));
        if !is_layout && !is_saved {
            let why =
                "it has neither manifest.json, as `docker save` writes it, nor oci-layout and index.json";
            return Err(bad(why.into()));
        }
        let mut images = Vec::new();
        if is_layout {
            images = layout::images(&source, self).map_err(bad)?;
        }
        // `docker save` writes both forms, and sometimes a layout that names nothing.
        if is_saved && images.is_empty() {
            images = docker::images(&source).map_err(bad)?;
        }
        match (name, images.as_mut_slice()) {
            (_, []) => return Err(bad("there is no image in it".into())),
            (Some(name), [image]) => image.names = vec![named(name)],
            (Some(_), several) => {
                return Err(bad(format!("it has {} images, and --tag can name only one", several.len())));
            }
            (None, images) if images.iter().any(|image| image.names.is_empty()) => {
                return Err(bad("it does not say the image's name; give it with --tag".into()));
            }
            (None, _) => {}
        }
        let guarded = guarded(&images, source.modes());
        let mut fresh = HashSet::new();
        let taken = self.take_in(&images, &guarded, &mut fresh, progress).and_then(|imported| match imported
            .is_empty()
        {
            true => Err(bad(
                "the modes of its files do not say who may have its images, as in a copy that has lost them"
                    .into(),
            )),
            false => Ok(imported),
        });
        if taken.is_err() {
            for digest in &fresh {
                self.catalog().remove(digest);
            }
            self.catalog().index.forget_contents(&fresh);
        }
        taken.map_err(|error| match error {
            Error::DigestMismatch { .. } => bad(format!("it is damaged: {error}")),
            other => other,
        })
    }

    fn take_in(
        &self,
        images: &[Image],
        guarded: &HashSet<Digest>,
        fresh: &mut HashSet<Digest>,
        progress: &dyn Fn(u64),
    ) -> Result<Vec<Imported>, Error> {
        let mut copied = HashSet::new();
        let contents = images.iter().flat_map(|image| &image.contents);
        for (digest, member) in contents.filter(|(digest, _)| copied.insert(*digest)) {
            let (is_new, readers) = (!self.has(digest), self.catalog().layout.readers(digest));
            // What is here and not for everybody must be in the file, too: a name alone would make it the image's.
            if is_new || readers != Readers::All {
                self.copy(digest, member, progress)?;
                self.catalog().layout.mark(digest, readers);
            }
            if is_new {
                fresh.insert(*digest);
            }
        }
        // An image becomes visible when all of it, and of the others, is here.
        let mut imported = Vec::new();
        for Image { names, top, children, contents, origin } in images {
            let readers: HashMap<Digest, Readers> = contents
                .iter()
                .map(|(digest, member)| match guarded.contains(digest) {
                    true => (*digest, Readers::Granted),
                    false => (*digest, origin.readers(member)),
                })
                .collect();
            let readers = |digest: &Digest| readers.get(digest).copied().unwrap_or(Readers::Local);
            // Of what is in a public image of another hubcap that one did not know who may have it, either.
            let is_given =
                |digest: &Digest| *origin != Origin::PublicInStore || readers(digest) != Readers::Granted;
            if !is_given(&top.0.descriptor.digest) {
                continue;
            }
            for (target, tag) in names {
                if *origin == Origin::Private {
                    self.mark_private(target)?;
                }
                for (digest, _) in contents.iter().filter(|(digest, _)| is_given(digest)) {
                    match readers(digest) {
                        Readers::Granted | Readers::All => self.link_by(target, digest, Word::Layout),
                        Readers::Local => self.link_imported(target, digest, fresh.contains(digest)),
                    }
                }
                let put = |(manifest, bytes): &(Manifest, Bytes), tag: Option<&Tag>| {
                    let readers = readers(&manifest.descriptor.digest);
                    self.put_manifest_for(target, manifest, bytes, tag, (readers, Word::Layout))
                };
                put(top, tag.as_ref())?;
                for child in children.iter().filter(|(child, _)| is_given(&child.descriptor.digest)) {
                    put(child, None)?;
                }
                let digest = top.0.descriptor.digest;
                imported.push(Imported { target: target.clone(), tag: tag.clone(), digest });
            }
        }
        Ok(imported)
    }

    fn copy(&self, digest: &Digest, member: &Member, progress: &dyn Fn(u64)) -> Result<(), Error> {
        // Nothing goes for what is not what it is called, and may take no room where it comes from.
        if self.is_full_for(member.size)? {
            member.verify(digest)?;
        }
        let mut ingest = self.ingest(*digest, Some(member.size))?;
        ingest.allocate(member.size)?;
        member.each(|piece| {
            progress(piece.len() as u64);
            ingest.write(&piece)
        })?;
        ingest.commit()?;
        Ok(())
    }
}
