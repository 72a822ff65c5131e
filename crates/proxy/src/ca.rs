//! A local CA: made once, kept under the state directory, good for this machine's names only, and those of the registries
//! whose TLS is terminated here.

use std::fs::Metadata;
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use fs_err as fs;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, NameConstraints, SerialNumber,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::NamedTempFile;
use time::{Duration, OffsetDateTime};

use crate::error::Error;
use crate::host::HostName;

/// How long a CA is good; clients that trust it must be told when it changes, so rather long.
const LIFE: Duration = Duration::days(730);
/// Since when certificates are good: long ago, so that they are when a clock that was ahead is set right. 2024-01-01.
const BEGIN: OffsetDateTime = match OffsetDateTime::UNIX_EPOCH.checked_add(Duration::days(19_723)) {
    Some(begin) => begin,
    None => OffsetDateTime::UNIX_EPOCH,
};
/// It is made anew so long before its end, since a daemon may run for weeks.
const RENEW_BEFORE: Duration = Duration::days(60);

/// The CA of this machine.
pub(crate) struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    expires: OffsetDateTime,
}

/// Where the certificate is, for clients to trust.
pub fn certificate_path(state: &Path) -> PathBuf {
    state.join("ca.pem")
}

/// What a daemon that listens on these addresses is called: its machine's names, those that were given, and the addresses.
pub(crate) fn names(addresses: impl IntoIterator<Item = IpAddr>, given: &[HostName]) -> Vec<String> {
    let mut names: Vec<String> = vec!["localhost".into(), "127.0.0.1".into(), "::1".into()];
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy().to_ascii_lowercase();
    if !host.is_empty() && host.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'.') {
        names.push(host);
    }
    let specified = addresses.into_iter().filter(|address| !address.is_unspecified());
    names.extend(specified.map(|address| address.to_string()));
    names.extend(given.iter().map(|name| name.as_str().to_owned()));
    names.sort();
    names.dedup();
    names
}

impl Authority {
    /// The CA under `state`. It is made anew when there is none, when it cannot be read or ends soon. When it lacks a
    /// name, it is issued again with the same key: who trusts the old certificate goes on to do so, for its names.
    pub(crate) fn load_or_make(state: &Path, names: &[String]) -> Result<Self, Error> {
        make_private(state)?;
        let now = OffsetDateTime::now_utc();
        let (why, key) = match Self::load(state, names, now) {
            Ok(Found::Usable(authority)) => return Ok(*authority),
            Ok(Found::Lacks(name, key)) => (format!("the old one was not for {name}"), Ok(key)),
            Err(why) => (why, KeyPair::generate()),
        };
        let authority = Self::make(state, names, key.map_err(certificate_error)?, now)?;
        let path = certificate_path(state);
        tracing::info!(target: "hubcap::ca", "made a new local CA ({why}): {}", path.display());
        Ok(authority)
    }

