//! end-12: `GET /v2/<name>/referrers/<digest>`.

use http::StatusCode;
use http::header::HeaderName;
use hubcap_cache::{Answer, Cache};
use hubcap_oci::referrer::write_list;
use hubcap_oci::{Digest, media_type};

use crate::api::error::failed;
use crate::api::held::held;
use crate::api::{Asked, Reply};

pub(crate) async fn answer(
    cache: &Cache,
    asked: &Asked<'_>,
    subject: &Digest,
    artifact_types: &[String],
) -> Reply {
    let Answer { value, outcome } = match cache.referrers(&asked.access, subject, artifact_types).await {
        Ok(answer) => answer,
        Err(failure) => return failed(&failure, asked),
    };
    let text = held(write_list(&value.referrers), value.memory);
    let reply = Reply::new(StatusCode::OK, outcome).body(media_type::OCI_INDEX, text.len() as u64, text);
    if artifact_types.is_empty() {
        return reply;
    }
    reply.with(HeaderName::from_static("oci-filters-applied"), "artifactType")
}
