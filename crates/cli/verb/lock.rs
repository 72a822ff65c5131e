//! `hubcap lock`: writes the digests of tags to a lock file, or compares them with one.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use hubcap_oci::ImageRef;
use hubcap_store::{Layout, StoredImage};

use crate::args;
use crate::compose;
use crate::daemon::run::Run;
use crate::lockfile::{Lock, Locked};
use crate::settings::Config;
use crate::show::strangers::say;

pub(crate) fn run(config: &Config, flags: &args::Lock) -> anyhow::Result<ExitCode> {
    let images = chosen(config, flags)?;
    if images.is_empty() {
        bail!(
            "there is nothing to lock: no tag in {} was used; --all locks all that are there",
            config.store.display()
        );
    }
    let lock = Lock::new(images);
    if flags.check {
        return check(&lock, &flags.output);
    }
    lock.write(&flags.output)?;
    say!("{} images in {}", lock.images.len(), flags.output.display());
    Ok(ExitCode::SUCCESS)
}

/// Prints what the lock's file says otherwise. Exits with 1 when it does.
fn check(lock: &Lock, file: &Path) -> anyhow::Result<ExitCode> {
    let drift = drift(&Lock::read(file)?, lock);
    if drift.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    for line in drift {
        say!("{line}");
    }
    eprintln!("hubcap: {} differs from the store; `hubcap lock` rewrites it", file.display());
    Ok(ExitCode::FAILURE)
}

/// The tags to lock, and their digests in the store.
fn chosen(config: &Config, flags: &args::Lock) -> anyhow::Result<BTreeMap<String, Locked>> {
    let layout = Layout::at(&config.store);
    let mut tagged = BTreeMap::new();
    for image in layout.images()? {
        if let Some(tag) = &image.tag {
            tagged.insert(format!("{}:{tag}", image.target), image);
        }
    }
    if !flags.images.is_empty() {
        let wanted: Vec<String> = flags.images.iter().map(ImageRef::to_string).collect();
        if let Some(missing) = wanted.iter().find(|name| !tagged.contains_key(*name)) {
            bail!("{missing} is not in the store; pull it first");
        }
        tagged.retain(|name, _| wanted.contains(name));
    } else if !flags.all {
        let since = Run::latest(config).context("--all locks all tags in the store")?.since();
        let store = compose::store(config).context(
            "to tell what was used, the store is needed; --all, and images that are named, are not",
        )?;
        let used = store.used_since(since);
        store.close();
        tagged.retain(|name, _| used.contains(name));
    }
    Ok(tagged.into_iter().map(|(name, image)| (name, locked(&layout, &image))).collect())
}

fn locked(layout: &Layout, image: &StoredImage) -> Locked {
    let platforms = layout.offered(image);
    let platforms = platforms.into_iter().map(|(platform, digest)| (platform.to_string(), digest));
    Locked { digest: image.descriptor.digest, platforms: platforms.collect() }
}

/// The differences of `now` from the lock. A locked tag that was not used is none: a job may use fewer.
fn drift(locked: &Lock, now: &Lock) -> Vec<String> {
    let mut found = Vec::new();
    for (name, Locked { digest, .. }) in &now.images {
        match locked.images.get(name) {
            None => found.push(format!("{name} is not in the lock; it is {digest}")),
            Some(locked) if locked.digest != *digest => {
                found.push(format!("{name} is locked to {}, and is now {digest}", locked.digest));
            }
            Some(_) => {}
        }
    }
    found
}
