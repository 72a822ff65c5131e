//! An image as a file has it.

use bytes::Bytes;
use hubcap_oci::{Digest, ImageRef, Manifest, Reference, Tag, Target};

use super::members::Member;
use crate::permissions::Readers;

/// One image of a file, checked as far as that is possible without reading its contents.
pub(super) struct Image {
    pub(super) names: Vec<(Target, Option<Tag>)>,
    pub(super) top: (Manifest, Bytes),
    /// An index's manifests that are in the file.
    pub(super) children: Vec<(Manifest, Bytes)>,
    pub(super) contents: Vec<(Digest, Member)>,
    pub(super) origin: Origin,
}

/// Who wrote the file, as far as that says who may have what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// A tool that knows nothing of that: they are for this machine.
    Tool,
    /// hubcap: the image's registry gives it to anybody, and each content's mode says whether that may have it too.
    PublicInStore,
    /// hubcap: the image's registry gives it only to a login.
    Private,
}

impl Origin {
    /// Who may have a content of the image.
    pub(super) const fn readers(self, member: &Member) -> Readers {
        match self {
            Self::Tool => Readers::Local,
            Self::PublicInStore => member.readers,
            Self::Private => Readers::Granted,
        }
    }
}

/// A name's repository, and its tag where it has one.
pub(super) fn named(name: &ImageRef) -> (Target, Option<Tag>) {
    let tag = match &name.reference {
        Reference::Tag(tag) => Some(tag.clone()),
        Reference::Digest(_) => None,
    };
    (name.target(), tag)
}
