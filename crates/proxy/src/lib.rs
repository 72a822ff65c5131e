//! HTTP in: what a client says, and what it is told. What to answer is decided below, in [`hubcap_cache`].
//!
//! In the order of a request:
//!
//! - [`listen`]: a task per connection, its limits, and the drain at the end.
//! - [`tls`], [`ca`]: a local CA, and a leaf certificate signed by it.
//! - [`router`]: method and path to an endpoint; one answer for each.
//! - [`resolve`]: which registry's repository a request means.
//! - [`api`]: an answer's headers and body for each endpoint, and the one place where an error becomes a status.
//! - [`access`]: the log line.

mod access;
mod api;
mod ca;
mod listen;
mod resolve;
mod router;
mod tls;

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hubcap_cache::Cache;
use hubcap_oci::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

pub use api::proof::PROOF;
pub use ca::certificate_path;

use ca::Authority;
use router::App;

/// How long requests that run may go on after the end was asked for.
pub const DRAIN: Duration = Duration::from_secs(10);

/// Where to listen, and for what.
#[derive(Debug, Clone)]
pub struct Config {
    /// HTTPS.
    pub https: Option<SocketAddr>,
    /// Plain HTTP.
    pub http: Option<SocketAddr>,
    /// Where the CA and its key are kept: never inside the store.
    pub state: PathBuf,
    /// What a request means that names no registry.
    pub default_registry: Registry,
}

/// Why hubcap cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken, or not this machine's.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The CA cannot be read or made.
    #[error("the local CA cannot be used: {0}")]
    Authority(#[from] std::io::Error),
    /// No certificate can be made.
    #[error("no certificate can be made: {0}")]
    Certificate(String),
}

/// Listening, and not yet answering.
pub struct Bound {
    app: App,
    https: Option<(TcpListener, SocketAddr, TlsAcceptor)>,
    http: Option<(TcpListener, SocketAddr)>,
    certificate: PathBuf,
}

/// Makes the local CA for a daemon that listens on `address`, where there is none that is good for it.
///
/// # Errors
/// [`Error::Authority`] when the state directory cannot be written.
pub fn prepare_authority(state: &Path, address: IpAddr) -> Result<(), Error> {
    Authority::load_or_make(state, &ca::names(address)).map(drop)
}

/// Opens the listeners, and makes the CA where there is none.
///
/// # Errors
/// [`Error`]; nothing is left listening then.
pub async fn bind(cache: Cache, config: Config) -> Result<Bound, Error> {
    let listen = async |address: SocketAddr| {
        let failed = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let local = listener.local_addr().map_err(failed)?;
        Ok::<_, Error>((listener, local))
    };
    let http = match config.http {
        Some(address) => Some(listen(address).await?),
        None => None,
    };
    let https = match config.https {
        Some(address) => {
            let (listener, local) = listen(address).await?;
            let authority = Authority::load_or_make(&config.state, &ca::names(local.ip()))?;
            Some((listener, local, tls::acceptor(&authority)?))
        }
        None => None,
    };
    let certificate = ca::certificate_path(&config.state);
    Ok(Bound { app: App::new(cache, config.default_registry), https, http, certificate })
}

impl Bound {
    /// Where HTTPS is answered.
    pub fn https(&self) -> Option<SocketAddr> {
        self.https.as_ref().map(|(_, address, _)| *address)
    }

    /// Where plain HTTP is answered.
    pub fn http(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(|(_, address)| *address)
    }

    /// The CA's certificate, for clients.
    pub fn ca_certificate(&self) -> &Path {
        &self.certificate
    }

    /// Answers until `shutdown`; then requests that run have [`DRAIN`] to end.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let (stop, stopped) = watch::channel(());
        let https = async {
            if let Some((listener, _, tls)) = self.https {
                listen::serve(listener, Some(tls), self.app.clone(), stopped.clone()).await;
            }
        };
        let http = async {
            if let Some((listener, _)) = self.http {
                listen::serve(listener, None, self.app.clone(), stopped.clone()).await;
            }
        };
        let until = async {
            shutdown.await;
            drop(stop);
        };
        tokio::join!(https, http, until);
    }
}
