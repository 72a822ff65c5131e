//! Which of a registry's other origins may supply content. The first origin decides who may have what: the others are asked
//! only for what it has permitted, or for what they give to everybody themselves.

use hubcap_oci::{Digest, Reference, Target};
use hubcap_store::Store;
use hubcap_upstream::{Others, Permission, Upstream};

use crate::authorization::{Admission, Grants};
use crate::question::{Content, Question};

/// What is known of a content while the first origin cannot be asked for it.
#[derive(Debug, Clone, Copy)]
struct Known {
    is_private: bool,
    admission: Admission,
    /// Whether the first origin has given this content to this hubcap before, or a manifest that names it, or need not be asked.
    is_known: bool,
    /// Whether something of the repository is stored under a tag: so its name is no secret.
    is_named: bool,
    /// Whether it would be asked with a login.
    is_privileged: bool,
}

impl Known {
    /// The origins that may supply the content.
    const fn others(self) -> Others {
        match self {
            Self { is_private: true, admission: Admission::Ask, .. } => Others::None,
            Self { is_private: true, .. } => Others::WithLogin,
            Self { is_known: true, .. } => Others::All,
            // It may be private, and then its very name is for nobody else.
            Self { is_privileged: true, is_named: false, .. } => Others::None,
            // The first would give it only if it is public, and an origin without a login gives only what is. That the
            // repository was public says nothing of what came since.
            Self { .. } => Others::WithoutLogin,
        }
    }
}

/// The origins that may go on with what the first has permitted.
pub(crate) const fn permitted(is_private: bool) -> Others {
    if is_private { Others::WithLogin } else { Others::All }
}

/// What the first origin has said of a blob before it is asked for it. That a store out of a cache names it is not its word.
pub(crate) fn permission(store: &Store, target: &Target, blob: &Digest) -> Permission {
    if store.is_told(target, blob) { Permission::Named } else { Permission::Asked }
}

/// Whether what these origins supply may be stored as the repository's. What the first has never spoken of may not.
pub(crate) const fn may_be_stored(others: Others) -> bool {
    !matches!(others, Others::WithoutLogin)
}

/// Whether this is one of Docker's Official Images. Nothing there is private.
fn is_official(target: &Target) -> bool {
    target.registry.is_docker_hub() && target.repository.as_str().starts_with("library/")
}

impl Grants {
    /// The origins that may supply a content while the first one cannot be asked.
    pub(crate) async fn others_while_away(
        &self,
        store: &Store,
        upstream: &Upstream,
        question: &Question,
    ) -> Others {
        let Question { access, content } = question;
        let target = &access.target;
        let is_private = store.is_private(target);
        let is_told = match content {
            Content::Blob(digest)
            | Content::Manifest(Reference::Digest(digest))
            | Content::Referrers(digest) => store.is_told(target, digest),
            Content::Manifest(Reference::Tag(_)) => false,
        };
        let known = Known {
            is_private,
            admission: self.admission(is_private, access, std::time::Instant::now()),
            is_known: is_told || is_official(target),
            is_named: !store.tags(target).is_empty(),
            is_privileged: upstream.is_privileged().await,
        };
        known.others()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLIC: Known = Known {
        is_private: false,
        admission: Admission::Free,
        is_known: true,
        is_named: true,
        is_privileged: false,
    };
    const PRIVATE: Known = Known { is_private: true, ..PUBLIC };
    const NEW: Known = Known { is_known: false, ..PUBLIC };
    const UNKNOWN: Known = Known { is_named: false, ..NEW };

    #[test]
    fn what_the_first_has_given_to_everybody_may_come_from_any_origin() {
        for is_privileged in [false, true] {
            assert_eq!(Known { is_privileged, ..PUBLIC }.others(), Others::All);
        }
        assert_eq!(permitted(false), Others::All);
    }

    #[test]
    fn what_is_private_is_asked_only_of_origins_with_a_login_and_only_for_who_has_a_grant() {
        for (admission, others) in [
            (Admission::Free, Others::WithLogin),
            (Admission::Lapsed, Others::WithLogin),
            (Admission::Ask, Others::None),
        ] {
            for is_known in [false, true] {
                assert_eq!(Known { admission, is_known, ..PRIVATE }.others(), others);
            }
        }
        assert_eq!(permitted(true), Others::WithLogin);
    }

    #[test]
    fn what_the_first_has_never_spoken_of_comes_only_from_who_gives_it_to_everybody_and_is_not_stored() {
        for is_privileged in [false, true] {
            assert_eq!(Known { is_privileged, ..NEW }.others(), Others::WithoutLogin);
        }
        assert_eq!(UNKNOWN.others(), Others::WithoutLogin);
        assert!(!may_be_stored(Others::WithoutLogin) && may_be_stored(Others::All));
    }

    #[test]
    fn dockers_official_images_are_for_everybody() {
        let official = |registry: &str, repository: &str| {
            is_official(&Target {
                registry: registry.parse().expect("a registry"),
                repository: repository.parse().expect("a repository"),
            })
        };
        assert!(official("docker.io", "library/alpine"));
        assert!(!official("docker.io", "org/alpine") && !official("ghcr.io", "library/alpine"));
    }

    #[test]
    fn what_may_be_private_is_named_to_no_other_origin() {
        assert_eq!(Known { is_privileged: true, ..UNKNOWN }.others(), Others::None);
    }
}
