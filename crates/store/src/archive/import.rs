//! Images out of files: what `docker save` and `podman save` write, OCI layouts in a tar, and OCI layouts as
//! directories, other stores among them.
//!
//! Nothing is unpacked: members are looked up by name and copied into `blobs/` by the one way that leads there. What a
//! file claims is checked before anything is written, and what was written is taken back when the rest turns out wrong.

mod docker;
mod layout;
mod members;

use std::os::unix::fs::FileExt as _;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use hubcap_oci::{Algorithm, Digest, ImageRef, Manifest, Tag, Target, Verifier};

use crate::error::Error;
use crate::hash::hash_range;
use crate::store::Store;
use members::{Member, Source};

/// What is read at once, in bytes.
const CHUNK: usize = 1 << 20;

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

/// One image of a file, checked as far as that is possible without reading its contents.
struct Image {
    names: Vec<(Target, Option<Tag>)>,
    top: (Manifest, Bytes),
    /// An index's manifests that are in the file.
    children: Vec<(Manifest, Bytes)>,
    contents: Vec<(Digest, Member)>,
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
        let source = Source::open(path)?;
        let mut images = if source.has("oci-layout") && source.has("index.json") {
            layout::images(&source, self).map_err(bad)?
        } else if source.has("manifest.json") {
            docker::images(&source).map_err(bad)?
        } else {
            let why =
                "it has neither manifest.json, as `docker save` writes it, nor oci-layout and index.json";
            return Err(bad(why.into()));
        };
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
        let mut fresh = Vec::new();
        let taken = self.take_in(&images, &mut fresh, progress);
        if taken.is_err() {
            for digest in &fresh {
                self.catalog().remove(digest);
            }
            self.catalog().index.forget(None, &fresh);
        }
        taken.map_err(|error| match error {
            Error::DigestMismatch { .. } => bad(format!("it is damaged: {error}")),
            other => other,
        })
    }

    fn take_in(
        &self,
        images: &[Image],
        fresh: &mut Vec<Digest>,
        progress: &dyn Fn(u64),
    ) -> Result<Vec<Imported>, Error> {
        for (digest, member) in images.iter().flat_map(|image| &image.contents) {
            if !self.has(digest) {
                self.copy(digest, member, progress)?;
                fresh.push(*digest);
            }
        }
        // An image becomes visible when all of it, and of the others, is here.
        let mut imported = Vec::new();
        for Image { names, top: (top, bytes), children, .. } in images {
            for (target, tag) in names {
                self.put_manifest(target, top, bytes, tag.as_ref())?;
                for (child, bytes) in children {
                    self.put_manifest(target, child, bytes, None)?;
                }
                let digest = top.descriptor.digest;
                imported.push(Imported { target: target.clone(), tag: tag.clone(), digest });
            }
        }
        Ok(imported)
    }

    fn copy(&self, digest: &Digest, member: &Member, progress: &dyn Fn(u64)) -> Result<(), Error> {
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

impl Member {
    /// Its digest, which is not known before it is read.
    fn digest(&self) -> Result<Digest, String> {
        let mut verifier = Verifier::new(Algorithm::Sha256);
        let range = self.offset..self.offset + self.size;
        hash_range(&self.file, range, &mut verifier, |_| {}).map_err(|error| error.to_string())?;
        Ok(verifier.finish())
    }

    /// Reads it piece by piece.
    fn each(&self, mut take: impl FnMut(Bytes) -> Result<(), Error>) -> Result<(), Error> {
        let mut done = 0;
        while done < self.size {
            // At most 1 MiB, so the cast cannot cut.
            let mut buffer = BytesMut::zeroed((self.size - done).min(CHUNK as u64) as usize);
            self.file.read_exact_at(&mut buffer, self.offset + done)?;
            done += buffer.len() as u64;
            take(buffer.freeze())?;
        }
        Ok(())
    }
}

fn named(name: &ImageRef) -> (Target, Option<Tag>) {
    let target = Target { registry: name.registry.clone(), repository: name.repository.clone() };
    let tag = match &name.reference {
        hubcap_oci::Reference::Tag(tag) => Some(tag.clone()),
        hubcap_oci::Reference::Digest(_) => None,
    };
    (target, tag)
}
