//! What a status means; the one place for that.

use http::StatusCode;
use reqwest::Response;

use crate::error::Error;
use crate::ratelimit::retry_after;

/// Gives a successful answer back, and reads any other one.
///
/// # Errors
/// What the status says. A redirect that was not followed leads to nothing of the registry's, so it is
/// [`Error::NotFound`].
pub(crate) fn judge(response: Response) -> Result<Response, Error> {
    match response.status().as_u16() {
        200 | 206 => Ok(response),
        status if is_redirect(response.status()) => {
            tracing::debug!(target: "hubcap::upstream", status, "a redirect that is not followed");
            Err(Error::NotFound)
        }
        404 => Err(Error::NotFound),
        status @ (401 | 403) => Err(Error::Denied { status }),
        429 => Err(Error::RateLimited { retry_after: retry_after(response.headers()) }),
        503 if let Some(retry_after) = retry_after(response.headers()) => {
            Err(Error::Overloaded { retry_after })
        }
        status @ 400..500 => Err(Error::invalid(format!("the upstream answered {status}"))),
        status => Err(Error::unavailable(format!("the upstream answered {status}"))),
    }
}

pub(crate) fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}
