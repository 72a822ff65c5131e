//! The daemon, its store, and the registries behind it.

use std::path::Path;

use hubcap_clients::Journal;
use hubcap_oci::{Reference, Repository};
use hubcap_store::{Layout, Limit};
use hubcap_upstream::{Error, Upstream};

use super::finding::{Finding, State};
use crate::admin::Status;
use crate::compose;
use crate::daemon::answers;
use crate::settings::Config;
use crate::show::progress::bytes;

pub(super) fn look(config: &Config, status: Option<&Status>) -> Vec<Finding> {
    let mut found = vec![daemon(config, status)];
    found.extend(store(status.map_or(&config.store, |status| &status.store), config));
    if config.offline || status.is_some_and(|status| status.offline) {
        found.push(Finding::new(
            State::Note,
            "registries",
            "offline: none is asked, what is not stored is not found",
        ));
    } else {
        found.extend(registries(config));
    }
    found
}

fn daemon(config: &Config, status: Option<&Status>) -> Finding {
    let Some(status) = status else {
        let is_configured =
            |name| Journal::open(&config.state, name).is_ok_and(|journal| !journal.is_empty());
        let all = hubcap_clients::all();
        let configured: Vec<&str> =
            all.iter().filter(|client| is_configured(client.name())).map(|client| client.title()).collect();
        let state = config.state.display();
        return if configured.is_empty() {
            Finding::new(State::Note, "daemon", format!("none runs from {state}")).mend("hubcap up")
        } else {
            let says = format!(
                "none runs from {state}, but {} ask it first, each time in vain",
                configured.join(" and ")
            );
            Finding::new(State::Broken, "daemon", says).mend("hubcap up, or hubcap unset CLIENT")
        };
    };
    let says = format!("hubcap {} runs as {}", status.version, status.pid);
    match status.listen.map(|listen| (listen, answers::https(listen))) {
        Some((listen, Ok(_))) => {
            Finding::new(State::Fine, "daemon", format!("{says} and answers on https://{listen}"))
        }
        Some((listen, Err(why))) => {
            Finding::new(State::Broken, "daemon", format!("{says} but does not answer on {listen}: {why:#}"))
                .mend("hubcap down; hubcap up")
        }
        None => {
            Finding::new(State::Note, "daemon", format!("{says}, without HTTPS: dockerd cannot use it so"))
        }
    }
}

fn store(store: &Path, config: &Config) -> Vec<Finding> {
    let shown = store.display();
    if !store.exists() {
        return vec![Finding::new(State::Note, "store", format!("{shown} is not there yet"))];
    }
    let layout = Layout::at(store);
    let mut found = Vec::new();
    match layout.images() {
        Ok(images) => {
            let (count, size) = (images.len(), layout.total());
            let of = match config.max_size {
                Some(Limit::Bytes(most)) => format!(" of {}", bytes(most)),
                Some(part) => format!(" of {part} of the disk"),
                None => String::new(),
            };
            found.push(Finding::new(
                State::Fine,
                "store",
                format!("{shown}: {count} images, {}{of}", bytes(size)),
            ));
        }
        Err(error) => found.push(
            Finding::new(State::Broken, "store", error.to_string())
                .mend("hubcap down; hubcap verify --repair"),
        ),
    }
    let damaged = layout.quarantined_count();
    if damaged > 0 {
        let says = format!("{damaged} damaged contents are in quarantine/");
        found.push(Finding::new(State::Note, "store", says).mend(format!("rm -r {shown}/quarantine/*")));
    }
    if let Ok(disk) = rustix::fs::statvfs(store) {
        let (free, size) = (disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize);
        let least = match config.min_free {
            Limit::Bytes(least) => least,
            // Rounded to whole bytes.
            Limit::Part(part) => (size as f64 * part) as u64,
        };
        found.push(if free < least {
            let says = format!(
                "{} are free, less than --min-free: old images go, and new ones are not stored",
                bytes(free)
            );
            Finding::new(State::Note, "disk", says).mend("make room on the disk, or lower --min-free")
        } else {
            Finding::new(State::Fine, "disk", format!("{} are free", bytes(free)))
        });
    }
    found
}

/// One HEAD to each configured registry, which none counts.
fn registries(config: &Config) -> Vec<Finding> {
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
    let answer = upstream.head_manifest(&repository, &Reference::Tag(tag)).await;
    let left =
        upstream.rate_limit().map(|limit| format!(", {} of {} pulls are left", limit.remaining, limit.limit));
    let says = format!("{name} answers{}", left.unwrap_or_default());
    match answer {
        Ok(_) | Err(Error::NotFound | Error::Denied { .. }) => Finding::new(State::Fine, "registries", says),
        Err(error @ Error::RateLimited { .. }) => {
            let says = format!("{name}: {error}; what is stored is served");
            Finding::new(State::Note, "registries", says).mend("log in: HUBCAP_LOGIN, or docker login")
        }
        Err(error) => Finding::new(State::Broken, "registries", format!("{name} does not answer: {error}"))
            .mend(format!(
                "have the network reach {name}; what is stored is served meanwhile (--offline says so)"
            )),
    }
}
