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
        // 203: a proxy between has changed something; digests tell what.
        200 | 203 | 206 => Ok(response),
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
        // Of these, the request is not the reason: a proxy between wants a login, it was not all there in time, or came
        // too early.
        status @ (407 | 408 | 425) => Err(Error::Failed { status }),
        status @ 400..500 => Err(Error::Refused { status }),
        status => Err(Error::Failed { status }),
    }
}

/// The same for a request with a `Range`: what is said against it may be said against the range alone, unless it is about
/// how much is asked of the upstream.
///
/// # Errors
/// [`Error::NoRange`], or that there is no such thing, or that the upstream wants to be asked less.
pub(crate) fn judge_range(response: Response) -> Result<Response, Error> {
    let status = response.status().as_u16();
    judge(response).map_err(|error| match error {
        Error::NotFound | Error::RateLimited { .. } | Error::Overloaded { .. } => error,
        _ => Error::no_range(format!("a range is answered with {status}")),
    })
}

pub(crate) fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16) -> Result<(), Error> {
        let answer = http::Response::builder().status(status).body(reqwest::Body::from(""));
        judge(answer.expect("an answer").into()).map(drop)
    }

    #[test]
    fn what_a_client_did_wrong_is_an_answer() {
        for status in [400, 402, 405, 406, 409, 410, 413, 414, 415, 416, 418, 422, 431, 451, 499] {
            assert_eq!(judged(status), Err(Error::Refused { status }));
        }
        assert_eq!(judged(404), Err(Error::NotFound));
        assert_eq!(judged(401), Err(Error::Denied { status: 401 }));
    }

    #[test]
    fn what_the_registry_or_the_way_to_it_does_wrong_is_trouble() {
        for status in [407, 408, 425, 500, 501, 502, 503, 504, 521] {
            let error = judged(status).expect_err("trouble");
            assert_eq!(error, Error::Failed { status });
            assert!(error.is_transient());
        }
    }
}
