//! The certificates of intercepted registries, made when they are first needed.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio_rustls::TlsAcceptor;

use crate::ca::Authority;
use crate::error::Error;
use crate::tls;

/// The hosts whose certificate is kept in memory; when there are more, all are made again.
const MAX: usize = 256;

/// The certificates that were made, by host.
pub(crate) struct Leaves {
    authority: Authority,
    made: Mutex<HashMap<String, TlsAcceptor>>,
}

impl Leaves {
    pub(crate) fn new(authority: Authority) -> Self {
        Self { authority, made: Mutex::default() }
    }

    /// An acceptor with a certificate for `host`.
    pub(super) fn get(&self, host: &str) -> Result<TlsAcceptor, Error> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tls) = made.get(host) {
            return Ok(tls.clone());
        }
        let tls = tls::acceptor(&self.authority, &[host.to_owned()])?;
        if made.len() >= MAX {
            made.clear();
        }
        made.insert(host.to_owned(), tls.clone());
        Ok(tls)
    }
}
