//! `hubcap pull`: fills the store without any Docker.

mod plan;

use std::collections::HashSet;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, bail};
use hubcap_cache::{Access, Answer, BlobContent, Body, Cache, ManifestContent, Outcome, StoredBlob};
use hubcap_oci::{Descriptor, Digest, ImageRef, Manifest, Platform, Reference, Target};
use hubcap_store::Store;
use tokio::sync::Semaphore;

use crate::args::Pull;
use crate::config::Config;
use crate::progress::{Progress, bytes};
use crate::serve;

/// Blobs at a time: as many as dockerd and podman take together.
const PARALLEL: usize = 6;

/// What came of an image.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    fetched: u64,
    stored: u64,
}

impl Tally {
    fn count(&mut self, outcome: Outcome, size: u64) {
        match outcome {
            Outcome::Miss | Outcome::Refreshed | Outcome::Collapsed | Outcome::Passed => self.fetched += size,
            _ => self.stored += size,
        }
    }

    fn add(&mut self, other: Self) {
        self.fetched += other.fetched;
        self.stored += other.stored;
    }
}

/// Pulls every image; one that fails does not keep the others from being pulled.
pub(crate) fn run(config: &Config, flags: &Pull) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let store = match Store::open(&config.store, config.store_options()) {
            Err(error @ hubcap_store::Error::Held { .. }) => {
                return Err(anyhow::Error::new(error)
                    .context("a running hubcap fills its store by itself: pull through it, or stop it"));
            }
            opened => opened?,
        };
        let job = Job {
            cache: serve::cache(store.clone(), config)?,
            platforms: if flags.platform.is_empty() {
                vec![Platform::host()]
            } else {
                flags.platform.clone()
            },
            places: Arc::new(Semaphore::new(PARALLEL)),
            // A layer that two images share is one fetch, and is counted once.
            seen: Arc::default(),
            progress: Progress::new(),
        };
        let code = job.all(&flags.images).await;
        store.close();
        Ok(code)
    })
}

#[derive(Clone)]
struct Job {
    cache: Cache,
    platforms: Vec<Platform>,
    places: Arc<Semaphore>,
    seen: Arc<Mutex<HashSet<Digest>>>,
    progress: Progress,
}

impl Job {
    async fn all(&self, images: &[ImageRef]) -> ExitCode {
        let started = Instant::now();
        let running: Vec<_> = images
            .iter()
            .map(|image| {
                let (job, image) = (self.clone(), image.clone());
                tokio::spawn(async move { job.image(&image).await })
            })
            .collect();
        let mut total = Tally::default();
        let mut failed = 0;
        for (image, running) in images.iter().zip(running) {
            match running.await.map_err(anyhow::Error::from).and_then(|done| done) {
                Ok((digest, tally)) => {
                    total.add(tally);
                    println!("{image}  {digest}  {}", told(tally));
                }
                Err(error) => {
                    failed += 1;
                    println!("{image}  failed: {error:#}");
                }
            }
        }
        println!("total: {}, in {:.1} s", told(total), started.elapsed().as_secs_f64());
        if failed > 0 {
            eprintln!("hubcap: {failed} of {} images could not be pulled", images.len());
            return ExitCode::FAILURE;
        }
        ExitCode::SUCCESS
    }

    async fn image(&self, image: &ImageRef) -> anyhow::Result<(Digest, Tally)> {
        let target = Target { registry: image.registry.clone(), repository: image.repository.clone() };
        let access = Access::anonymous(target);
        let mut tally = Tally::default();
        let top = self.manifest(&access, &image.reference, &mut tally).await?;
        let mut blobs = top.links.blobs.clone();
        for child in plan::children(&top, &self.platforms)? {
            let manifest = self.manifest(&access, &Reference::Digest(child), &mut tally).await?;
            if manifest.links.blobs.is_empty() {
                bail!("{child} is an index in an index, which no platform can run");
            }
            blobs.extend(manifest.links.blobs);
        }
        let running: Vec<_> = blobs
            .into_iter()
            .filter(|blob| self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(blob.digest))
            .map(|blob| {
                let (job, access) = (self.clone(), access.clone());
                tokio::spawn(async move { job.blob(&access, &blob).await })
            })
            .collect();
        for blob in running {
            tally.add(blob.await??);
        }
        Ok((top.descriptor.digest, tally))
    }

    async fn manifest(
        &self,
        access: &Access,
        reference: &Reference,
        tally: &mut Tally,
    ) -> anyhow::Result<Manifest> {
        let answer = self.cache.manifest(access, reference).await;
        let Answer { value: ManifestContent { descriptor, bytes }, outcome } =
            answer.map_err(|failure| failure.error).with_context(|| format!("manifest {reference}"))?;
        tally.count(outcome, descriptor.size);
        Ok(Manifest::parse(descriptor.digest, &bytes, Some(&descriptor.media_type))?)
    }

    async fn blob(&self, access: &Access, blob: &Descriptor) -> anyhow::Result<Tally> {
        let _place = self.places.acquire().await?;
        let digest = &blob.digest;
        let named = || format!("blob {digest}");
        let answer = self.cache.blob(access, digest, Body::Get).await;
        let Answer { value, outcome } = answer.map_err(|failure| failure.error).with_context(named)?;
        let BlobContent::Stored(StoredBlob { mut content, .. }) = value else {
            bail!("{digest} could not be stored: there is no room for it")
        };
        let name: String = digest.to_string().chars().take(19).collect();
        if outcome != (Outcome::Hit { ttl: None })
            && let Some(bar) = self.progress.bar(&name, blob.size)
        {
            let mut seen = 0;
            while seen < content.size().unwrap_or(blob.size) {
                seen = content.grown(seen).await.with_context(named)?;
                bar.set_position(seen);
            }
            bar.finish_and_clear();
        }
        let size = content.settled().await.with_context(named)?;
        let mut tally = Tally::default();
        tally.count(outcome, size);
        if tally.fetched > 0 {
            self.progress.line(&format!("{name}  {} fetched", bytes(size)));
        }
        Ok(tally)
    }
}

fn told(Tally { fetched, stored }: Tally) -> String {
    format!("fetched {fetched} bytes, {stored} bytes already in the store")
}
