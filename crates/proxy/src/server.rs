//! The listeners: opened by [`bind`], answered by [`Bound::run`], and drained at the end.

use std::future::Future;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use hubcap_cache::Cache;
use hubcap_oci::{Registry, RegistryPattern};
use rustix::net::sockopt::set_ip_freebind;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::ca::{self, Authority};
use crate::connect::{HttpProxy, Leaves, Policy};
use crate::error::Error;
use crate::host::{HostName, Names};
use crate::listen;
use crate::network;
use crate::protocol::Protocol;
use crate::router::{App, Clients};
use crate::tls;
use crate::workers::Workers;

/// Connections that wait in the kernel's queue, as tokio has it for other listeners.
const BACKLOG: u32 = 1024;

/// Where to listen, and for what.
#[derive(Debug, Clone)]
pub struct Config {
    /// HTTPS.
    pub https: Option<SocketAddr>,
    /// Plain HTTP.
    pub http: Option<SocketAddr>,
    /// HTTPS on bridges, for containers: each answers the network of its address alone, and hubcap's own logins are not for
    /// it. A bridge may be made later.
    pub bridges: Vec<SocketAddrV4>,
    /// Names of this machine beside those that it knows: clients may ask by them, and the certificate is for them.
    pub names: Vec<HostName>,
    /// Where the CA and its key are kept: never inside the store.
    pub state: PathBuf,
    /// The registry of requests that name none.
    pub default_registry: Registry,
    /// The HTTP proxy.
    pub connect: Option<ConnectConfig>,
}

/// The HTTP proxy, for clients that know no mirror of a registry.
#[derive(Debug, Clone)]
pub struct ConnectConfig {
    /// Where it listens.
    pub address: SocketAddr,
    /// Registries whose TLS is terminated here. Empty: every registry that hubcap may ask and that a CA can be
    /// constrained to. Clients must trust the CA for each.
    pub intercept: Vec<RegistryPattern>,
    /// Hosts and ports to which tunnels are allowed beside port 443 of public addresses.
    pub tunnel: Vec<RegistryPattern>,
}

/// The open listeners; none is answered yet.
pub struct Bound {
    listeners: Vec<Listener>,
    certificate: PathBuf,
    workers: Arc<Workers>,
}

struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    protocol: Protocol,
}

/// Makes the local CA for a daemon that listens on `address` and has these names, unless there is one that is good for it.
///
/// # Errors
/// [`Error::Authority`] when the state directory cannot be written.
pub fn prepare_authority(state: &Path, address: IpAddr, names: &[HostName]) -> Result<(), Error> {
    Authority::load_or_make(state, &ca::names([address], names)).map(drop)
}

/// Opens the listeners, and makes the CA unless there is one that is good for them.
///
/// # Errors
/// [`Error`]; nothing is left listening then.
pub async fn bind(cache: Cache, config: Config) -> Result<Bound, Error> {
    // Before the CA is touched: another daemon may have both the address and the CA.
    let http = open(config.http).await?;
    let https = open(config.https).await?;
    let proxy = open(config.connect.as_ref().map(|connect| connect.address)).await?;
    let bridges = open_bridges(&config.bridges)?;

    let ips = https.iter().chain(&bridges).map(|(_, address)| address.ip());
    let own = ca::names(ips, &config.names);
    let app = |clients| App::new(cache.clone(), config.default_registry.clone(), clients, Names(own.clone()));
    let (app, untrusted) = (app(Clients::Trusted), app(Clients::Untrusted));
    let mut listeners = Vec::new();
    if let Some((socket, address)) = http {
        listeners.push(Listener { socket, address, protocol: Protocol::Http(app.clone()) });
    }
    if https.is_some() || proxy.is_some() || !bridges.is_empty() {
        let policy = config
            .connect
            .as_ref()
            .map(|connect| Policy::new(cache.names(), cache.patterns(), &connect.intercept, &connect.tunnel));
        let others = policy.as_ref().map(Policy::names).unwrap_or_default();
        let authority = Authority::load_or_make(&config.state, &[own.as_slice(), &others].concat())?;
        if let Some((socket, address)) = https {
            let protocol = Protocol::Https(tls::acceptor(&authority, &own)?, app.clone());
            listeners.push(Listener { socket, address, protocol });
        }
        for (socket, address) in bridges {
            let protocol = Protocol::Bridge(tls::acceptor(&authority, &own)?, untrusted.clone());
            listeners.push(Listener { socket, address, protocol });
        }
        if let (Some((socket, address)), Some(policy)) = (proxy, policy) {
            let proxy = HttpProxy { app, policy, leaves: Leaves::new(authority) };
            listeners.push(Listener { socket, address, protocol: Protocol::Connect(Arc::new(proxy)) });
        }
    }
    let processors = thread::available_parallelism().map_or(1, Into::into);
    let workers = Arc::new(Workers::start(processors).map_err(Error::Threads)?);
    Ok(Bound { listeners, certificate: ca::certificate_path(&config.state), workers })
}

