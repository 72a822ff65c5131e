//! What an upstream is asked for, and for whom: the key of a flight and of the negative cache.

use hubcap_oci::{Digest, Reference};
use hubcap_upstream::{Error, Upstream};

use crate::access::Access;

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

    /// Asks whether the upstream gives it, with the login that `upstream` carries, whatever the caller's is.
    pub(crate) async fn ask(&self, upstream: &Upstream) -> Result<(), Error> {
        let repository = &self.access.target.repository;
        match &self.content {
            Content::Manifest(reference) => upstream.manifest_digest(repository, reference).await.map(drop),
            Content::Blob(digest) => upstream.blob_size(repository, digest).await.map(drop),
            Content::Referrers(subject) => upstream.referrers(repository, subject).await.map(drop),
        }
    }
}
