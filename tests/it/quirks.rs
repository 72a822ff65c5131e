//! Registries as they are. A [`Situation`] is a quirk of a real registry; the kinds of quirks are the modules.
//!
//! Each situation is played to hubcap by [`every_situation_is_served_as_the_registry_has_it`], and to skopeo and dockerd,
//! directly and through hubcap, by [`crate::referee`]. docs/registries.md names all of them; a test compares.

mod answers;
mod challenges;
mod client;
mod connections;
mod documents;
mod head;
mod origins;
mod paging;
mod platforms;
mod products;
mod ranges;
mod redirects;
mod referrers;
mod refusals;
mod removed;
mod tokens;
mod wire;

use std::fmt::Write as _;
use std::future::ready;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use futures_util::{StreamExt as _, stream};

use crate::support::docs::assert_table;
use crate::support::hubcap::{Hubcap, Place};
use crate::support::origin::Origin;

/// The registry's name in the tests.
pub(crate) const REGISTRY: &str = "quirk.example";
/// The repository of each situation, and its tag.
pub(crate) const REPOSITORY: &str = "org/app";
pub(crate) const TAG: &str = "1";

/// Situations that are played at a time: most of their time is waiting.
pub(crate) const AT_A_TIME: usize = 6;

/// What a real registry does, and what a client does there that works.
pub(crate) struct Situation {
    /// Which registries or products were seen to do it.
    pub(crate) product: &'static str,
    /// What they do, in a few words.
    pub(crate) quirk: &'static str,
    pub(crate) wanted: Wanted,
    /// `user:password`, where the registry wants one.
    pub(crate) login: Option<&'static str>,
    /// Whether clients that ask the registry itself never come to an end.
    pub(crate) is_endless: bool,
    /// Puts an image under [`REPOSITORY`] and [`TAG`] (see [`crate::support::image::real`]), and makes the origin odd.
    pub(crate) play: fn(&Origin),
}

/// What a client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The image.
    Pull,
    /// The list of tags, all pages of it.
    Tags,
    /// The list of the manifests that refer to the image.
    Referrers,
}

impl Situation {
    pub(crate) const fn pull(product: &'static str, quirk: &'static str, play: fn(&Origin)) -> Self {
        Self { product, quirk, wanted: Wanted::Pull, login: None, is_endless: false, play }
    }

    pub(crate) const fn tags(product: &'static str, quirk: &'static str, play: fn(&Origin)) -> Self {
        Self { wanted: Wanted::Tags, ..Self::pull(product, quirk, play) }
    }

    pub(crate) const fn referrers(product: &'static str, quirk: &'static str, play: fn(&Origin)) -> Self {
        Self { wanted: Wanted::Referrers, ..Self::pull(product, quirk, play) }
    }

    pub(crate) const fn with_login(self, login: &'static str) -> Self {
        Self { login: Some(login), ..self }
    }

    pub(crate) const fn endless(self) -> Self {
        Self { is_endless: true, ..self }
    }

    /// An origin in this situation. Its images are those of no other one, so that a daemon can play several at a time.
    pub(crate) async fn origin(&self) -> Origin {
        let mut hasher = DefaultHasher::new();
        (self.product, self.quirk).hash(&mut hasher);
        let origin = Origin::start_with(hasher.finish()).await;
        (self.play)(&origin);
        origin
    }

    /// A hubcap that knows the origin, and the login.
    pub(crate) fn hubcap(&self, place: &Place, origin: &Origin) -> Hubcap {
        let mut command =
            place.serve("http://127.0.0.1:9", &["--upstream", &format!("{REGISTRY}={}", origin.url())]);
        if let Some(login) = self.login {
            command.env("HUBCAP_LOGIN", format!("{REGISTRY}={login}"));
        }
        Hubcap::spawn(command)
    }
}

/// The kinds, each with its file, in the order of docs/registries.md.
pub(crate) fn kinds() -> Vec<(&'static str, &'static [Situation])> {
    vec![
        ("products", products::SITUATIONS),
        ("redirects", redirects::SITUATIONS),
        ("challenges", challenges::SITUATIONS),
        ("tokens", tokens::SITUATIONS),
        ("connections", connections::SITUATIONS),
        ("answers", answers::SITUATIONS),
        ("head", head::SITUATIONS),
        ("paging", paging::SITUATIONS),
        ("referrers", referrers::SITUATIONS),
        ("documents", documents::SITUATIONS),
        ("platforms", platforms::SITUATIONS),
        ("ranges", ranges::SITUATIONS),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_situation_is_served_as_the_registry_has_it() {
    let all =
        kinds().into_iter().flat_map(|(kind, situations)| situations.iter().map(move |one| (kind, one)));
    let played = stream::iter(all).map(async |(kind, situation)| {
        let (origin, place) = (situation.origin().await, Place::new());
        let hubcap = situation.hubcap(&place, &origin);
        let played = match situation.wanted {
            Wanted::Pull => client::pull(&hubcap, &origin).await,
            Wanted::Tags => client::tags(&hubcap, &origin).await,
            Wanted::Referrers => client::referrers(&hubcap, &origin).await,
        };
        played.map_err(|why| format!("{kind}: {}: {why}", situation.quirk)).err()
    });
    let wrong: Vec<String> = played.buffered(AT_A_TIME).filter_map(ready).collect().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_of_registries_in_the_docs_names_every_situation() {
    let mut table = String::from("| registry or product | what it does | tests |\n|---|---|---|\n");
    for (kind, situations) in kinds() {
        for Situation { product, quirk, .. } in situations {
            writeln!(table, "| {product} | {quirk} | `tests/it/quirks/{kind}.rs` |").expect("written");
        }
    }
    assert_table("registries.md", "situations", &table);
}
