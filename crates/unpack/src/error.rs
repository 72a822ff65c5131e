//! Why a layer cannot be applied.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;

/// Why a layer cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else must apply this layer. Nothing was written.
    #[error("hubcap does not apply this layer: {0}")]
    Unsupported(String),
    /// The layer is damaged, or packed by a faulty program.
    #[error("the layer is not a valid archive: {0}; build or push the image again")]
    Archive(Cow<'static, str>),
    /// The layer's bytes cannot be read or inflated.
    #[error("the layer cannot be read: {0}; pull the image again")]
    Read(io::Error),
    /// The system refused a step.
    #[error("{doing} {}: {source}", path.display())]
    Io {
        /// The step, for example "cannot make the directory".
        doing: &'static str,
        /// The path within the layer, or the target directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The caller does not want the layer any more.
    #[error("the caller has canceled the request")]
    Canceled,
}

impl Error {
    /// An archive that no program reads.
    pub(crate) fn invalid(why: impl Into<Cow<'static, str>>) -> Self {
        Self::Archive(why.into())
    }
}
