//! end-12: `GET /v2/<name>/referrers/<digest>`.

use http::StatusCode;
use http::header::HeaderName;
use hubcap_cache::{Answer, Cache};
use hubcap_oci::{Digest, Referrer, media_type};

use crate::api::error::{Noun, failed};
use crate::api::{Asked, Reply};

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u32,
    media_type: &'static str,
    manifests: Vec<Referrer>,
}

pub(crate) async fn answer(
    cache: &Cache,
    asked: &Asked<'_>,
    subject: &Digest,
    artifact_types: &[String],
) -> Reply {
    let Answer { value, outcome } = match cache.referrers(&asked.access, subject, artifact_types).await {
        Ok(answer) => answer,
        Err(failure) => return failed(&failure, Noun::Name, asked),
    };
    let index = Index { schema_version: 2, media_type: media_type::OCI_INDEX, manifests: value };
    let text = serde_json::to_string(&index).unwrap_or_default();
    let reply = Reply::new(StatusCode::OK, outcome).json(media_type::OCI_INDEX, text);
    if artifact_types.is_empty() {
        return reply;
    }
    reply.with(HeaderName::from_static("oci-filters-applied"), "artifactType")
}
