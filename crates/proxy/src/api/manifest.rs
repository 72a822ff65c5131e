//! end-3: `GET` and `HEAD /v2/<name>/manifests/<reference>`.

use http::{Method, StatusCode};
use hubcap_cache::{Answer, Cache, ManifestContent};
use hubcap_oci::Reference;

use crate::api::error::{Noun, failed};
use crate::api::{Asked, DIGEST, Reply};

pub(crate) async fn answer(cache: &Cache, asked: &Asked<'_>, reference: &Reference) -> Reply {
    match cache.manifest(&asked.access, reference).await {
        Ok(answer) => found(cache, asked, answer),
        Err(failure) => failed(&failure, Noun::Manifest, asked),
    }
}

/// The same where nobody has to be asked; `None` where that is not so.
pub(crate) fn at_hand(cache: &Cache, asked: &Asked<'_>, reference: &Reference) -> Option<Reply> {
    cache.manifest_at_hand(&asked.access, reference).map(|answer| found(cache, asked, answer))
}

fn found(cache: &Cache, asked: &Asked<'_>, answer: Answer<ManifestContent>) -> Reply {
    let Answer { value, outcome } = answer;
    // A HEAD is a look; who GETs a manifest is about to pull.
    if asked.parts.method == Method::GET {
        cache.read_ahead(&asked.access, &value);
    }
    let descriptor = &value.manifest.descriptor;
    Reply::new(StatusCode::OK, outcome)
        .with(DIGEST, descriptor.digest.to_string())
        .body(&descriptor.media_type, descriptor.size, value.bytes)
        .for_request(asked)
}
