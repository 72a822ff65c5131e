//! A request with the Authorization that its repository needs.

use std::time::Instant;

use http::{HeaderMap, Method, header};
use hubcap_oci::{Endpoint, Repository};
use reqwest::Response;

use super::Upstream;
use crate::auth::{Requester, Who};
use crate::error::Error;
use crate::origin::Origin;
use crate::request::Request;
use crate::status::judge;

impl Upstream {
    /// Sends a request with the Authorization that its repository needs, and reads the status; what comes of it counts
    /// for the circuit.
    pub(super) async fn authorized(
        &self,
        request: Request,
        repository: &Repository,
    ) -> Result<Response, Error> {
        self.origin.circuit.check(Instant::now())?;
        let result = self.with_token(request, repository).await;
        self.origin.circuit.record(&result, Instant::now());
        result
    }

    pub(super) async fn with_token(
        &self,
        request: Request,
        repository: &Repository,
    ) -> Result<Response, Error> {
        let Origin { transport, auth, policy, .. } = &*self.origin;
        let scope = format!("repository:{repository}:pull");
        let requester = Requester { who: self.who.clone(), scope };
        let (mut last, mut signed_again) = (false, false);
        loop {
            let mut request = request.clone();
            let authorization = auth.authorization(transport, &requester).await?;
            if let Some(authorization) = &authorization {
                request.headers.insert(header::AUTHORIZATION, authorization.clone());
            }
            let (method, origin) = (request.method.clone(), request.url.origin());
            let response = transport.send(request).await?;
            self.origin.note_rate_limit(response.headers());
            let status = response.status().as_u16();
            if response.url().origin() != origin && matches!(status, 400 | 401 | 403 | 410) {
                // The registry's own answer was yes. Its next one is signed anew.
                if signed_again || method == Method::HEAD {
                    return Err(Error::Elsewhere { status });
                }
                signed_again = true;
                continue;
            }
            if status != 401 || last {
                return judge(response);
            }
            last = true;
            let is_silent = !response.headers().contains_key(header::WWW_AUTHENTICATE);
            let again = if is_silent && !matches!(self.who, Who::Client(_)) {
                // gcr.io tells what it wants only there (end-1).
                let version = self.request(Method::GET, self.url(&Endpoint::Version)?, HeaderMap::new());
                let version = transport.send(version.without_redirects()).await?;
                auth.challenged(&version, *policy, &requester, authorization.as_ref())
            } else {
                auth.challenged(&response, *policy, &requester, authorization.as_ref())
            };
            if !again {
                return judge(response);
            }
        }
    }
}
