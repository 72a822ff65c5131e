//! One grammar of the pull side's paths, for the router and the upstream client alike.

use std::borrow::Cow;

use crate::query::{parse_query, with_query};
use crate::{Digest, Page, ParseError, Reference, Repository};

/// The parameter that filters a list of referrers.
const ARTIFACT_TYPE: &str = "artifactType";

/// What a request of the distribution specification asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// end-1: `/v2/`
    Version,
    /// end-2: `/v2/<name>/blobs/<digest>`
    Blob {
        /// The repository that it is asked of.
        repository: Repository,
        /// The blob.
        digest: Digest,
    },
    /// end-3: `/v2/<name>/manifests/<reference>`
    Manifest {
        /// The repository that it is asked of.
        repository: Repository,
        /// The tag or digest.
        reference: Reference,
    },
    /// end-8a and end-8b: `/v2/<name>/tags/list`
    Tags {
        /// The repository whose tags are asked for.
        repository: Repository,
        /// Which of them.
        page: Page,
    },
    /// end-12a and end-12b: `/v2/<name>/referrers/<digest>`
    Referrers {
        /// The repository that it is asked of.
        repository: Repository,
        /// The subject.
        digest: Digest,
        /// The filter: the value of each `artifactType`. Clients name several; without one, all are asked for.
        artifact_types: Vec<String>,
    },
}

/// Why a path is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotAnEndpoint {
    /// No path of the specification's pull side.
    UnknownPath,
    /// The repository's name is against the grammar.
    Name(ParseError),
    /// The digest or the tag is against the grammar.
    Reference(ParseError),
}

impl Endpoint {
    /// Reads a path and its query. Some clients escape what need not be, `sha256%3A...` above all, so each part of the path is
    /// decoded by itself; one that has a `/` then is against the grammar.
    pub fn parse(path: &str, query: Option<&str>) -> Result<Self, NotAnEndpoint> {
        let rest = match path {
            "/v2" | "/v2/" => return Ok(Self::Version),
            path => path.strip_prefix("/v2/").ok_or(NotAnEndpoint::UnknownPath)?,
        };
        let name = |text: &str| text.parse().map_err(NotAnEndpoint::Name);
        // From the end, since a repository may itself have a part called "manifests" or "blobs".
        let mut parts = rest.rsplitn(3, '/');
        let (Some(last), Some(kind), Some(repository)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NotAnEndpoint::UnknownPath);
        };
        let (last, repository) = (&*decoded(last), &*decoded(repository));
        match kind {
            "manifests" => Ok(Self::Manifest {
                repository: name(repository)?,
                reference: last.parse().map_err(NotAnEndpoint::Reference)?,
            }),
            "blobs" => Ok(Self::Blob {
                repository: name(repository)?,
                digest: last.parse().map_err(NotAnEndpoint::Reference)?,
            }),
            "referrers" => {
                let named = |(key, value): (String, String)| {
                    (key == ARTIFACT_TYPE && !value.is_empty()).then_some(value)
                };
                Ok(Self::Referrers {
                    repository: name(repository)?,
                    digest: last.parse().map_err(NotAnEndpoint::Reference)?,
                    artifact_types: parse_query(query).into_iter().filter_map(named).collect(),
                })
            }
            "tags" if last == "list" => {
                Ok(Self::Tags { repository: name(repository)?, page: Page::of_query(query) })
            }
            _ => Err(NotAnEndpoint::UnknownPath),
        }
    }

    /// The path and query. [`parse`](Self::parse) reads them back, but for a page with a place of its own.
    pub fn path(&self) -> String {
        match self {
            Self::Version => "/v2/".into(),
            Self::Blob { repository, digest } => format!("/v2/{repository}/blobs/{digest}"),
            Self::Manifest { repository, reference } => format!("/v2/{repository}/manifests/{reference}"),
            Self::Tags { repository, page } => {
                let (place, mark) =
                    (page.place().unwrap_or("list"), if page.query().is_empty() { "" } else { "?" });
                format!("/v2/{repository}/tags/{place}{mark}{}", page.query())
            }
            Self::Referrers { repository, digest, artifact_types } => {
                let filter = artifact_types.iter().map(|text| (ARTIFACT_TYPE, text.clone()));
                with_query(format!("/v2/{repository}/referrers/{digest}"), filter)
            }
        }
    }

    /// The repository that is asked, if any.
    pub const fn repository(&self) -> Option<&Repository> {
        match self {
            Self::Version => None,
            Self::Blob { repository, .. }
            | Self::Manifest { repository, .. }
            | Self::Tags { repository, .. }
            | Self::Referrers { repository, .. } => Some(repository),
        }
    }
}

/// Decodes the percent escapes of each part of a path. A part that has a '/' then, or is no text, stays as it is, and no
/// grammar here takes its '%'.
fn decoded(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return path.into();
    }
    let parts: Vec<Cow<'_, str>> =
        path.split('/').map(|part| decoded_part(part).map_or(part.into(), Cow::Owned)).collect();
    parts.join("/").into()
}

