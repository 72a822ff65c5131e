//! end-3: `GET` and `HEAD /v2/<name>/manifests/<reference>`.

use http::{Method, StatusCode};
use hubcap_cache::{Answer, Cache};
use hubcap_oci::Reference;

use crate::api::blob::stream;
use crate::api::error::failed;
use crate::api::{Asked, DIGEST, Reply};

pub(crate) async fn answer(cache: &Cache, asked: &Asked<'_>, reference: &Reference) -> Reply {
    let Answer { value, outcome } = match cache.manifest(&asked.access, reference).await {
        Ok(answer) => answer,
        Err(failure) => return failed(&failure, asked),
    };
    // A HEAD is a look; a client that GETs a manifest is about to pull.
    if asked.parts.method == Method::GET {
        cache.read_ahead(&asked.access, &value);
    }
    let descriptor = &value.manifest.descriptor;
    let body = cache.manifest_body(&value).map_or_else(|| value.bytes.clone().into(), stream);
    Reply::new(StatusCode::OK, outcome).with(DIGEST, descriptor.digest.to_string()).body(
        &descriptor.media_type,
        descriptor.size,
        body,
    )
}
