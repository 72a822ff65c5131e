//! The other origins of a registry, beside the first. They have the same bytes, and nothing to decide: not what a tag means,
//! nor who may have what.

use hubcap_oci::{Digest, Reference, Repository, Tag};

use super::{ManifestBody, Upstream};
use crate::error::Error;

/// Which of a registry's other origins may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Others {
    /// None of them.
    None,
    /// Those for which no login is known: what they give they give to everybody.
    WithoutLogin,
    /// Those that have a login of their own.
    WithLogin,
    /// All of them.
    All,
}

impl Others {
    pub(super) const fn allows(self, has_login: bool) -> bool {
        match self {
            Self::None => false,
            Self::WithoutLogin => !has_login,
            Self::WithLogin => has_login,
            Self::All => true,
        }
    }
}

impl Upstream {
    /// Whether the registry has other origins beside the first.
    pub fn has_others(&self) -> bool {
        !self.others.is_empty()
    }

    /// Whether the other origins may say what a tag means while the first is away.
    pub const fn takes_stale_tags(&self) -> bool {
        self.stale_tags
    }

    /// For each of the other origins, whether it may be asked.
    pub(super) async fn allowed(&self, others: Others) -> Vec<bool> {
        let mut allowed = Vec::with_capacity(self.others.len());
        for other in self.others.iter() {
            allowed.push(others != Others::None && others.allows(other.is_privileged().await));
        }
        allowed
    }

    /// A manifest by its digest, from the first of the other origins that has its bytes.
    pub async fn manifest_from_others(
        &self,
        repository: &Repository,
        digest: &Digest,
        others: Others,
    ) -> Option<ManifestBody> {
        self.first_given(repository, &Reference::Digest(*digest), others).await
    }

    /// What a tag means at the first of the other origins that knows it. It may be older than what the first origin has.
    pub async fn stale_tag(
        &self,
        repository: &Repository,
        tag: &Tag,
        others: Others,
    ) -> Option<ManifestBody> {
        self.first_given(repository, &Reference::Tag(tag.clone()), others).await
    }

    /// A blob's length, as the first of the other origins tells it that has the blob.
    pub async fn blob_size_from_others(
        &self,
        repository: &Repository,
        digest: &Digest,
        others: Others,
    ) -> Option<u64> {
        for (other, allowed) in self.others.iter().zip(self.allowed(others).await) {
            if allowed && let Ok(Some(size)) = other.blob_size(repository, digest).await {
                return Some(size);
            }
        }
        None
    }

    async fn first_given(
        &self,
        repository: &Repository,
        reference: &Reference,
        others: Others,
    ) -> Option<ManifestBody> {
        for (other, allowed) in self.others.iter().zip(self.allowed(others).await) {
            if !allowed {
                continue;
            }
            let given = other.manifest(repository, reference).await;
            match given.and_then(|body| check(reference, body)) {
                Ok(body) => {
                    tracing::info!(target: "hubcap::upstream", origin = %other.origin,
                        "{}/{repository}: manifest {reference} comes from here", self.registry);
                    return Some(body);
                }
                Err(error) => tracing::debug!(target: "hubcap::upstream", origin = %other.origin,
                    "{}/{repository}: no manifest {reference} from here: {error}", self.registry),
            }
        }
        None
    }
}

/// # Errors
/// [`Error::Invalid`] for other bytes than those of the digest that was asked for.
fn check(reference: &Reference, body: ManifestBody) -> Result<ManifestBody, Error> {
    match reference {
        Reference::Digest(asked) if Digest::of(asked.algorithm(), &body.bytes) != *asked => {
            Err(Error::invalid("it is another manifest"))
        }
        _ => Ok(body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_allowed_by_whether_it_has_a_login_of_its_own() {
        let allows = |others: Others| [others.allows(false), others.allows(true)];
        assert_eq!(allows(Others::None), [false, false]);
        assert_eq!(allows(Others::WithoutLogin), [true, false]);
        assert_eq!(allows(Others::WithLogin), [false, true]);
        assert_eq!(allows(Others::All), [true, true]);
    }
}
