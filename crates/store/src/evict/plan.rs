//! What goes, and in which order: a decision over plain data.
//!
//! Nothing goes of which something is being written. Pinned images go only where they are private and a policy removes what
//! is private. A content is freed with the last image, or manifest of an index, that needs it.

use std::collections::{HashMap, HashSet};
use std::time::SystemTime;

use hubcap_oci::Digest;

use crate::layout::image_index::Entry;

/// Why something goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It was damaged, and is in quarantine.
    Damaged,
    /// No image that is here needs it.
    Unneeded,
    /// Nothing else was unused for longer.
    LeastRecentlyUsed,
    /// It is private, and was asked to go.
    Private,
    /// Nothing of it was used since the time that was given.
    NotUsed,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Damaged => "damaged, set aside",
            Self::Unneeded => "no image here needs it",
            Self::LeastRecentlyUsed => "least recently used",
            Self::Private => "private",
            Self::NotUsed => "not used in this run",
        })
    }
}

/// Something that goes as a whole: an image, or a manifest of an index, with what only it needs; or a single content.
#[derive(Debug, Clone)]
pub struct Removal {
    /// The image's whole name, or the content's digest.
    pub name: String,
    /// Bytes that this frees.
    pub bytes: u64,
    /// When it was last used.
    pub used: SystemTime,
    /// Why it goes.
    pub reason: Reason,
    /// The entry of `index.json` that goes with it.
    pub(crate) entry: Option<Entry>,
    /// The contents that are freed.
    pub(crate) contents: Vec<Digest>,
}

impl Removal {
    /// Bytes that this frees, where an entry counts so many.
    pub(crate) fn weight(&self, entry: u64) -> u64 {
        self.bytes + if self.entry.is_some() { entry } else { 0 }
    }
}

/// What a store holds, as far as it matters here.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pub(crate) images: Vec<Image>,
    /// Contents that no image needs.
    pub(crate) unneeded: Vec<Unneeded>,
    /// What is in quarantine: it goes in any case.
    pub(crate) damaged: Vec<Removal>,
    /// Contents that nobody is known to give to everybody, whoever needs them.
    pub(crate) private: Vec<Unneeded>,
    /// The length of every content that is here, in bytes.
    pub(crate) sizes: HashMap<Digest, u64>,
}

/// An image, a manifest that was pulled by digest, or a list of referrers.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) entry: Entry,
    /// What of it is here, each once, without the contents of an index's manifests.
    pub(crate) own: Vec<Digest>,
    /// The manifests of an index that are here.
    pub(crate) children: Vec<Child>,
    /// The last use of any of its manifests.
    pub(crate) used: SystemTime,
    pub(crate) is_pinned: bool,
    /// Whether its registry gives it only to a login, or nothing is known of who may have its manifest.
    pub(crate) is_private: bool,
    /// Whether it is of use only to what is not here: the list of the referrers of a manifest that no image has.
    pub(crate) is_unneeded: bool,
    /// Whether something of it is being written.
    pub(crate) in_flight: bool,
}

/// A manifest of an index, with what it needs.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) platform: String,
    /// What of it is here, each once.
    pub(crate) contents: Vec<Digest>,
    pub(crate) used: SystemTime,
}

/// A content by itself, as one that no image needs.
#[derive(Debug)]
pub(crate) struct Unneeded {
    pub(crate) digest: Digest,
    pub(crate) used: SystemTime,
    pub(crate) in_flight: bool,
}

/// What is to go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    pub(crate) unneeded: UnneededPolicy,
    /// All private images go.
    pub(crate) remove_private: bool,
    /// Images go of which nothing was used since then. An index of which something was used loses those of its manifests that
    /// were not; when none of them was (a client that has it all asks for no more than the tag), it keeps what is here.
    pub(crate) used_since: Option<SystemTime>,
    /// After all that, the least recently used goes until this many bytes are freed altogether.
    pub(crate) bytes: u64,
    /// How many bytes an image's entry counts among them, beside its contents.
    pub(crate) entry: u64,
}

/// What happens to contents that no image needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnneededPolicy {
    Keep,
    /// They go like images: when nothing else was unused for longer.
    InTurn,
    /// They all go, before any image has to.
    First,
}

