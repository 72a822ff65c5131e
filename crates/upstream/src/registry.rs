//! A registry as its client: end-2, end-3, end-8 and end-12 of the distribution specification.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method};
use hubcap_oci::{
    Algorithm, Descriptor, Digest, Endpoint, Manifest, Page, Reference, Registry, Repository, Tag, media_type,
};
use reqwest::Response;
use serde::Deserialize;
use url::Url;

use crate::address::AddressPolicy;
use crate::auth::{Auth, Who};
use crate::body::{self, BlobBody};
use crate::circuit::Circuit;
use crate::ratelimit::{RateLimit, retry_after};
use crate::transport::{Request, Transport, is_redirect};
use crate::{Error, Secret, UpstreamConfig, link};

/// Pages of a referrers list that are read; a list that is longer is cut.
const MAX_PAGES: usize = 16;
/// A page of tags or referrers.
const MAX_LIST: usize = 4 << 20;

/// A registry that we may pull from; a clone is another handle of the same one.
#[derive(Debug, Clone)]
pub struct Upstream {
    inner: Arc<Inner>,
    who: Who,
}

#[derive(Debug)]
struct Inner {
    registry: Registry,
    url: Url,
    policy: AddressPolicy,
    transport: Arc<Transport>,
    auth: Auth,
    circuit: Circuit,
    rate_limit: Mutex<Option<RateLimit>>,
}

/// What the headers of a manifest say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestHead {
    /// Its digest, where the upstream tells it.
    pub digest: Option<Digest>,
    /// Its media type.
    pub media_type: Option<String>,
    /// Its length in bytes.
    pub size: Option<u64>,
}

/// A manifest as it came; its digest is not checked here.
#[derive(Debug, Clone)]
pub struct ManifestBody {
    /// At most 4 MiB.
    pub bytes: Bytes,
    /// What the upstream says it is.
    pub media_type: Option<String>,
}

/// A page of tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagList {
    /// In the upstream's order.
    pub tags: Vec<String>,
    /// What to ask for next.
    pub next: Option<Page>,
}

impl Upstream {
    pub(crate) fn new(
        config: UpstreamConfig,
        transport: Arc<Transport>,
        policy: AddressPolicy,
    ) -> Result<Self, Error> {
        let UpstreamConfig { registry, mut url, credentials } = config;
        let bad = |why: &str| Error::Config { why: format!("the address of upstream {registry} {why}") };
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(bad("must begin with http:// or https:// and name a host"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("must not contain a login; use username and password"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(bad("must not have a query or a fragment"));
        }
        // So that the endpoints' paths can be put behind it.
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        let auth = Auth::new(url.clone(), credentials);
        let (circuit, rate_limit) = (Circuit::default(), Mutex::default());
        let inner = Arc::new(Inner { registry, url, policy, transport, auth, circuit, rate_limit });
        Ok(Self { inner, who: Who::Own })
    }

    /// The same registry, asked with a client's own Authorization instead of hubcap's.
    pub fn for_client(&self, authorization: Secret) -> Self {
        Self { inner: Arc::clone(&self.inner), who: Who::Client(authorization) }
    }

    /// The same registry, asked without any login.
    pub fn for_anybody(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), who: Who::Anonymous }
    }

    /// Where its API is, and the client for it.
    pub(crate) fn passage(&self) -> Result<(&Url, &reqwest::Client), Error> {
        Ok((&self.inner.url, self.inner.transport.client(&self.inner.url, self.inner.policy)?))
    }

    /// The registry's name.
    pub fn registry(&self) -> &Registry {
        &self.inner.registry
    }

    pub(crate) fn prepare(&self) {
        self.inner.transport.prepare(&self.inner.url, self.inner.policy);
    }

    /// Whether what this handle gets may be more than anybody would.
    pub async fn is_privileged(&self) -> bool {
        match &self.who {
            Who::Own => self.inner.auth.has_login().await,
            Who::Anonymous => false,
            Who::Client(_) => true,
        }
    }

