//! What an upstream is asked for, and for whom: the key of a flight and of the negative cache.

use hubcap_oci::{Digest, Reference, Tag};
use hubcap_upstream::{Error, Upstream};

use crate::access::Access;

/// What is known of the content that a question is about. A registry's answer is a yes only if it says the same: with a
/// status of 200, there are sign-in pages, too.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Known {
    /// A manifest's digest.
    Digest(Digest),
    /// A blob's length in bytes, where it is known.
    Length(Option<u64>),
}

impl Known {
    /// A manifest's digest.
    pub(crate) const fn digest(&self) -> Option<&Digest> {
        match self {
            Self::Digest(digest) => Some(digest),
            Self::Length(_) => None,
        }
    }
}

/// One content of a repository, as one caller asks for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    pub(crate) access: Access,
    pub(crate) content: Content,
}

/// A content by the endpoint that gives it: the same digest may be asked for as a manifest and as a blob.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Content {
    Manifest(Reference),
    Blob(Digest),
    /// The list of the referrers of this manifest.
    Referrers(Digest),
}

impl Content {
    pub(crate) fn of_tag(tag: &Tag) -> Self {
        Self::Manifest(Reference::Tag(tag.clone()))
    }
}

impl Question {
    pub(crate) fn manifest(access: &Access, reference: &Reference) -> Self {
        Self { access: access.clone(), content: Content::Manifest(reference.clone()) }
    }

    pub(crate) fn blob(access: &Access, digest: &Digest) -> Self {
        Self { access: access.clone(), content: Content::Blob(*digest) }
    }

    pub(crate) fn referrers(access: &Access, subject: &Digest) -> Self {
        Self { access: access.clone(), content: Content::Referrers(*subject) }
    }

    /// Asks whether the upstream gives what is known, with the login that `upstream` carries, whatever the caller's is. False
    /// for an answer that does not tell that.
    pub(crate) async fn confirms(&self, upstream: &Upstream, known: Known) -> Result<bool, Error> {
        let repository = &self.access.target.repository;
        match (&self.content, known) {
            (Content::Manifest(reference), Known::Digest(digest)) => {
                let told = upstream.manifest_digest(repository, reference).await?;
                // One of schema 1 is asked for by another digest than that of its bytes.
                Ok(matches!(reference, Reference::Digest(_)) || told == digest)
            }
            (Content::Blob(digest), Known::Length(known)) => {
                let told = upstream.blob_size(repository, digest).await?;
                Ok(told.is_some() && told == known)
            }
            _ => Ok(false),
        }
    }
}