fn decoded_part(part: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| byte == b'%');
        let Some(escaped) = escaped else {
            bytes.push(byte);
            rest = after;
            continue;
        };
        let digit = |at: usize| char::from(escaped[at]).to_digit(16);
        bytes.push(u8::try_from(digit(0)? << 4 | digit(1)?).ok()?);
        rest = &after[2..];
    }
    String::from_utf8(bytes).ok().filter(|text| !text.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Algorithm;
    use proptest::prelude::*;

    fn parse(target: &str) -> Result<Endpoint, NotAnEndpoint> {
        let (path, query) =
            target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        Endpoint::parse(path, query)
    }

    #[test]
    fn a_repository_may_have_parts_named_like_endpoints() {
        let Ok(Endpoint::Manifest { repository, .. }) = parse("/v2/a/manifests/b/blobs/manifests/latest")
        else {
            panic!("not a manifest")
        };
        assert_eq!(repository.as_str(), "a/manifests/b/blobs");
    }

    #[test]
    fn what_is_against_the_grammar_is_told_apart() {
        assert_eq!(parse("/v1/"), Err(NotAnEndpoint::UnknownPath));
        assert_eq!(parse("/v2/_catalog"), Err(NotAnEndpoint::UnknownPath));
        assert_eq!(parse("/v2/a/tags/other"), Err(NotAnEndpoint::UnknownPath));
        assert!(matches!(parse("/v2/A/manifests/x"), Err(NotAnEndpoint::Name(_))));
        assert!(matches!(parse("/v2/../manifests/x"), Err(NotAnEndpoint::Name(_))));
        assert!(matches!(parse("/v2/a%2fb/manifests/x"), Err(NotAnEndpoint::Name(_))));
        assert!(matches!(parse("/v2/a/blobs/sha256:bad"), Err(NotAnEndpoint::Reference(_))));
        assert!(matches!(parse("/v2/a/manifests/a%2fb"), Err(NotAnEndpoint::Reference(_))));
    }

    #[test]
    fn escapes_that_need_not_be_are_undone() {
        let digest = Digest::of(Algorithm::Sha256, b"");
        let escaped = digest.to_string().replace(':', "%3A");
        for (path, plain) in [
            (format!("/v2/a/b/blobs/{escaped}"), format!("/v2/a/b/blobs/{digest}")),
            (
                format!("/v2/a/manifests/{}", escaped.replace("%3A", "%3a")),
                format!("/v2/a/manifests/{digest}"),
            ),
            (format!("/v2/a/referrers/{escaped}"), format!("/v2/a/referrers/{digest}")),
            ("/v2/my%2Dorg/a%5Fb/manifests/v1%2e0".into(), "/v2/my-org/a_b/manifests/v1.0".into()),
        ] {
            assert_eq!(parse(&path).map(|endpoint| endpoint.path()), Ok(plain));
        }
        for path in ["/v2/a/manifests/%", "/v2/a/manifests/%3", "/v2/a/manifests/%zz", "/v2/a/manifests/a%00"]
        {
            assert!(matches!(parse(path), Err(NotAnEndpoint::Reference(_))), "{path}");
        }
        for path in ["/v2/%2e%2e/manifests/x", "/v2/a%252fb/manifests/x", "/v2/%ff/manifests/x"] {
            assert!(matches!(parse(path), Err(NotAnEndpoint::Name(_))), "{path}");
        }
    }

    #[test]
    fn a_filter_has_every_type_that_is_named() {
        let path = format!("/v2/a/referrers/{}", Digest::of(Algorithm::Sha256, b""));
        for (query, types) in [
            ("", &[][..]),
            ("?artifactType=", &[]),
            ("?artifactType=a/b&ns=docker.io", &["a/b"]),
            ("?artifactType=a%2Fb%2Bjson&artifactType=&artifactType=c/d", &["a/b+json", "c/d"]),
        ] {
            let Ok(Endpoint::Referrers { artifact_types, .. }) = parse(&format!("{path}{query}")) else {
                panic!("no list of referrers: {query}")
            };
            assert_eq!(artifact_types, types, "{query}");
        }
    }

    fn endpoints() -> impl Strategy<Value = Endpoint> {
        let repository = "[a-z0-9]{1,5}([._-][a-z0-9]{1,3})?(/(blobs|tags|[a-z]{1,4})){0,3}"
            .prop_map(|text| text.parse::<Repository>().expect("a repository"));
        let digest = any::<Vec<u8>>().prop_map(|bytes| Digest::of(Algorithm::Sha512, &bytes));
        let tag = "[A-Za-z0-9_][A-Za-z0-9_.-]{0,10}";
        (repository, digest, tag, any::<Option<u16>>(), any::<Vec<String>>(), 0..5).prop_map(
            |(repository, digest, tag, n, texts, kind)| match kind {
                0 => Endpoint::Version,
                1 => Endpoint::Blob { repository, digest },
                2 => Endpoint::Manifest { repository, reference: tag.parse().expect("a tag") },
                3 => Endpoint::Tags {
                    repository,
                    page: Page::new(n.map(Into::into), texts.first().map(String::as_str)),
                },
                _ => Endpoint::Referrers {
                    repository,
                    digest,
                    artifact_types: texts.into_iter().filter(|text| !text.is_empty()).collect(),
                },
            },
        )
    }

    proptest! {
        #[test]
        fn an_endpoint_reads_back_from_its_own_path(endpoint in endpoints()) {
            prop_assert_eq!(parse(&endpoint.path()), Ok(endpoint));
        }

        #[test]
        fn no_path_makes_the_parser_panic(path: String, query: String) {
            let _ = Endpoint::parse(&path, Some(&query));
            let _ = Endpoint::parse(&format!("/v2/{path}"), None);
        }
    }
}