    /// The limit that the upstream told with its last answer that told one.
    pub fn rate_limit(&self) -> Option<RateLimit> {
        *self.inner.rate_limit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// end-3, HEAD: free of the rate limit on Docker Hub.
    ///
    /// # Errors
    /// [`Error`]; see its variants.
    pub async fn head_manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<ManifestHead, Error> {
        let endpoint = Endpoint::Manifest { repository: repository.clone(), reference: reference.clone() };
        let response = match self.ask(Method::HEAD, &endpoint, manifest_headers()).await {
            // What it redirects to is signed for GETs alone.
            Err(Error::Elsewhere { .. }) => {
                let ManifestBody { bytes, media_type } = self.manifest(repository, reference).await?;
                let digest = Some(Digest::of(Algorithm::Sha256, &bytes));
                return Ok(ManifestHead { digest, media_type, size: Some(bytes.len() as u64) });
            }
            answered => answered?,
        };
        let digest = response.headers().get("docker-content-digest");
        Ok(ManifestHead {
            digest: digest.and_then(|value| value.to_str().ok()?.parse().ok()),
            media_type: content_type(&response),
            size: body::content_length(&response),
        })
    }

    /// end-3, GET: what a rate limit counts.
    ///
    /// # Errors
    /// [`Error::Invalid`] for more than [`Manifest::MAX_SIZE`].
    pub async fn manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<ManifestBody, Error> {
        let endpoint = Endpoint::Manifest { repository: repository.clone(), reference: reference.clone() };
        let response = self.ask(Method::GET, &endpoint, manifest_headers()).await?;
        let media_type = content_type(&response);
        let bytes = body::whole(response, Manifest::MAX_SIZE).await?;
        Ok(ManifestBody { bytes, media_type })
    }

    /// end-2, HEAD: the blob's length, where the upstream tells it.
    ///
    /// # Errors
    /// [`Error`]; see its variants.
    pub async fn head_blob(&self, repository: &Repository, digest: &Digest) -> Result<Option<u64>, Error> {
        let endpoint = Endpoint::Blob { repository: repository.clone(), digest: *digest };
        match self.ask(Method::HEAD, &endpoint, HeaderMap::new()).await {
            // What it redirects to is signed for GETs alone. One byte tells the length as well.
            Err(Error::Elsewhere { .. }) => {
                let response = self.ask(Method::GET, &endpoint, range("bytes=0-0")).await?;
                Ok(BlobBody::new(response, 0..1)?.size)
            }
            answered => Ok(body::content_length(&answered?)),
        }
    }

    /// end-2, GET, from byte `offset` on. An upstream that ignores ranges begins at 0; the body says so.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an answer that is not the range that was asked for.
    pub async fn blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        offset: u64,
    ) -> Result<BlobBody, Error> {
        let endpoint = Endpoint::Blob { repository: repository.clone(), digest: *digest };
        let headers = if offset > 0 { range(&format!("bytes={offset}-")) } else { HeaderMap::new() };
        BlobBody::new(self.ask(Method::GET, &endpoint, headers).await?, offset..u64::MAX)
    }

    /// end-2, GET, some bytes of a blob, over a connection that is one more than needed: what an upstream says
    /// against it does not count against the upstream.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an answer that is not the range that was asked for.
    pub async fn blob_part(
        &self,
        repository: &Repository,
        digest: &Digest,
        part: std::ops::Range<u64>,
    ) -> Result<BlobBody, Error> {
        let endpoint = Endpoint::Blob { repository: repository.clone(), digest: *digest };
        let headers = range(&format!("bytes={}-{}", part.start, part.end - 1));
        let request = self.request(Method::GET, self.url(&endpoint)?, headers);
        body::part_of(self.with_token(request, repository, true).await?, &part)
    }

    /// end-8: a page of tags.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is not a list.
    pub async fn tags(&self, repository: &Repository, page: &Page) -> Result<TagList, Error> {
        #[derive(Deserialize)]
        struct List {
            // Some registries say null for none.
            tags: Option<Vec<String>>,
        }
        let endpoint = Endpoint::Tags { repository: repository.clone(), page: page.clone() };
        let response = self.ask(Method::GET, &endpoint, HeaderMap::new()).await?;
        let next = link::next(response.headers(), &self.url(&endpoint)?);
        let bytes = body::whole(response, MAX_LIST).await?;
        let list: List = serde_json::from_slice(&bytes)
            .map_err(|_| Error::invalid("the list of tags is not the JSON of one"))?;
        let tags = list.tags.unwrap_or_default();
        let next = next.map(|url| {
            let mut next = link::page(&url);
            // A registry that pages with a mark of its own (GHCR, Quay) goes on after the last tag as well.
            next.last = next.last.or_else(|| tags.last().cloned());
            next
        });
        Ok(TagList { tags, next })
    }

