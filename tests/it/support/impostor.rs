//! Where the registries' names lead on a [`Machine`]: a TLS server whose certificate nobody trusts. It answers nothing, and
//! tells who came.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection};

use super::machine::{Machine, NAMES, REGISTRIES_AT};

/// A connection that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Visit {
    /// The name of the process, or why it is not known.
    pub(crate) by: String,
    /// The name that was asked for in the handshake.
    pub(crate) name: Option<String>,
    /// Whether it took the certificate for the registry's.
    pub(crate) was_fooled: bool,
}

/// A running one.
pub(crate) struct Impostor {
    visits: Arc<Mutex<Vec<Visit>>>,
    ends: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Impostor {
    /// Listens on the machine's ports for HTTPS and HTTP.
    pub(crate) fn start(machine: &Machine) -> Self {
        let names = NAMES.map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.expect("versions").with_no_client_auth();
        let config = Arc::new(config.with_single_cert(vec![made.cert.der().clone()], key).expect("a server"));
        let (visits, ends) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let connections = machine.of_keeper("net/tcp");
        let listeners = machine.in_its_network(listeners);
        let threads = listeners.into_iter().map(|listener| {
            let (visits, ends) = (Arc::clone(&visits), Arc::clone(&ends));
            let (config, connections) = (Arc::clone(&config), connections.clone());
            std::thread::spawn(move || {
                while !ends.load(Ordering::SeqCst) {
                    // Locked until the client has its answer: who asks for the visits after a pull sees all of them.
                    let mut visits = lock(&visits);
                    if let Ok((stream, _)) = listener.accept() {
                        let by = process_of(&connections, &stream);
                        let (name, was_fooled) = handshake(&config, stream);
                        visits.push(Visit { by, name, was_fooled });
                    }
                    drop(visits);
                    std::thread::sleep(Duration::from_millis(2));
                }
            })
        });
        let threads = threads.collect();
        Self { visits, ends, threads }
    }

    /// Who came since it was last asked.
    pub(crate) fn visits(&self) -> Vec<Visit> {
        std::mem::take(&mut lock(&self.visits))
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn lock(visits: &Mutex<Vec<Visit>>) -> MutexGuard<'_, Vec<Visit>> {
    visits.lock().expect("no panic before")
}

/// The sockets, on the machine to whose network its thread belongs.
fn listeners() -> Vec<TcpListener> {
    let listeners = [443, 80].map(|port| TcpListener::bind((REGISTRIES_AT, port)).expect("a free port"));
    listeners.map(|listener| listener.set_nonblocking(true).map(|()| listener).expect("a listener")).into()
}

/// The name that was asked for, and whether the client went on after it saw the certificate.
fn handshake(config: &Arc<ServerConfig>, mut stream: TcpStream) -> (Option<String>, bool) {
    let patience = Some(Duration::from_secs(5));
    stream.set_nonblocking(false).and_then(|()| stream.set_read_timeout(patience)).expect("a socket");
    let mut connection = ServerConnection::new(Arc::clone(config)).expect("a connection");
    while connection.is_handshaking() {
        if connection.complete_io(&mut stream).is_err() {
            break;
        }
    }
    (connection.server_name().map(str::to_owned), !connection.is_handshaking())
}

/// The process that has the other end of a connection: by its inode among all open files.
fn process_of(connections: &Path, stream: &TcpStream) -> String {
    let (peer, here) = (address(stream.peer_addr()), address(stream.local_addr()));
    let table = std::fs::read_to_string(connections).unwrap_or_default();
    // Number, its own address, the other end's, and six columns on, the inode.
    let columns = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let inode = columns
        .filter(|columns| columns.get(1..3) == Some(&[peer.as_str(), &here]))
        .find_map(|columns| columns.get(9).map(|inode| (*inode).to_owned()));
    let Some(inode) = inode else { return format!("nobody any more, from {peer}") };
    let socket = PathBuf::from(format!("socket:[{inode}]"));
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let files = std::fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        if files.map(|file| std::fs::read_link(file.path())).any(|link| link.is_ok_and(|link| link == socket))
        {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return name.trim().to_owned();
        }
    }
    format!("nobody has the socket {inode}")
}

/// An address as the kernel's table of connections writes it.
fn address(address: std::io::Result<SocketAddr>) -> String {
    match address {
        Ok(SocketAddr::V4(v4)) => format!("{:08X}:{:04X}", u32::from_ne_bytes(v4.ip().octets()), v4.port()),
        other => format!("{other:?}"),
    }
}
