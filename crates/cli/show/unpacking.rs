//! Where dockerd unpacks the layers, and with what.

use hubcap_clients::{Dockerd, Unpacking};

/// In a sentence, and what would make it faster in another; `None` where dockerd does not run.
pub(crate) fn told(docker: &Dockerd) -> Option<String> {
    let (version, unpacking) = (docker.version().ok()?, docker.unpacking()?);
    let advice = if unpacking.wants_pigz {
        format!(". {}: {}", Unpacking::PIGZ_SAVES, Unpacking::INSTALL_PIGZ)
    } else {
        String::new()
    };
    Some(format!("dockerd {version} {unpacking}{advice}"))
}
