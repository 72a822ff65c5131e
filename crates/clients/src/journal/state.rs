//! What has become of the files that hubcap wrote: whether a client that reads them still asks hubcap.

use std::path::{Path, PathBuf};

use super::{FileRecord, Journal};
use crate::error::Error;
use crate::file;
use crate::file_kind::FileKind;
use crate::mirror::Mirror;

/// What has become of a file that hubcap wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileState {
    /// It is as hubcap wrote it, and names hubcap as it runs.
    AsWritten,
    /// Someone has changed it, and it still names hubcap.
    Changed,
    /// Someone has taken hubcap's part out of it, or removed it.
    Lost,
    /// It names another address than hubcap's.
    OtherAddress,
    /// It trusts another CA than hubcap's.
    OtherAuthority,
}

impl FileState {
    /// Whether its client asks hubcap by it.
    pub const fn works(self) -> bool {
        matches!(self, Self::AsWritten | Self::Changed)
    }
}

impl Journal {
    /// What has become of each file, for a hubcap at `mirror`.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Rights`] and [`Error::NotUnderstood`] when one cannot be read.
    pub fn states(&self, mirror: &Mirror) -> Result<Vec<(PathBuf, FileState)>, Error> {
        let authority = mirror.ca.pem()?;
        let records = self.contents.files.iter();
        let state = |record: &FileRecord| {
            let now = file::read(&record.path)?;
            Ok((record.path.clone(), state(record, self.kind(record), now.as_deref(), (mirror, authority))))
        };
        records.map(state).collect()
    }
}

/// What has become of one, of which the text is `now`.
pub(crate) fn state(
    record: &FileRecord,
    kind: FileKind,
    now: Option<&str>,
    (mirror, authority): (&Mirror, Option<&str>),
) -> FileState {
    let (Some(now), Some(after)) = (now, record.after.as_deref()) else { return FileState::Lost };
    let unchanged = if now == after { FileState::AsWritten } else { FileState::Changed };
    if is_certificate(kind, &record.path) {
        return match authority {
            Some(authority) if now != authority => FileState::OtherAuthority,
            _ => unchanged,
        };
    }
    let address = mirror.address.to_string();
    if !after.contains(&address) && !names_a_mirror(kind, after) {
        // dockerd's proxy has an address of its own.
        return if now == after { FileState::AsWritten } else { FileState::Lost };
    }
    let names_ca = |text: &str| text.contains(&*mirror.ca.path.to_string_lossy());
    match now.contains(&address) {
        true if kind == FileKind::HostsToml && !names_ca(now) => FileState::OtherAuthority,
        true => unchanged,
        false if now == after || !after.contains(&address) => FileState::OtherAddress,
        false => FileState::Lost,
    }
}

fn is_certificate(kind: FileKind, path: &Path) -> bool {
    kind == FileKind::Certificate || path.extension().is_some_and(|extension| extension == "crt")
}

/// Whether what hubcap wrote is about its mirror. systemd's drop-in is about the proxy alone.
fn names_a_mirror(kind: FileKind, after: &str) -> bool {
    kind != FileKind::Own || !after.contains("[Service]")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::Authority;

    const CA: &str = "a certificate\n";

    fn told(kind: FileKind, (path, after): (&str, &str), now: Option<&str>) -> FileState {
        let record = FileRecord {
            path: path.into(),
            kind: Some(kind),
            host: None,
            before: None,
            after: Some(after.into()),
            earlier: Vec::new(),
            made: Vec::new(),
        };
        let mirror = Mirror::new(([127, 0, 0, 1], 5443).into(), Authority::read("/s/ca.pem".into()));
        state(&record, kind, now, (&mirror, Some(CA)))
    }

    #[test]
    fn a_file_works_while_it_names_hubcap_and_its_ca() {
        let ours = "[host.\"https://127.0.0.1:5443\"]\nca = \"/s/ca.pem\"\n";
        fn hosts(ours: &str, now: Option<&str>) -> FileState {
            told(FileKind::HostsToml, ("/d/hosts.toml", ours), now)
        }
        assert_eq!(hosts(ours, Some(ours)), FileState::AsWritten);
        assert_eq!(hosts(ours, Some(&format!("# mine\n{ours}"))), FileState::Changed);
        assert_eq!(hosts(ours, None), FileState::Lost);
        assert_eq!(hosts(ours, Some("# mine\n")), FileState::Lost);
        assert_eq!(hosts(ours, Some(&ours.replace("/s/", "/t/"))), FileState::OtherAuthority);
    }

    #[test]
    fn a_file_that_was_written_for_another_address_names_that() {
        let old = "{\"registry-mirrors\": [\"https://127.0.0.1:1\"]}";
        assert_eq!(told(FileKind::DaemonJson, ("/d/daemon.json", old), Some(old)), FileState::OtherAddress);
        assert_eq!(told(FileKind::DaemonJson, ("/d/daemon.json", old), Some("{}")), FileState::OtherAddress);
    }

    #[test]
    fn a_certificate_is_compared_with_the_one_that_hubcap_has_now() {
        for (path, kind) in [("/d/ca.crt", FileKind::Certificate), ("/d/hubcap.crt", FileKind::Own)] {
            assert_eq!(told(kind, (path, CA), Some(CA)), FileState::AsWritten);
            assert_eq!(told(kind, (path, "an older one\n"), Some(CA)), FileState::Changed);
            assert_eq!(told(kind, (path, CA), Some("another\n")), FileState::OtherAuthority);
        }
    }

    #[test]
    fn systemds_drop_in_names_the_proxy_and_not_the_mirror() {
        let drop_in = "[Service]\nEnvironment=\"HTTPS_PROXY=http://127.0.0.1:5480\"\n";
        let told = |now| told(FileKind::Own, ("/d/hubcap-proxy.conf", drop_in), Some(now));
        assert_eq!((told(drop_in), told("[Service]\n")), (FileState::AsWritten, FileState::Lost));
    }
}
