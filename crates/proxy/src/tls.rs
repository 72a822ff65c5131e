//! TLS with a leaf certificate, made in memory at each start.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use tokio_rustls::TlsAcceptor;

use crate::ca::Authority;
use crate::error::Error;

/// An acceptor with a leaf of this authority for these names. Its key is never written anywhere.
pub(crate) fn acceptor(authority: &Authority, names: &[String]) -> Result<TlsAcceptor, Error> {
    let (chain, key) = authority.leaf(names)?;
    let failed = |error: rustls::Error| Error::Certificate(error.to_string());
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(failed)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