    fn load(state: &Path, names: &[String], now: OffsetDateTime) -> Result<Found, String> {
        let read = |name: &str| {
            let path = state.join(name);
            match fs::symlink_metadata(&path) {
                Ok(found) if !is_ours(&found) => Err(format!("others may have made {name}")),
                _ => fs::read_to_string(path).map_err(|_| "there was none".to_owned()),
            }
        };
        let (pem, key, about) = (read("ca.pem")?, read("ca.key")?, read("ca.names")?);
        let (expires, known) = about.split_once('\n').ok_or("its names could not be read")?;
        let expires = expires.parse().ok().and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
        let expires = expires.ok_or("its end could not be read")?;
        if expires - RENEW_BEFORE < now {
            return Err("the old one ends soon".into());
        }
        let key = KeyPair::from_pem(&key).map_err(|_| "the old key could not be read")?;
        let known: Vec<String> = known.lines().map(Into::into).collect();
        if let Some(lacking) = names.iter().find(|name| !known.contains(name)) {
            return Ok(Found::Lacks(lacking.clone(), key));
        }
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| "the old certificate could not be read")?;
        let public = key.public_key_raw();
        if !certificate.windows(public.len()).any(|part| part == public) {
            return Err("the old certificate was not of the old key".into());
        }
        // What signs is the name and the key; the certificate itself is the one that clients have.
        let params = params(&known, expires).map_err(|error| error.to_string())?;
        Ok(Found::Usable(Box::new(Self { certificate, issuer: Issuer::new(params, key), expires })))
    }

    fn make(state: &Path, names: &[String], key: KeyPair, now: OffsetDateTime) -> Result<Self, Error> {
        let expires = now + LIFE;
        let params = params(names, expires).map_err(certificate_error)?;
        let certificate = params.self_signed(&key).map_err(certificate_error)?;
        let about = format!("{}\n{}\n", expires.unix_timestamp(), names.join("\n"));
        // The key first: a certificate without its key would be taken for a CA.
        write_private(state, "ca.key", &key.serialize_pem())?;
        write_private(state, "ca.pem", &certificate.pem())?;
        write_private(state, "ca.names", &about)?;
        let certificate = certificate.der().clone();
        Ok(Self { certificate, issuer: Issuer::new(params, key), expires })
    }

    /// A certificate for some of its names, with its chain and key.
    pub(crate) fn leaf(
        &self,
        names: &[String],
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Error> {
        let mut params = CertificateParams::new(names).map_err(certificate_error)?;
        params.distinguished_name.push(DnType::CommonName, "hubcap");
        params.not_before = BEGIN;
        params.not_after = self.expires;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(serial());
        let key = KeyPair::generate().map_err(certificate_error)?;
        let leaf = params.signed_by(&key, &self.issuer).map_err(certificate_error)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok((vec![leaf.der().clone(), self.certificate.clone()], key))
    }
}

/// What is under the state directory.
enum Found {
    Usable(Box<Authority>),
    /// It is not for this name.
    Lacks(String, KeyPair),
}

/// A number that no certificate of this CA had before: the time, in nanoseconds.
fn serial() -> SerialNumber {
    let now = OffsetDateTime::now_utc().unix_timestamp_nanos();
    SerialNumber::from_slice(&now.to_be_bytes()[8..])
}

/// The CA's own certificate: it can sign leaves, no further CAs, and only for these names.
fn params(names: &[String], expires: OffsetDateTime) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, "hubcap local CA");
    params.not_before = BEGIN;
    params.not_after = expires;
    params.serial_number = Some(serial());
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let subtree = |name: &String| match name.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => GeneralSubtree::IpAddress(CidrSubnet::V4(ip.octets(), [255; 4])),
        Ok(IpAddr::V6(ip)) => GeneralSubtree::IpAddress(CidrSubnet::V6(ip.octets(), [255; 16])),
        Err(_) => GeneralSubtree::DnsName(name.clone()),
    };
    let permitted_subtrees = names.iter().map(subtree).collect();
    params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });
    Ok(params)
}

#[expect(clippy::needless_pass_by_value, reason = "map_err gives it by value")]
fn certificate_error(error: rcgen::Error) -> Error {
    Error::Certificate(error.to_string())
}

/// Whether only this user, or root, can have written a file. Others could know a key that they have put there.
fn is_ours(file: &Metadata) -> bool {
    let owners = [0, rustix::process::geteuid().as_raw()];
    file.is_file() && owners.contains(&file.uid()) && file.mode() & 0o022 == 0
}

/// Makes the state directory, closed to others. One that others can write to is told of: it may be a volume that is this
/// container's alone.
fn make_private(state: &Path) -> std::io::Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(state);
    let found = made.and_then(|()| std::fs::metadata(state));
    let found =
        found.map_err(|error| std::io::Error::new(error.kind(), format!("{}: {error}", state.display())))?;
    let owners = [0, rustix::process::geteuid().as_raw()];
    if !owners.contains(&found.uid()) || found.mode() & 0o002 != 0 {
        tracing::warn!(target: "hubcap::ca",
            "other users can write to {}, and so take hubcap's place: give it to this user alone, with mode 0700",
            state.display());
    }
    Ok(())
}

/// Replaces a file in one step; only its owner may read it, from its first byte on.
fn write_private(state: &Path, name: &str, text: &str) -> std::io::Result<()> {
    let mut file = NamedTempFile::new_in(state)?;
    file.write_all(text.as_bytes())?;
    // After a power cut there is the whole file, or the one before.
    file.as_file().sync_all()?;
    file.persist(state.join(name))?;
    Ok(())
}
