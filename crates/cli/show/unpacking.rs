//! Where dockerd unpacks the layers, and with what.

use std::fmt;

use hubcap_clients::{Dockerd, Journal, Unpacking};
use serde::{Deserialize, Serialize};

/// How dockerd unpacks, in words.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Told {
    /// In a sentence, without its full stop.
    how: String,
    /// Whether pigz would make it faster.
    wants_pigz: bool,
    /// Whether it could have containerd's image store in place of its own.
    may_switch: bool,
    /// Whether hubcap has made it so: by its differ, or with the image store that it has chosen.
    is_by_hubcap: bool,
}

/// `None` where dockerd does not run. `by_differ` is whether containerd does it with hubcap's differ; dockerd's `journal` says whether
/// hubcap has chosen the image store.
pub(crate) fn told(docker: &Dockerd, by_differ: bool, journal: &Journal) -> Option<Told> {
    let (version, unpacking) = (docker.version().ok()?, docker.unpacking()?);
    let (wants_pigz, may_switch) = (unpacking.wants_pigz, unpacking.may_switch);
    let differ = if by_differ { ", with hubcap's differ" } else { "" };
    let how = format!("dockerd {version} {unpacking}{differ}");
    Some(Told { how, wants_pigz, may_switch, is_by_hubcap: by_differ || docker.was_switched(journal) })
}

impl Told {
    /// Whether the layers would be unpacked in another way without hubcap.
    pub(crate) fn is_by_hubcap(&self) -> bool {
        self.is_by_hubcap
    }

    /// What makes it faster by more than a program does, in a sentence.
    pub(crate) fn store_advice(&self) -> Option<&'static str> {
        self.may_switch.then_some(
            "containerd's image store unpacks in about half the time: image-store: containerd in the action, --image-store containerd \
             for hubcap up.",
        )
    }
}

impl fmt::Display for Told {
    /// With the advice to install pigz, where that is worth it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.", self.how)?;
        if self.wants_pigz {
            write!(f, " {}: {}.", Unpacking::PIGZ_SAVES, Unpacking::INSTALL_PIGZ)?;
        }
        Ok(())
    }
}