/// Returns what goes by `policy`, in order.
pub(crate) fn plan(survey: Survey, policy: Policy) -> Vec<Removal> {
    let Survey { mut images, mut unneeded, damaged, private, sizes } = survey;
    let mut counts = RefCounts::of(&images, sizes);
    let mut removals = damaged;
    images.sort_by_key(|image| image.used);
    unneeded.retain(|content| !content.in_flight);
    unneeded.sort_by_key(|content| (content.used, content.digest));
    if policy.unneeded == UnneededPolicy::First {
        removals.extend(unneeded.drain(..).map(|content| counts.release_unneeded(&content)));
    }

    let mut kept = Vec::new();
    for image in images {
        match verdict(&image, policy) {
            Some(reason) => removals.push(counts.release(image, reason)),
            None => kept.push(image),
        }
    }
    if policy.remove_private {
        // Also what no image needs, and what a public image only names: who may have that is not known.
        let gone: HashSet<Digest> = removals.iter().flat_map(|removal| &removal.contents).copied().collect();
        let left = private.iter().filter(|content| !content.in_flight && !gone.contains(&content.digest));
        removals.extend(left.map(|content| counts.release_private(content)));
    }
    kept.retain(|image| !image.is_pinned && !image.in_flight);
    if let Some(since) = policy.used_since {
        for image in &mut kept {
            if image.children.iter().any(|child| child.used >= since) {
                for child in image.children.extract_if(.., |child| child.used < since) {
                    removals.push(counts.release_child(&image.entry, child));
                }
            }
        }
    }

    let mut rest: Vec<Candidate> = kept.into_iter().map(Box::new).map(Candidate::Image).collect();
    if policy.unneeded == UnneededPolicy::InTurn {
        rest.extend(unneeded.into_iter().map(Candidate::Unneeded));
    }
    rest.sort_by_key(Candidate::used);
    let mut freed: u64 = removals.iter().map(|removal| removal.weight(policy.entry)).sum();
    for candidate in rest {
        if freed >= policy.bytes {
            break;
        }
        let removal = match candidate {
            Candidate::Image(image) => counts.release(*image, Reason::LeastRecentlyUsed),
            Candidate::Unneeded(content) => counts.release_unneeded(&content),
        };
        freed += removal.weight(policy.entry);
        removals.push(removal);
    }
    removals
}

/// Why an image goes whatever is freed with it; `None` when it need not.
fn verdict(image: &Image, policy: Policy) -> Option<Reason> {
    if image.in_flight {
        return None;
    }
    if policy.remove_private && image.is_private {
        return Some(Reason::Private);
    }
    if image.is_unneeded && policy.unneeded == UnneededPolicy::First {
        return Some(Reason::Unneeded);
    }
    let unused = policy.used_since.is_some_and(|since| image.used < since);
    (unused && !image.is_pinned).then_some(Reason::NotUsed)
}

/// What goes when nothing else was unused for longer.
enum Candidate {
    Image(Box<Image>),
    Unneeded(Unneeded),
}

impl Candidate {
    fn used(&self) -> SystemTime {
        match self {
            Self::Image(image) => image.used,
            Self::Unneeded(content) => content.used,
        }
    }
}

/// How many images and manifests need each content, and its length in bytes.
struct RefCounts {
    counts: HashMap<Digest, u32>,
    sizes: HashMap<Digest, u64>,
}

impl RefCounts {
    fn of(images: &[Image], sizes: HashMap<Digest, u64>) -> Self {
        let mut counts = HashMap::new();
        for image in images {
            let children = image.children.iter().flat_map(|child| &child.contents);
            for digest in image.own.iter().chain(children) {
                *counts.entry(*digest).or_default() += 1;
            }
        }
        Self { counts, sizes }
    }

    fn release(&mut self, image: Image, reason: Reason) -> Removal {
        let Image { entry, own, children, used, .. } = image;
        let contents = own.into_iter().chain(children.into_iter().flat_map(|child| child.contents));
        let contents = self.last_uses(contents);
        Removal {
            name: entry.name(),
            bytes: self.bytes(&contents),
            used,
            reason,
            entry: Some(entry),
            contents,
        }
    }

    fn release_child(&mut self, entry: &Entry, child: Child) -> Removal {
        let Child { platform, contents, used } = child;
        let contents = self.last_uses(contents.into_iter());
        let (name, bytes) = (format!("{} ({platform})", entry.name()), self.bytes(&contents));
        Removal { name, bytes, used, reason: Reason::NotUsed, entry: None, contents }
    }

    fn release_unneeded(&self, content: &Unneeded) -> Removal {
        let Unneeded { digest, used, .. } = *content;
        let contents = vec![digest];
        let (name, bytes) = (digest.to_string(), self.bytes(&contents));
        Removal { name, bytes, used, reason: Reason::Unneeded, entry: None, contents }
    }

    /// Of a content that may still be needed: then it is fetched again.
    fn release_private(&mut self, content: &Unneeded) -> Removal {
        let removal = Removal { reason: Reason::Private, ..self.release_unneeded(content) };
        self.sizes.remove(&content.digest);
        removal
    }

    /// Counts one need less of each, and returns those that nothing needs any more.
    fn last_uses(&mut self, contents: impl Iterator<Item = Digest>) -> Vec<Digest> {
        let last = |digest: &Digest| {
            let count = self.counts.entry(*digest).or_default();
            *count = count.saturating_sub(1);
            *count == 0
        };
        contents.filter(last).collect()
    }

    fn bytes(&self, contents: &[Digest]) -> u64 {
        contents.iter().filter_map(|digest| self.sizes.get(digest)).sum()
    }
}

#[cfg(test)]
mod tests;