    /// end-12: who refers to `digest`. A registry without this endpoint is asked by the tag schema.
    ///
    /// # Errors
    /// [`Error`]; not being found is an empty list.
    pub async fn referrers(
        &self,
        repository: &Repository,
        digest: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, Error> {
        let mut found = match self.referrers_api(repository, digest, artifact_type).await {
            Err(Error::NotFound) => self.referrers_tag(repository, digest).await?,
            answered => answered?,
        };
        found.retain(|one| artifact_type.is_none_or(|wanted| one.artifact_type.as_deref() == Some(wanted)));
        Ok(found)
    }

    async fn referrers_api(
        &self,
        repository: &Repository,
        digest: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, Error> {
        let artifact_type = artifact_type.map(Into::into);
        let endpoint = Endpoint::Referrers { repository: repository.clone(), digest: *digest, artifact_type };
        let mut url = self.url(&endpoint)?;
        let mut found = Vec::new();
        for _ in 0..MAX_PAGES {
            // Not followed: GHCR redirects to a web page that is no registry's answer.
            let request = self.request(Method::GET, url.clone(), HeaderMap::new());
            let response = self.authorized(request, repository, false).await?;
            if is_redirect(response.status())
                || content_type(&response).as_deref() != Some(media_type::OCI_INDEX)
            {
                return Err(Error::NotFound);
            }
            let next = link::next(response.headers(), &url);
            let bytes = body::whole(response, MAX_LIST).await?;
            found.extend(read_index(&bytes)?);
            match next {
                // Nowhere else: the Authorization goes along.
                Some(next) if next.origin() == self.inner.url.origin() => url = next,
                _ => break,
            }
        }
        Ok(found)
    }

    /// distribution-spec, "Unavailable Referrers API": the tag `<alg>-<hash>`.
    async fn referrers_tag(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Vec<Descriptor>, Error> {
        let mut tag = format!("{}-{}", digest.algorithm().name(), digest.hex());
        tag.truncate(128);
        let Ok(tag) = tag.parse::<Tag>() else { return Ok(Vec::new()) };
        match self.manifest(repository, &Reference::Tag(tag)).await {
            Ok(manifest) => read_index(&manifest.bytes),
            Err(Error::NotFound) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn url(&self, endpoint: &Endpoint) -> Result<Url, Error> {
        let base = self.inner.url.as_str().trim_end_matches('/');
        Url::parse(&format!("{base}{}", endpoint.path())).map_err(|error| Error::invalid(error.to_string()))
    }

    fn request(&self, method: Method, url: Url, headers: HeaderMap) -> Request {
        Request { method, url, headers, policy: self.inner.policy }
    }

    async fn ask(&self, method: Method, endpoint: &Endpoint, headers: HeaderMap) -> Result<Response, Error> {
        let url = self.url(endpoint)?;
        let Some(repository) = endpoint.repository() else {
            return Err(Error::invalid("no repository is asked"));
        };
        self.authorized(self.request(method, url, headers), repository, true).await
    }

    /// Sends a request with the Authorization that its repository needs, and reads the status.
    async fn authorized(
        &self,
        request: Request,
        repository: &Repository,
        follow: bool,
    ) -> Result<Response, Error> {
        self.inner.circuit.check(Instant::now())?;
        let result = self.with_token(request, repository, follow).await;
        self.inner.circuit.record(&result, Instant::now());
        result
    }

    async fn with_token(
        &self,
        request: Request,
        repository: &Repository,
        follow: bool,
    ) -> Result<Response, Error> {
        let Inner { transport, auth, policy, .. } = &*self.inner;
        let scope = format!("repository:{repository}:pull");
        let who = (&self.who, scope.as_str());
        let (mut last, mut signed_again) = (false, false);
        loop {
            let mut request = request.clone();
            let authorization = auth.authorization(transport, who).await?;
            if let Some(authorization) = &authorization {
                request.headers.insert(header::AUTHORIZATION, authorization.clone());
            }
            let (method, origin) = (request.method.clone(), request.url.origin());
            let response = if follow {
                transport.send_following(request).await?
            } else {
                transport.send(request).await?
            };
            if let Some(limit) = RateLimit::read(response.headers()) {
                *self.inner.rate_limit.lock().unwrap_or_else(PoisonError::into_inner) = Some(limit);
            }
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
            let silent = !response.headers().contains_key(header::WWW_AUTHENTICATE);
            let again = if silent && !matches!(self.who, Who::Client(_)) {
                // gcr.io tells what it wants only there (end-1).
                let version = self.request(Method::GET, self.url(&Endpoint::Version)?, HeaderMap::new());
                let told = transport.send(version).await?;
                auth.challenged((&told, *policy), who, authorization.as_ref())
            } else {
                auth.challenged((&response, *policy), who, authorization.as_ref())
            };
            if !again {
                return judge(response);
            }
        }
    }
}

/// What a status means; the one place for that.
fn judge(response: Response) -> Result<Response, Error> {
    match response.status().as_u16() {
        200 | 206 => Ok(response),
        status if is_redirect(response.status()) => {
            tracing::debug!(target: "hubcap::upstream", status, "a redirect that is not followed");
            Ok(response)
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

pub(crate) fn range(value: &str) -> HeaderMap {
    let value = HeaderValue::from_str(value).ok();
    value.into_iter().map(|value| (header::RANGE, value)).collect()
}

fn manifest_headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.extend(media_type::MANIFESTS.map(|text| (header::ACCEPT, HeaderValue::from_static(text))));
    headers
}

fn content_type(response: &Response) -> Option<String> {
    let value = response.headers().get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim().to_owned())
}

fn read_index(bytes: &[u8]) -> Result<Vec<Descriptor>, Error> {
    #[derive(Deserialize)]
    struct Index {
        #[serde(default)]
        manifests: Vec<Descriptor>,
    }
    let index: Index =
        serde_json::from_slice(bytes).map_err(|_| Error::invalid("the list of referrers is not an index"))?;
    Ok(index.manifests)
}
