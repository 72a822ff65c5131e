//! Platform choice: which of an index's manifests a pull or an export takes, as Docker and containerd choose.
//!
//! The choice may need manifests that only the caller can get: one that an index has without a platform says its own in its
//! configuration, and an index may name another one. So a [`Search`] names one candidate after the other, and the caller
//! tells what it found.

use std::collections::VecDeque;

use crate::{Digest, Link, Platform};

/// Manifests that are looked at, at most: indexes may be nested without an end.
const MAX_LOOKS: usize = 64;

/// An index has no manifest for a platform that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is nothing for {wanted}; {}", offer(.offered))]
pub struct NotOffered {
    /// The platform that was asked for.
    pub wanted: Platform,
    /// The platforms that the index names, in its order.
    pub offered: Vec<Platform>,
}

/// A search for the manifest of a platform in an index, and in the indexes that it names.
#[derive(Debug)]
pub struct Search {
    wanted: Platform,
    /// The best first.
    candidates: VecDeque<Candidate>,
    offered: Vec<Platform>,
    looks: usize,
}

/// A manifest that may be the one.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// As its index describes it.
    pub link: Link,
    /// The index does not say what it is for.
    silent: bool,
}

/// What the caller has found in the place of a candidate.
#[derive(Debug, Clone, Copy)]
pub enum Found<'a> {
    /// An index of these manifests.
    Index(&'a [Link]),
    /// A manifest, whose configuration says this platform, or none.
    Manifest(Option<&'a Platform>),
}

impl Search {
    /// A search among an index's manifests.
    pub fn new(wanted: &Platform, manifests: &[Link]) -> Self {
        let mut search =
            Self { wanted: wanted.clone(), candidates: VecDeque::new(), offered: Vec::new(), looks: 0 };
        search.enter(manifests);
        search
    }

    /// The next candidate to look at.
    ///
    /// # Errors
    /// [`NotOffered`] when there is none any more.
    pub fn next_candidate(&mut self) -> Result<Candidate, NotOffered> {
        self.looks += 1;
        let next = if self.looks > MAX_LOOKS { None } else { self.candidates.pop_front() };
        next.ok_or_else(|| NotOffered { wanted: self.wanted.clone(), offered: self.offered.clone() })
    }

    /// Whether a candidate is the manifest that was searched for.
    pub fn is_it(&mut self, candidate: &Candidate, found: Found<'_>) -> bool {
        match found {
            Found::Index(manifests) => {
                self.enter(manifests);
                false
            }
            // An artifact has no platform, and is for all.
            Found::Manifest(None) => true,
            Found::Manifest(Some(_)) if !candidate.silent => true,
            Found::Manifest(Some(own)) => {
                let fits = self.wanted.rank(own).is_some();
                if !fits {
                    self.offered.push(own.clone());
                }
                fits
            }
        }
    }

    /// Puts an index's candidates before those that are left: first what says a platform that fits, the best before others,
    /// then what says none.
    fn enter(&mut self, manifests: &[Link]) {
        let mut fitting = Vec::new();
        let mut silent = Vec::new();
        // Attestations are for no platform, whatever the index says of them.
        for link in manifests.iter().filter(|link| link.refers_to.is_none()) {
            match &link.platform {
                // Those of old do not say what they attest.
                Some(platform) if platform.os == "unknown" => {}
                Some(platform) => {
                    self.offered.push(platform.clone());
                    fitting.extend(self.wanted.rank(platform).map(|rank| (rank, link)));
                }
                None => silent.push(link),
            }
        }
        fitting.sort_by_key(|(rank, _)| *rank);
        let fitting = fitting.into_iter().map(|(_, link)| (link, false));
        let all = fitting.chain(silent.into_iter().map(|link| (link, true)));
        let all: Vec<_> = all.map(|(link, silent)| Candidate { link: link.clone(), silent }).collect();
        all.into_iter().rev().for_each(|candidate| self.candidates.push_front(candidate));
    }
}

impl Candidate {
    /// The candidate's name.
    pub const fn digest(&self) -> Digest {
        self.link.digest
    }

    /// Whether its configuration has to be read: its index does not say what it is for.
    pub const fn is_silent(&self) -> bool {
        self.silent
    }
}

fn offer(platforms: &[Platform]) -> String {
    let mut names: Vec<String> = Vec::new();
    for name in platforms.iter().map(Platform::to_string) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() {
        "it names no platform".into()
    } else {
        format!("the image is for {}", names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::Algorithm;

    fn platform(text: &str) -> Platform {
        text.parse().expect("a platform")
    }

    /// A tree of indexes and manifests by name: an index's name begins with "index", a manifest's is its configuration's
    /// platform, or "artifact".
    #[derive(Default)]
    struct Tree(HashMap<Digest, (String, Vec<Link>)>);

    impl Tree {
        /// A link to what is called `name`, with a platform or "-".
        fn link(&mut self, name: &str, says: &str, manifests: Vec<Link>) -> Link {
            let digest = Digest::of(Algorithm::Sha256, format!("{name} {says}").as_bytes());
            self.0.insert(digest, (name.into(), manifests));
            let platform = (says != "-").then(|| platform(says));
            Link { digest, media_type: String::new(), size: None, platform, url: None, refers_to: None }
        }

        /// The name of what is chosen.
        fn choose(&self, wanted: &str, manifests: &[Link]) -> Result<&str, NotOffered> {
            let mut search = Search::new(&platform(wanted), manifests);
            loop {
                let candidate = search.next_candidate()?;
                let (name, manifests) = &self.0[&candidate.digest()];
                let own = name.parse::<Platform>().ok();
                let found = match name.starts_with("index") {
                    true => Found::Index(manifests),
                    false => Found::Manifest(own.as_ref()),
                };
                if search.is_it(&candidate, found) {
                    return Ok(name);
                }
            }
        }

        fn flat(&mut self, says: &[&str]) -> Vec<Link> {
            says.iter().map(|one| self.link(one, one, Vec::new())).collect()
        }
    }

    #[test]
    fn the_best_that_fits_is_chosen_and_not_the_first() {
        let mut tree = Tree::default();
        let links =
            tree.flat(&["unknown/unknown", "linux/amd64/v3", "linux/arm/v5", "linux/amd64", "linux/arm/v6"]);
        assert_eq!(tree.choose("linux/amd64", &links), Ok("linux/amd64"));
        assert_eq!(tree.choose("linux/amd64/v4", &links), Ok("linux/amd64/v3"));
        assert_eq!(tree.choose("linux/arm/v7", &links), Ok("linux/arm/v6"));
    }

    #[test]
    fn a_missing_platform_is_told_with_those_that_are_offered() {
        let mut tree = Tree::default();
        let mut links = tree.flat(&["unknown/unknown", "linux/amd64/v3", "linux/arm64"]);
        links.push(tree.link("windows/amd64", "-", Vec::new()));
        let error = tree.choose("linux/s390x", &links).expect_err("none").to_string();
        assert_eq!(
            error,
            "there is nothing for linux/s390x; the image is for linux/amd64/v3, linux/arm64, windows/amd64"
        );
        let error = tree.choose("linux/amd64", &[]).expect_err("none").to_string();
        assert_eq!(error, "there is nothing for linux/amd64; it names no platform");
    }

    #[test]
    fn what_says_no_platform_is_looked_at_when_nothing_that_says_one_fits() {
        let mut tree = Tree::default();
        let silent: Vec<Link> =
            ["linux/arm64", "linux/amd64"].iter().map(|own| tree.link(own, "-", Vec::new())).collect();
        assert_eq!(tree.choose("linux/amd64", &silent), Ok("linux/amd64"));
        let mut links = silent;
        links.push(tree.link("linux/386", "linux/386", Vec::new()));
        assert_eq!(tree.choose("linux/amd64", &links), Ok("linux/386"));
        let artifact = tree.link("artifact", "-", Vec::new());
        assert_eq!(tree.choose("linux/amd64", &[artifact]), Ok("artifact"));
    }

    #[test]
    fn an_attestation_is_never_the_image() {
        let mut tree = Tree::default();
        let image = tree.link("linux/amd64", "linux/amd64", Vec::new());
        let mut attestations: Vec<Link> =
            ["linux/amd64", "-"].iter().map(|says| tree.link("artifact", says, Vec::new())).collect();
        attestations.iter_mut().for_each(|one| one.refers_to = Some(image.digest));
        assert!(tree.choose("linux/amd64", &attestations).is_err());
        attestations.push(image);
        assert_eq!(tree.choose("linux/amd64", &attestations), Ok("linux/amd64"));
    }

    #[test]
    fn indexes_in_an_index_are_searched_and_never_without_an_end() {
        let mut tree = Tree::default();
        let inner = tree.flat(&["linux/arm64", "linux/amd64"]);
        let named = tree.link("index of another", "linux/s390x", Vec::new());
        let index = tree.link("index", "-", inner);
        let outer = tree.link("index around it", "-", vec![index]);
        assert_eq!(tree.choose("linux/amd64", &[named, outer]), Ok("linux/amd64"));
        let mut itself = tree.link("index of itself", "-", Vec::new());
        itself = tree.link("index of itself", "-", vec![itself.clone(), itself]);
        assert!(tree.choose("linux/amd64", &[itself]).is_err());
    }
}
