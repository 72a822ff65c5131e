//! The registries behind hubcap.

use hubcap_admin::Status;
use hubcap_oci::{Reference, Repository};
use hubcap_upstream::{CircuitState, Error, Upstream};

use super::finding::{Finding, State};
use super::subject::Subject;
use crate::compose;
use crate::show::progress::bytes;

/// Sends one HEAD to each origin of each registry that the daemon is configured for, which no rate limit counts.
pub(super) fn look(subject: &Subject) -> Vec<Finding> {
    let (config, status) = (&subject.settings, subject.status());
    if config.offline {
        let says = "offline: none is asked, what is not stored is not found";
        return vec![Finding::new(State::Note, "registries", says)];
    }
    let opened = compose::upstreams(config).map_err(anyhow::Error::from);
    let (upstreams, runtime) = match opened.and_then(|upstreams| Ok((upstreams, compose::runtime()?))) {
        Ok(opened) => opened,
        Err(error) => {
            return vec![Finding::new(
                State::Broken,
                "registries",
                format!("they were not asked: {error:#}"),
            )];
        }
    };
    runtime.block_on(async {
        let asked = config.upstreams.iter().filter_map(|one| upstreams.get(&one.registry));
        let asked = asked.flat_map(|upstream| {
            let is_one_of_several = upstream.has_others();
            upstream.each().map(move |origin| (origin, is_one_of_several)).collect::<Vec<_>>()
        });
        let asked: Vec<_> = asked
            .map(|(origin, is_one_of_several)| {
                let seen = seen_by_daemon(&origin, status);
                tokio::spawn(registry(origin, is_one_of_several, seen))
            })
            .collect();
        let mut found = Vec::new();
        for one in asked {
            found.extend(one.await);
        }
        found
    })
}

/// What the daemon has seen of an origin, in words.
fn seen_by_daemon(upstream: &Upstream, status: Option<&Status>) -> String {
    let registry = status.and_then(|status| status.meter.registries.get(upstream.registry().as_str()));
    let url = upstream.origins().pop().map(|origin| origin.url);
    let origin =
        registry.and_then(|registry| registry.origins.iter().find(|one| Some(&one.url) == url.as_ref()));
    let Some(origin) = origin else { return String::new() };
    let speed = origin.speed.map(|speed| format!(", {}/s lately", bytes(speed)));
    let circuit = match &origin.circuit {
        CircuitState::Closed => String::new(),
        CircuitState::Open { why, seconds } => {
            format!("; the daemon does not ask it for {seconds} s: {why}")
        }
        CircuitState::HalfOpen { why } => format!("; the daemon tries it again: {why}"),
    };
    format!("{}{circuit}", speed.unwrap_or_default())
}

async fn registry(upstream: Upstream, is_one_of_several: bool, seen: String) -> Finding {
    let registry = upstream.registry().clone();
    let at = upstream.origins().pop().map(|origin| origin.url).filter(|_| is_one_of_several);
    let name = at.map_or_else(|| registry.to_string(), |url| format!("{registry} at {url}"));
    // On Docker Hub an image that is there, since its answer tells the rate limit.
    let image = if registry.is_docker_hub() { "library/alpine" } else { "hubcap/doctor" };
    let (Ok(repository), Ok(tag)) = (image.parse::<Repository>(), "latest".parse()) else {
        return Finding::new(State::Note, "registries", format!("{name} was not asked"));
    };
    let answer = upstream.manifest_digest(&repository, &Reference::Tag(tag)).await;
    let left =
        upstream.rate_limit().map(|limit| format!(", {} of {} pulls are left", limit.remaining, limit.limit));
    let says = format!("{name} answers{}{seen}", left.unwrap_or_default());
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
