//! end-3: `GET` and `HEAD /v2/<name>/manifests/<reference>`.

use http::{Method, StatusCode};
use hubcap_cache::{Answer, Cache};
use hubcap_oci::Reference;

use crate::api::error::{Noun, failed};
use crate::api::{Asked, DIGEST, Reply};

pub(crate) async fn answer(cache: &Cache, asked: &Asked<'_>, reference: &Reference) -> Reply {
    match cache.manifest(&asked.access, reference).await {
        Ok(Answer { value, outcome }) => {
            // A HEAD is a look; who GETs a manifest is about to pull.
            if asked.parts.method == Method::GET {
                cache.read_ahead(&asked.access, &value);
            }
            Reply::new(StatusCode::OK, outcome)
                .with(DIGEST, &value.descriptor.digest.to_string())
                .body(&value.descriptor.media_type, value.descriptor.size, value.bytes)
                .for_request(asked)
        }
        Err(failure) => failed(&failure, Noun::Manifest, asked),
    }
}
