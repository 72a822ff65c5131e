//! The local CA's certificate, as clients are to trust it.

use std::io::ErrorKind;
use std::path::PathBuf;

use crate::error::Error;
use crate::{file, paths};

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// The local CA's certificate: where it is, and what was read there. It is read once, as its directory may be another user's, who
/// could put a link to a secret in its place after it was verified: what is verified is what is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// Its file.
    pub path: PathBuf,
    certificate: Certificate,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Certificate {
    /// In PEM, and nothing else.
    Pem(String),
    /// hubcap makes it at its first start.
    Missing,
    /// Why it is not passed on.
    Unusable(String),
}

impl Authority {
    /// What is in this file now. It is not read as root by `sudo`, as other files are: its path may be another user's word.
    pub fn read(path: PathBuf) -> Self {
        if let Some((link, owner)) = paths::link_of_another(&path) {
            let why = format!("{} is a link of user {owner}", link.display());
            return Self { path, certificate: Certificate::Unusable(why) };
        }
        let certificate = match file::regular(&path) {
            Ok(bytes) => Certificate::of(bytes),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                Certificate::Missing
            }
            Err(error) => Certificate::Unusable(error.to_string()),
        };
        Self { path, certificate }
    }

    /// The same one, for a client that finds it at another place.
    pub(crate) fn at(&self, path: PathBuf) -> Self {
        Self { path, certificate: self.certificate.clone() }
    }

    /// The certificate; `None` before it is made.
    ///
    /// # Errors
    /// [`Error::Client`] when it cannot be read, or is not one certificate in PEM.
    pub fn pem(&self) -> Result<Option<&str>, Error> {
        match &self.certificate {
            Certificate::Pem(text) => Ok(Some(text)),
            Certificate::Missing => Ok(None),
            Certificate::Unusable(why) => Err(Error::Client(format!(
                "the CA's certificate {} cannot be used: {why}",
                self.path.display()
            ))),
        }
    }
}

impl Certificate {
    /// A file that has anything else in it may be a secret, or have one beside the certificate.
    fn of(bytes: Vec<u8>) -> Self {
        let is_base64 = |c: char| c.is_ascii_alphanumeric() || "+/=\r\n".contains(c);
        let is_one = |text: &String| {
            let inner = text.trim_end().strip_prefix(BEGIN).and_then(|text| text.strip_suffix(END));
            inner.is_some_and(|inner| inner.chars().all(is_base64))
        };
        let text = String::from_utf8(bytes).ok().filter(is_one);
        text.map_or_else(|| Self::Unusable("it is not one certificate in PEM".into()), Self::Pem)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{lchown, symlink};

    use super::*;

    const PEM: &str = "-----BEGIN CERTIFICATE-----\nMIIB+/8=\n-----END CERTIFICATE-----\n";

    #[test]
    fn only_one_certificate_and_nothing_beside_it_is_passed_on() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("ca.pem");
        assert_eq!(Authority::read(path.clone()).pem().expect("not made yet"), None);
        let key = PEM.replace("CERTIFICATE", "PRIVATE KEY");
        for secret in
            ["", "a token\n", &key, &format!("{PEM}{key}"), &format!("a token\n{PEM}"), &PEM.repeat(2)]
        {
            std::fs::write(&path, secret).expect("written");
            let refused = Authority::read(path.clone()).pem().expect_err(secret).to_string();
            assert!(refused.contains("not one certificate") && refused.contains("ca.pem"), "{refused}");
        }
        std::fs::write(&path, PEM).expect("written");
        assert_eq!(Authority::read(path).pem().expect("one"), Some(PEM));
    }

    #[test]
    fn a_certificate_that_was_read_is_not_read_again_and_none_by_a_link_of_another_user() {
        let dir = tempfile::tempdir().expect("a directory");
        let (file, link) = (dir.path().join("file"), dir.path().join("ca.pem"));
        std::fs::write(&file, PEM).expect("written");
        symlink(&file, &link).expect("linked");
        let read = Authority::read(link.clone());
        std::fs::write(&file, "a secret\n").expect("written");
        assert_eq!(read.at("/elsewhere".into()).pem().expect("as it was"), Some(PEM));
        std::fs::write(&file, PEM).expect("written");
        // Only root can give a link away.
        if lchown(&link, Some(65_534), None).is_ok() {
            let refused = Authority::read(link).pem().expect_err("a link of another").to_string();
            assert!(refused.contains("is a link of user 65534"), "{refused}");
        }
    }
}
