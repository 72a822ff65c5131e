//! Which of podman's files are written with what.

use std::path::PathBuf;

use hubcap_oci::Registry;

use super::facts::CERTIFICATE;
use super::find::PodmanFiles;
use crate::change::Plan;
use crate::error::Error;
use crate::file;
use crate::file_kind::FileKind;
use crate::format::registries_conf::Tables;
use crate::journal::Journal;
use crate::mirror::Mirror;

impl PodmanFiles {
    /// Our drop-in, made from the tables that users have, and our copy of the CA.
    pub(super) fn plan(
        &self,
        journal: &Journal,
        mirror: &Mirror,
        registries: &[Registry],
    ) -> Result<Plan, Error> {
        let mut tables = Tables::default();
        for path in &self.before {
            tables.add(path, file::read(path)?.as_deref())?;
        }
        let text = tables.drop_in(mirror, registries)?;
        // Before hubcap's first start there is none; then this is shown, and never written.
        let ca = mirror.ca.pem()?.unwrap_or("(the certificate that hubcap makes at its first start)\n");
        Ok(vec![
            journal.plan(self.drop_in.clone(), FileKind::Own, |_| Ok(Some(text)))?,
            journal.plan(self.certificate(mirror), FileKind::Own, |_| Ok(Some(ca.to_owned())))?,
        ])
    }

    /// Our copy of the CA, in the directory that is read for this mirror.
    fn certificate(&self, mirror: &Mirror) -> PathBuf {
        let places: Vec<PathBuf> =
            self.certs_dirs.iter().map(|dir| dir.join(mirror.address.to_string())).collect();
        let read = places.iter().skip(1).find(|place| place.exists());
        read.or(places.first()).map(|place| place.join(CERTIFICATE)).unwrap_or_default()
    }
}
