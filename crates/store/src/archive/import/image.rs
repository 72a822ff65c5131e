//! An image as a file has it.

use bytes::Bytes;
use hubcap_oci::{Digest, ImageRef, Manifest, Reference, Tag, Target};

use super::members::Member;

/// One image of a file, checked as far as that is possible without reading its contents.
pub(super) struct Image {
    pub(super) names: Vec<(Target, Option<Tag>)>,
    pub(super) top: (Manifest, Bytes),
    /// An index's manifests that are in the file.
    pub(super) children: Vec<(Manifest, Bytes)>,
    pub(super) contents: Vec<(Digest, Member)>,
}

/// A name's repository, and its tag where it has one.
pub(super) fn named(name: &ImageRef) -> (Target, Option<Tag>) {
    let target = Target { registry: name.registry.clone(), repository: name.repository.clone() };
    let tag = match &name.reference {
        Reference::Tag(tag) => Some(tag.clone()),
        Reference::Digest(_) => None,
    };
    (target, tag)
}
