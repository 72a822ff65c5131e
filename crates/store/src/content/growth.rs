//! The news of a growing content, from its one writer to its readers.

use std::sync::Arc;

use tokio::sync::watch;

use super::tail::Tail;

/// Why a content will never be complete, as its writer says it.
pub type AbortReason = Arc<dyn std::error::Error + Send + Sync>;

/// How far a content has grown.
#[derive(Debug, Clone)]
pub enum Progress {
    /// So many bytes are written, and not verified.
    Partial(u64),
    /// Complete and verified; so many bytes.
    Done(u64),
    /// It will never be complete.
    Failed {
        /// So many bytes are written.
        written: u64,
        /// Why.
        reason: AbortReason,
    },
}

impl Progress {
    /// Bytes that are written.
    pub const fn written(&self) -> u64 {
        match self {
            Self::Partial(written) | Self::Done(written) | Self::Failed { written, .. } => *written,
        }
    }
}

/// Why a read failed. The client's connection is cut then: it must never look like the end.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// What was being written turned out wrong, or its writer went away without a word.
    #[error("the content could not be completed")]
    Failed,
    /// The writer gave up, and says why.
    #[error("the content could not be completed: {0}")]
    Aborted(AbortReason),
    /// A committed file is shorter than it was.
    #[error("the stored content ends at byte {at} instead of {size}")]
    Truncated {
        /// Where it ends.
        at: u64,
        /// Where it should.
        size: u64,
    },
    /// Another program has written to the file since its digest was verified.
    #[error("the stored content was changed by another program while it was read")]
    Changed,
    /// The disk.
    #[error("the store cannot be read: {0}")]
    Io(#[from] std::io::Error),
}

/// The news of a growing content.
#[derive(Debug, Clone)]
pub(crate) struct Growth {
    pub(super) progress: watch::Receiver<Progress>,
    pub(super) tail: Arc<Tail>,
}

impl Growth {
    /// Waits until enough bytes are written, or no more come. What a writer has written before it failed can be read
    /// still, so its failure is told only where that is not enough. A writer that goes away without `Done` has failed:
    /// the channel's end is never the content's.
    pub(super) async fn wait_for(&mut self, is_enough: impl Fn(u64) -> bool) -> Result<Progress, ReadError> {
        let is_over = |progress: &Progress| match progress {
            Progress::Partial(written) => is_enough(*written),
            Progress::Done(_) | Progress::Failed { .. } => true,
        };
        let progress = self.progress.wait_for(is_over).await.map_err(|_| ReadError::Failed)?;
        match &*progress {
            Progress::Failed { written, .. } if is_enough(*written) => Ok(Progress::Partial(*written)),
            Progress::Failed { reason, .. } => Err(ReadError::Aborted(Arc::clone(reason))),
            progress => Ok(progress.clone()),
        }
    }
}
