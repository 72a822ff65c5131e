//! A file at a signed URL, as GitHub's cache service gives one out, as a source.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use http::{HeaderMap, Method};
use url::Url;

use crate::address::AddressPolicy;
use crate::body::{BlobBody, part_of};
use crate::coding::Codings;
use crate::error::Error;
use crate::fetch::in_order::InOrder;
use crate::fetch::limit::ConnectionLimit;
use crate::fetch::source::Source;
use crate::request::{Redirects, Request, range};
use crate::shortcut::Shortcut;
use crate::status::{judge, judge_range};
use crate::transport::Transport;
use crate::upstreams::Upstreams;

impl Upstreams {
    /// The bytes of the file at `url`, in order.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the file is not given. No error tells the URL: who knows it may read the file.
    pub async fn archive(&self, url: Url) -> Result<InOrder, Error> {
        let transport = Arc::clone(self.transport());
        InOrder::begin(Archive { transport, url, limit: self.limit(), ranges: Shortcut::default() }).await
    }
}

#[derive(Clone)]
struct Archive {
    transport: Arc<Transport>,
    url: Url,
    limit: ConnectionLimit,
    ranges: Shortcut,
}

impl Archive {
    async fn ask_whole(&self) -> Result<reqwest::Response, Error> {
        let response = self.ask(HeaderMap::new()).await?;
        let status = response.status();
        judge(response).map_err(|_| Error::unavailable(format!("the archive is answered with {status}")))
    }

    async fn ask(&self, headers: HeaderMap) -> Result<reqwest::Response, Error> {
        let request = Request::new(Method::GET, self.url.clone(), headers, AddressPolicy::Any);
        Ok(self.transport.send(request.with_redirects(Redirects::Return)).await?)
    }
}

/// Without the URL, which is signed.
impl fmt::Display for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the archive")
    }
}

impl Source for Archive {
    fn limit(&self) -> &ConnectionLimit {
        &self.limit
    }

    fn ranges(&self) -> &Shortcut {
        &self.ranges
    }

    async fn open(&self, offset: u64) -> Result<BlobBody, Error> {
        if offset > 0 {
            let response = judge_range(self.ask(range(offset, None)).await?)?;
            return BlobBody::ranged(response, &(offset..u64::MAX));
        }
        let response = self.ask_whole().await?;
        // Without a digest to ask, what is said of it has to be believed.
        let codings = Codings::read(response.headers());
        Ok(if codings.is_none() {
            BlobBody::whole(response)
        } else {
            BlobBody::packed(response, codings, None)
        })
    }

    async fn open_part(&self, part: Range<u64>) -> Result<BlobBody, Error> {
        part_of(judge_range(self.ask(range(part.start, Some(part.end))).await?)?, &part)
    }
}
