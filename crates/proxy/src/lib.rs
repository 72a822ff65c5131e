//! HTTP in: what a client says, and what it is told. What to answer is decided below, in [`hubcap_cache`].
//!
//! In the order of a request:
//!
//! - [`listen`], [`workers`]: a task per connection, its limits, the thread it runs on, and the drain at the end.
//! - [`tls`], [`ca`]: a local CA, and a leaf certificate signed by it.
//! - [`connect`]: an HTTP proxy for what cannot be told of a mirror: registries as if we were them, a tunnel for the
//!   rest.
//! - [`router`]: method and path to an endpoint; one answer for each.
//! - [`resolve`]: which registry's repository a request means.
//! - [`api`]: an answer's headers and body for each endpoint, and the one place where an error becomes a status.
//! - [`access_log`]: the log line.

mod access_log;
mod api;
mod ca;
mod connect;
mod listen;
mod resolve;
mod router;
mod tls;
mod workers;

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use hubcap_cache::Cache;
use hubcap_oci::{Registry, RegistryPattern};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

pub use api::probe::PROBE_IMAGE;
pub use ca::certificate_path;

use ca::Authority;
use connect::Gate;
use router::App;
use workers::Workers;

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
    /// The HTTP proxy.
    pub connect: Option<ConnectConfig>,
}

/// The HTTP proxy, for clients that are told of a proxy only.
#[derive(Debug, Clone)]
pub struct ConnectConfig {
    /// Where it listens.
    pub address: SocketAddr,
    /// Registries whose TLS is terminated here; without any, all that hubcap may ask and that a CA can be constrained
    /// to. Clients must trust the CA for each.
    pub intercept: Vec<RegistryPattern>,
    /// Hosts and ports that are tunnelled to although they are no public address's port 443.
    pub tunnel: Vec<RegistryPattern>,
}

/// What a listener's connections speak.
#[derive(Clone)]
enum Speaks {
    Http(App),
    Https(TlsAcceptor, App),
    Connect(Arc<Gate>),
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
    /// The system gives no threads for the connections.
    #[error("no thread can be started for the connections: {0}")]
    Threads(std::io::Error),
    /// No certificate can be made.
    #[error("no certificate can be made: {0}")]
    Certificate(String),
}

/// Listening, and not yet answering.
pub struct Bound {
    app: App,
    https: Option<(TcpListener, SocketAddr, TlsAcceptor)>,
    http: Option<(TcpListener, SocketAddr)>,
    connect: Option<(TcpListener, SocketAddr, Arc<Gate>)>,
    certificate: PathBuf,
    workers: Arc<Workers>,
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
        Some(address) => Some(listen(address).await?),
        None => None,
    };
    let connect = match &config.connect {
        Some(connect) => Some((listen(connect.address).await?, connect)),
        None => None,
    };
    let app = App::new(cache.clone(), config.default_registry);
    let own = https.as_ref().map(|(_, local)| ca::names(local.ip())).unwrap_or_default();
    let others = config.connect.as_ref().map(|connect| connect::names(&cache, connect)).unwrap_or_default();
    let (https, connect) = if https.is_some() || connect.is_some() {
        let authority = Authority::load_or_make(&config.state, &[own.as_slice(), &others].concat())?;
        let https = match https {
            Some((listener, local)) => Some((listener, local, tls::acceptor(&authority, &own)?)),
            None => None,
        };
        let connect = connect.map(|((listener, local), connect)| {
            (listener, local, Arc::new(Gate::new(app.clone(), authority, connect)))
        });
        (https, connect)
    } else {
        (None, None)
    };
    let certificate = ca::certificate_path(&config.state);
    let processors = thread::available_parallelism().map_or(1, Into::into);
    let workers = Arc::new(Workers::start(processors).map_err(Error::Threads)?);
    Ok(Bound { app, https, http, connect, certificate, workers })
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

    /// Where the HTTP proxy is.
    pub fn connect(&self) -> Option<SocketAddr> {
        self.connect.as_ref().map(|(_, address, _)| *address)
    }

    /// The CA's certificate, for clients.
    pub fn ca_certificate(&self) -> &Path {
        &self.certificate
    }

    /// Answers until `shutdown`; then requests that run have [`DRAIN`] to end.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self { app, https, http, connect, workers, .. } = self;
        let (stop, stopped) = watch::channel(());
        let mut listeners = JoinSet::new();
        let mut listen = |listener: TcpListener, speaks| {
            listeners.spawn(listen::serve(listener, speaks, Arc::clone(&workers), stopped.clone()));
        };
        if let Some((listener, _, tls)) = https {
            listen(listener, Speaks::Https(tls, app.clone()));
        }
        if let Some((listener, _)) = http {
            listen(listener, Speaks::Http(app));
        }
        if let Some((listener, _, gate)) = connect {
            listen(listener, Speaks::Connect(gate));
        }
        shutdown.await;
        drop(stop);
        listeners.join_all().await;
    }
}
