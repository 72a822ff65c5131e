//! An upstream as a user gives it: `NAME`, `NAME=URL`, a pattern of names, or a table of the file.

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
    /// A registry; without a URL it is where hubcap knows it to be.
    One { registry: Registry, url: Option<Url>, login: Option<Credentials>, tag_ttl: Option<Ttl> },
    /// All registries that a pattern matches, each at its own name.
    All(RegistryPattern),
}

impl Upstream {
    pub(super) const fn at(registry: Registry, url: Url) -> Self {
        Self::One { registry, url: Some(url), login: None, tag_ttl: None }
    }

    /// The rule for the tags of this registry, where it has one.
    pub(super) fn tag_rule(&self) -> Option<(Pattern, Ttl)> {
        let Self::One { registry, tag_ttl: Some(ttl), .. } = self else { return None };
        // A registry's name is the beginning of a pattern.
        Some((format!("{registry}/*").parse().ok()?, *ttl))
    }

    pub(super) fn new(name: &str, url: Option<&str>) -> Result<Self, String> {
        if !name.contains('*') {
            let registry = name.parse().map_err(|error| not_a_name(name, &error))?;
            let url = url.map(|url| Url::parse(url).map_err(|why| not_a_url(name, url, why))).transpose()?;
            return Ok(Self::One { registry, url, login: None, tag_ttl: None });
        }
        if url.is_some() {
            return Err(only_for_one(name));
        }
        name.parse().map(Self::All).map_err(|error| not_a_name(name, &error))
    }
}

/// `NAME`, `NAME=URL` or a pattern of names.
impl FromStr for Upstream {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, url)) => Self::new(name, Some(url)),
            None => Self::new(text, None),
        }
    }
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
    format!("upstream {name}: a URL, a login or a tag-ttl is for one registry; name it")
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
