//! `POST /missing`: which contents an image's repository is not known to have. That they are stored, and that a manifest of the
//! repository names them, is no permission.

use hubcap_cache::Cache;
use hubcap_oci::{Digest, ImageRef, ParseError};
use serde::{Deserialize, Serialize};

/// What is asked; the answer is a list of those that the repository does not have.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Request {
    /// An image of the repository, as a user types it.
    pub image: String,
    /// Contents.
    pub contents: Vec<Digest>,
}

/// # Errors
/// For a name that is no image's.
pub(crate) fn missing(cache: &Cache, request: &Request) -> Result<Vec<Digest>, ParseError> {
    let target = request.image.parse::<ImageRef>()?.target();
    Ok(cache.missing(&target, &request.contents))
}
