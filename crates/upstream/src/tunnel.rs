//! A connection to any host, through which a client speaks TLS of its own.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::address::{AddressPolicy, Resolver};
use crate::error::Error;

/// Connects.
///
/// # Errors
/// [`Error::NotAllowed`] for a name that leads only to private addresses, [`Error::Unavailable`] for one that cannot
/// be reached within `timeout`.
pub(crate) async fn open(
    host: &str,
    port: u16,
    policy: AddressPolicy,
    timeout: Duration,
) -> Result<TcpStream, Error> {
    let connecting = async {
        let usable = Resolver(policy).look_up(host, port).await.map_err(|error| match error.kind() {
            ErrorKind::PermissionDenied => Error::NotAllowed { why: error.to_string() },
            _ => Error::unavailable(format!("{host} has no address: {error}")),
        })?;
        let connected = TcpStream::connect(usable.as_slice()).await;
        connected.map_err(|error| Error::unavailable(format!("{host}:{port} cannot be reached: {error}")))
    };
    let late =
        || Error::unavailable(format!("{host}:{port} did not answer within {} s", timeout.as_secs_f32()));
    let stream = tokio::time::timeout(timeout, connecting).await.map_err(|_| late())??;
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_address_is_refused_before_anybody_connects_to_it() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
            listener.set_nonblocking(true).expect("set");
            let port = listener.local_addr().expect("an address").port();
            let patience = Duration::from_secs(10);
            for host in ["127.0.0.1", "localhost"] {
                let refused = open(host, port, AddressPolicy::PublicOnly, patience).await;
                assert!(matches!(refused, Err(Error::NotAllowed { .. })), "{refused:?}");
            }
            assert!(listener.accept().is_err(), "nobody came");
            assert!(open("127.0.0.1", port, AddressPolicy::Any, patience).await.is_ok());
        });
    }
}
