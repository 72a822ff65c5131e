//! Work that writes to the disk, away from the threads that answer.

use crate::error::Error;

/// Runs store work that writes to the disk on a thread that may block.
///
/// # Errors
/// The work's own; [`Error::Internal`] when it panics.
pub(crate) async fn on_disk<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, Error>
where
    T: Send + 'static,
    E: Into<Error> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(Into::into),
        Err(join) => Err(Error::Internal { why: join.to_string() }),
    }
}
