//! An upstream as a user gives it: `NAME`, `NAME=URL,URL`, a pattern of names, or a table of the file.

use std::ffi::OsStr;
use std::str::FromStr;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use hubcap_cache::Ttl;
use hubcap_oci::{ParseError, Pattern, Registry, RegistryPattern};
use hubcap_upstream::Credentials;
use url::Url;

/// An upstream as a user gives it. Its errors show neither a login nor a password.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Upstream {
    /// A registry.
    One(Box<One>),
    /// All registries that a pattern matches, each at its own name.
    All(RegistryPattern),
}

/// One registry, as far as one place says it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct One {
    pub(super) registry: Registry,
    /// Where its contents are, in order; where hubcap knows the registry to be, if none is given.
    pub(super) origins: Vec<Place>,
    pub(super) login: Option<Credentials>,
    pub(super) tag_ttl: Option<Ttl>,
    pub(super) stale_tags: Option<bool>,
}

/// One origin of a registry.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Place {
    /// Without one it is where hubcap knows the registry to be.
    pub(super) url: Option<Url>,
    pub(super) login: Option<Credentials>,
}

impl Upstream {
    /// The rule for the tags of this registry, where it has one.
    pub(super) fn tag_rule(&self) -> Option<(Pattern, Ttl)> {
        let Self::One(one) = self else { return None };
        // A registry's name is the beginning of a pattern.
        Some((format!("{}/*", one.registry).parse().ok()?, one.tag_ttl?))
    }

    pub(super) fn new(name: &str) -> Result<Self, String> {
        if name.contains('*') {
            return name.parse().map(Self::All).map_err(|error| not_a_name(name, &error));
        }
        let registry = name.parse().map_err(|error| not_a_name(name, &error))?;
        Ok(One { registry, origins: Vec::new(), login: None, tag_ttl: None, stale_tags: None }.into())
    }

    /// What one place says, where what it says of one registry in several pieces counts together.
    fn joined(list: Vec<Self>) -> Vec<Self> {
        let mut joined: Vec<Self> = Vec::with_capacity(list.len());
        for upstream in list {
            match upstream.same_in(&mut joined) {
                Some(known) => {
                    let Self::One(one) = upstream else { continue };
                    known.origins.extend(one.origins);
                }
                None => joined.push(upstream),
            }
        }
        joined
    }

    /// What `over` says, and what it leaves open of what `under` says. The origins of a registry are one list, which is replaced
    /// as a whole.
    pub(super) fn layered(under: Vec<Self>, over: Vec<Self>) -> Vec<Self> {
        let mut all = Self::joined(under);
        for upstream in Self::joined(over) {
            match upstream.same_in(&mut all) {
                Some(known) => {
                    let Self::One(one) = upstream else { continue };
                    if !one.origins.is_empty() {
                        known.origins = one.origins;
                    }
                    known.login = one.login.or_else(|| known.login.take());
                    known.tag_ttl = one.tag_ttl.or(known.tag_ttl);
                    known.stale_tags = one.stale_tags.or(known.stale_tags);
                }
                None => all.push(upstream),
            }
        }
        all
    }

    /// The same registry in a list.
    fn same_in<'a>(&self, list: &'a mut [Self]) -> Option<&'a mut One> {
        let Self::One(wanted) = self else { return None };
        list.iter_mut().find_map(|upstream| match upstream {
            Self::One(one) if one.registry == wanted.registry => Some(&mut **one),
            _ => None,
        })
    }
}

impl From<One> for Upstream {
    fn from(one: One) -> Self {
        Self::One(Box::new(one))
    }
}

impl Place {
    pub(super) fn at(name: &str, url: &str) -> Result<Self, String> {
        let url = Url::parse(url).map_err(|why| not_a_url(name, url, why))?;
        Ok(Self { url: Some(url), login: None })
    }
}

/// `NAME`, `NAME=URL,URL` or a pattern of names.
impl FromStr for Upstream {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, urls) = text.split_once('=').map_or((text, None), |(name, urls)| (name, Some(urls)));
        let mut upstream = Self::new(name)?;
        match (&mut upstream, urls) {
            (Self::One(one), None) => one.origins.push(Place { url: None, login: None }),
            (Self::One(one), Some(urls)) => {
                for url in words(urls) {
                    one.origins.push(Place::at(name, &url)?);
                }
            }
            (Self::All(_), None) => {}
            (Self::All(_), Some(_)) => return Err(only_for_one(name)),
        }
        Ok(upstream)
    }
}

/// The words between commas. A URL behind a comma goes on with the word before it: `docker.io=https://a,https://b` is one
/// word of a list of upstreams, and two of a list of URLs.
pub(super) fn words_of_upstreams(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in text.split(',').map(str::trim) {
        match words.last_mut() {
            Some(last) if is_url(word) => {
                last.push(',');
                last.push_str(word);
            }
            _ => words.push(word.to_owned()),
        }
    }
    words
}

/// A comma that no URL follows is a part of one.
fn words(urls: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in urls.split(',') {
        match words.last_mut() {
            Some(last) if !is_url(word.trim()) => {
                last.push(',');
                last.push_str(word);
            }
            _ => words.push(word.trim().to_owned()),
        }
    }
    words
}

fn is_url(word: &str) -> bool {
    word.starts_with("http://") || word.starts_with("https://")
}

/// Reads an [`Upstream`] of the command line. clap's own parser would quote the text in its error.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parser;

impl TypedValueParser for Parser {
    type Value = Upstream;

    fn parse_ref(
        &self,
        _: &clap::Command,
        _: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Upstream, clap::Error> {
        let text = value.to_str().ok_or("upstream: it is not UTF-8".to_owned());
        let invalid = |why| clap::Error::raw(ErrorKind::ValueValidation, format!("{why}\n"));
        text.and_then(str::parse).map_err(invalid)
    }
}

pub(super) fn only_for_one(name: &str) -> String {
    format!("upstream {name}: a URL, a login, a tag-ttl or stale-tags is for one registry; name it")
}

fn not_a_name(name: &str, error: &ParseError) -> String {
    // Not the error's own text: it quotes what may have a login in it.
    let (shown, why) = (without_login(name), error.why);
    format!("upstream {shown:?}: it is written NAME, NAME=URL, or as a pattern of names; {why}")
}

fn not_a_url(name: &str, url: &str, why: url::ParseError) -> String {
    format!("upstream {name}: {:?} is no URL: {why}", without_login(url))
}

/// What may be shown of a text that cannot be read: what follows the login of a URL.
fn without_login(text: &str) -> &str {
    text.rsplit_once('@').map_or(text, |(_, rest)| rest)
}