async fn open(address: Option<SocketAddr>) -> Result<Option<(TcpListener, SocketAddr)>, Error> {
    let Some(address) = address else { return Ok(None) };
    let failed = |source| Error::Listen { address, source };
    let socket = TcpListener::bind(address).await.map_err(failed)?;
    let local = socket.local_addr().map_err(failed)?;
    Ok(Some((socket, local)))
}

/// Opens the listeners on bridges. dockerd makes its bridge when it starts, which may be after hubcap: so an address that
/// the machine does not have yet is no error.
fn open_bridges(addresses: &[SocketAddrV4]) -> Result<Vec<(TcpListener, SocketAddr)>, Error> {
    let open = |address: SocketAddr| {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        set_ip_freebind(&socket, true)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        let local = listener.local_addr()?;
        if !network::is_here(local.ip()) {
            tracing::warn!(target: "hubcap::listen", "no network of this machine has the address {}: hubcap answers there \
                once one has", local.ip());
        }
        Ok((listener, local))
    };
    let bridges = addresses.iter().map(|&address| SocketAddr::V4(address));
    bridges.map(|address| open(address).map_err(|source| Error::Listen { address, source })).collect()
}

impl Bound {
    /// Where HTTPS is answered.
    pub fn https(&self) -> Option<SocketAddr> {
        self.address(|protocol| matches!(protocol, Protocol::Https(..)))
    }

    /// Where plain HTTP is answered.
    pub fn http(&self) -> Option<SocketAddr> {
        self.address(|protocol| matches!(protocol, Protocol::Http(_)))
    }

    /// Where HTTPS is answered for the networks of bridges.
    pub fn bridges(&self) -> Vec<SocketAddrV4> {
        let bridges = self.listeners.iter().filter(|one| matches!(one.protocol, Protocol::Bridge(..)));
        bridges
            .filter_map(|bridge| match bridge.address {
                SocketAddr::V4(address) => Some(address),
                SocketAddr::V6(_) => None,
            })
            .collect()
    }

    /// Where the HTTP proxy is.
    pub fn connect(&self) -> Option<SocketAddr> {
        self.address(|protocol| matches!(protocol, Protocol::Connect(_)))
    }

    fn address(&self, wanted: impl Fn(&Protocol) -> bool) -> Option<SocketAddr> {
        self.listeners.iter().find(|listener| wanted(&listener.protocol)).map(|listener| listener.address)
    }

    /// The CA's certificate, for clients.
    pub fn ca_certificate(&self) -> &Path {
        &self.certificate
    }

    /// Answers until `shutdown`; then running requests have [`DRAIN`](crate::DRAIN) to end.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self { listeners, workers, .. } = self;
        let (stop, stopped) = watch::channel(());
        let mut running = JoinSet::new();
        for Listener { socket, protocol, .. } in listeners {
            running.spawn(listen::serve(socket, protocol, Arc::clone(&workers), stopped.clone()));
        }
        shutdown.await;
        drop(stop);
        running.join_all().await;
    }
}
