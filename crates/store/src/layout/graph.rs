//! What belongs together: a manifest, the manifests below it, and their blobs.
//!
//! Nothing here compares bytes with their digest. What is read only says what belongs together, and is verified before it is
//! served.

use std::collections::HashSet;
use std::io::{ErrorKind, Read as _};

use hubcap_oci::{Digest, Link, Links, Manifest};

use super::Layout;
use super::image_index::Entry;
use super::own;
use crate::error::Error;

/// A manifest, and all manifests below it, each once. It comes first; an index comes before its manifests, which keep their
/// order.
#[derive(Debug)]
pub(crate) struct Graph(Vec<Node>);

/// One manifest of a [`Graph`].
#[derive(Debug)]
pub(crate) struct Node {
    /// As what points at it describes it, with its true media type where it could be read.
    pub(crate) link: Link,
    /// What it points at; `None` when it is not here, or is no manifest.
    pub(crate) links: Option<Links>,
}

impl Graph {
    pub(crate) fn nodes(&self) -> &[Node] {
        &self.0
    }

    /// The manifests, whether they are here or not.
    pub(crate) fn manifests(&self) -> impl Iterator<Item = &Link> + Clone {
        self.0.iter().map(|node| &node.link)
    }

    /// The manifests and their blobs, whether they are here or not. Blobs that manifests share come several times.
    pub(crate) fn contents(&self) -> impl Iterator<Item = &Link> {
        let links = self.0.iter().filter_map(|node| node.links.as_ref());
        self.manifests().chain(links.flat_map(Links::blobs))
    }
}

impl Layout {
    /// All contents that an image's manifests name, whether they are here or not.
    pub(crate) fn named_by(&self, entry: &Entry) -> HashSet<Digest> {
        let graph = self.graph(&Link::from(&entry.descriptor));
        let named = graph.nodes().iter().filter_map(|node| node.links.as_ref()).flat_map(Links::contents);
        named.map(|link| link.digest).collect()
    }

    /// Collects what `top` points at, directly and through its manifests.
    pub(crate) fn graph(&self, top: &Link) -> Graph {
        let mut nodes = Vec::new();
        let mut seen = HashSet::new();
        // Not by recursion: how deep indexes are nested is up to who made them.
        let mut rest = vec![top.clone()];
        while let Some(mut link) = rest.pop() {
            if !seen.insert(link.digest) {
                continue;
            }
            let links = self.manifest(&link).map(|manifest| {
                link.media_type = manifest.descriptor.media_type;
                manifest.links
            });
            rest.extend(links.iter().flat_map(|links| links.manifests.iter().rev()).cloned());
            nodes.push(Node { link, links });
        }
        Graph(nodes)
    }

    /// The manifest that `link` names; `None` when it is not here, or is no manifest.
    pub(crate) fn manifest(&self, link: &Link) -> Option<Manifest> {
        let bytes = self.small(&link.digest).ok()??;
        Manifest::parse_named(link.digest, &bytes, &link.media_type).ok()
    }

    /// A content that is no larger than a manifest may be. `None` when it is not here, or larger: a layer may be asked for as
    /// a manifest, and is not read into memory for that.
    pub(crate) fn small(&self, digest: &Digest) -> Result<Option<Vec<u8>>, Error> {
        let mut file = match own::open(&self.blob(digest)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let size = file.metadata()?.len();
        if size > Manifest::MAX_SIZE as u64 {
            return Ok(None);
        }
        let mut bytes = Vec::with_capacity(size as usize);
        file.read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }
}
