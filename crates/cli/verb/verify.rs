//! `hubcap verify`: compares every content in the store with its digest.

use std::process::ExitCode;

use hubcap_cache::{Access, BlobRequest, Cache};
use hubcap_oci::{Digest, RangeRequest, Reference};
use hubcap_store::{Finding, Layout, Report, Store};

use crate::args::Verify;
use crate::compose;
use crate::settings::Config;
use crate::show::progress::{Progress, bytes};
use crate::show::strangers::say;

/// Exits with 1 when something was wrong, repaired or not.
pub(crate) fn run(config: &Config, flags: &Verify) -> anyhow::Result<ExitCode> {
    let store = match flags.repair {
        // Repairing changes what a daemon counts on; looking does not.
        true => Some(compose::store(config)?),
        false => None,
    };
    let layout = Layout::at(&config.store);
    let total = layout.total();
    let progress = Progress::new();
    let bar = progress.bar("verifying", total);
    let Report { contents, bytes: read, findings } = layout.verify(|read| bar.inc(read))?;
    bar.finish_and_clear();
    for finding in &findings {
        say!("{finding}");
    }
    say!("{contents} contents, {}: {}", bytes(read), verdict(findings.len()));
    if let Some(store) = store {
        let runtime = compose::runtime()?;
        runtime.block_on(repair(&store, config, &findings))?;
        store.close();
    }
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn verdict(count: usize) -> String {
    match count {
        0 => "all right".into(),
        1 => "1 thing is wrong".into(),
        count => format!("{count} things are wrong"),
    }
}

/// Quarantines what is damaged, and fetches what is missing then.
async fn repair(store: &Store, config: &Config, findings: &[Finding]) -> anyhow::Result<()> {
    let cache = compose::cache(store.clone(), config)?;
    for finding in findings {
        let (digest, is_manifest) = match finding {
            Finding::Content(digest) => {
                store.quarantine(digest);
                (digest, false)
            }
            Finding::Missing { digest, .. } => (digest, true),
            Finding::Foreign(path) => {
                Layout::remove_foreign(path)?;
                say!("{path:?} is removed");
                continue;
            }
            Finding::File { path, .. } => {
                say!("{} is rewritten", path.display());
                continue;
            }
        };
        match fetch(&cache, store, digest, is_manifest).await {
            Ok(()) => say!("{digest} is fetched again"),
            Err(why) => {
                say!("{digest} is quarantined, and fetched with the next pull that needs it: {why}")
            }
        }
    }
    Ok(())
}

/// Fetches a content, or a manifest, from any repository that is known to have it.
///
/// # Errors
/// Why the last one that was asked did not give it.
async fn fetch(cache: &Cache, store: &Store, digest: &Digest, is_manifest: bool) -> Result<(), String> {
    let mut why = "no repository is known to have it".to_owned();
    for target in store.targets(digest) {
        let is_manifest = is_manifest || store.is_manifest(&target, digest);
        let access = Access::anonymous(target);
        let fetched = if is_manifest {
            cache.manifest(&access, &Reference::Digest(*digest)).await.map(drop)
        } else {
            match cache.blob(&access, digest, BlobRequest::Get(RangeRequest::Whole)).await {
                Ok(answer) => {
                    let mut content = answer.value.into_content().ok_or("there is no room for it")?;
                    content.settled().await.map_err(|error| error.to_string())?;
                    Ok(())
                }
                Err(failure) => Err(failure),
            }
        };
        match fetched {
            Ok(()) => return Ok(()),
            Err(failure) => why = failure.error.to_string(),
        }
    }
    Err(why)
}
