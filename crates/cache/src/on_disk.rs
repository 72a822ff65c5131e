//! Work that writes to the disk, away from the threads that answer.

use crate::error::Error;

/// Runs store work that writes to the disk on a thread that may block.
///
/// # Errors
/// The work's own; [`Error::Internal`] when it panics.
pub(crate) async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, hubcap_store::Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(Error::from),
        Err(join) => Err(Error::Internal { why: join.to_string() }),
    }
}
