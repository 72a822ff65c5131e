//! Another hubcap, with a state directory of its own, for which a client's files are configured already.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::change::{Change, Planned};
use crate::format::HEADER;
use crate::journal::Journal;
use crate::mirror::Mirror;

/// Another hubcap, by the file that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Another {
    /// The file.
    pub path: PathBuf,
    /// Where that hubcap answers, or answered.
    pub address: SocketAddr,
}

impl Another {
    /// The first one that a plan would replace: a part of hubcap's in a file that this journal knows nothing of.
    pub fn replaced_by(plan: &[Planned], journal: &Journal, mirror: &Mirror) -> Option<Self> {
        let changes = plan.iter().map(|planned| &planned.change);
        let mut unknown = changes.filter(|change| journal.record(&change.path).is_none());
        unknown.find_map(|change| Self::in_file(change, mirror))
    }

    /// The one that a change of a file would replace.
    pub(crate) fn in_file(change: &Change, mirror: &Mirror) -> Option<Self> {
        let address = marked_address(change.current.as_deref()?)?;
        (address != mirror.address).then(|| Self { path: change.path.clone(), address })
    }
}

/// The first address in what hubcap has marked as its own.
fn marked_address(text: &str) -> Option<SocketAddr> {
    let (_, ours) = text.split_once(HEADER)?;
    let words = ours.split(|c: char| !(c.is_ascii_hexdigit() || ".:[]".contains(c)));
    words.filter_map(|word| word.parse().ok()).next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::Authority;
    use crate::file_kind::FileKind;

    #[test]
    fn the_address_is_found_in_every_kind_of_file() {
        for text in [
            "[host.\"https://127.0.0.1:5443\"]\n  capabilities = [\"pull\"]\n",
            "[[registry]]\nprefix = \"docker.io\"\n[[registry.mirror]]\nlocation = \"127.0.0.1:5443/docker.io\"\n",
        ] {
            let found = marked_address(&format!("# theirs, 10.0.0.1:80\n{HEADER}{text}"));
            assert_eq!(found, "127.0.0.1:5443".parse().ok(), "{text}");
        }
        assert_eq!(marked_address("[host.\"https://127.0.0.1:5443\"]\n"), None, "a user's own");
    }

    #[test]
    fn a_file_of_this_state_is_no_others() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("hosts.toml");
        let mirror =
            |port| Mirror::new(SocketAddr::from(([127, 0, 0, 1], port)), Authority::read("/ca.pem".into()));
        let plan = |journal: &Journal, port: u16| {
            let text = format!("{HEADER}[host.\"https://127.0.0.1:{port}\"]\n");
            vec![journal.plan(path.clone(), FileKind::HostsToml, |_| Ok(Some(text))).expect("planned")]
        };
        let mut first = Journal::open(&dir.path().join("a"), "docker").expect("a journal");
        let planned = plan(&first, 1);
        first.apply(&planned).expect("written");
        assert_eq!(Another::replaced_by(&plan(&first, 2), &first, &mirror(2)), None);
        let second = Journal::open(&dir.path().join("b"), "docker").expect("a journal");
        let another = Another::replaced_by(&plan(&second, 2), &second, &mirror(2)).expect("the first");
        assert_eq!(
            (another.path, another.address.port()),
            (Change::of(path.clone(), None).expect("read").path, 1)
        );
        assert_eq!(Another::replaced_by(&plan(&second, 1), &second, &mirror(1)), None, "the same address");
    }
}
