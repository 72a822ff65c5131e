//! The registries behind hubcap.

use hubcap_admin::Status;
use hubcap_oci::{Reference, Repository};
use hubcap_upstream::{Error, Upstream};

use super::finding::{Finding, State};
use crate::compose;
use crate::settings::Config;

/// Sends one HEAD to each configured registry, which no rate limit counts.
pub(super) fn look(config: &Config, status: Option<&Status>) -> Vec<Finding> {
    if config.offline || status.is_some_and(|status| status.daemon.offline) {
        let says = "offline: none is asked, what is not stored is not found";
        return vec![Finding::new(State::Note, "registries", says)];
    }
    let (Ok(upstreams), Ok(runtime)) = (compose::upstreams(config), compose::runtime()) else {
        return Vec::new();
    };
    runtime.block_on(async {
        let asked = config.upstreams.iter().filter_map(|one| upstreams.get(&one.registry));
        let asked: Vec<_> = asked.map(|upstream| tokio::spawn(registry(upstream))).collect();
        let mut found = Vec::new();
        for one in asked {
            found.extend(one.await);
        }
        found
    })
}

async fn registry(upstream: Upstream) -> Finding {
    let name = upstream.registry().clone();
    // On Docker Hub an image that is there, since its answer tells the rate limit.
    let image = if name.is_docker_hub() { "library/alpine" } else { "hubcap/doctor" };
    let (Ok(repository), Ok(tag)) = (image.parse::<Repository>(), "latest".parse()) else {
        return Finding::new(State::Note, "registries", format!("{name} was not asked"));
    };
    let answer = upstream.manifest_digest(&repository, &Reference::Tag(tag)).await;
    let left =
        upstream.rate_limit().map(|limit| format!(", {} of {} pulls are left", limit.remaining, limit.limit));
    let says = format!("{name} answers{}", left.unwrap_or_default());
    match answer {
        Ok(_) | Err(Error::NotFound | Error::Denied { .. } | Error::Refused { .. }) => {
            Finding::new(State::Fine, "registries", says)
        }
        Err(error @ Error::RateLimited { .. }) => {
            let says = format!("{name}: {error}; what is stored is served");
            Finding::new(State::Note, "registries", says).remedy("log in: HUBCAP_LOGIN, or docker login")
        }
        Err(error) => Finding::new(State::Broken, "registries", format!("{name} does not answer: {error}"))
            .remedy(format!(
                "have the network reach {name}; what is stored is served meanwhile (--offline says so)"
            )),
    }
}
