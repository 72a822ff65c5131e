//! `hubcap pull`: fills the store without any Docker.

use std::collections::HashSet;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, bail};
use hubcap_cache::{Access, Answer, BlobContent, Body, Cache, ManifestContent, Outcome, StoredBlob};
use hubcap_oci::{Descriptor, Digest, ImageRef, Manifest, Platform, Reference, Target, select};
use tokio::sync::{Semaphore, mpsc};

use crate::admin::client;
use crate::args::Pull;
use crate::compose;
use crate::settings::Config;
use crate::show::progress::{Progress, bytes};

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
    let runtime = compose::runtime()?;
    let failed = runtime.block_on(async {
        let store = match compose::store(config) {
            Err(error @ hubcap_store::Error::InUse { .. }) => {
                let what = (flags.images.as_slice(), flags.platform.as_slice());
                return by_daemon((config, error), what, |line| println!("{line}"));
            }
            opened => opened?,
        };
        let job = Job::new(compose::cache(store.clone(), config)?, flags.platform.clone(), Out::Terminal);
        let failed = job.all(&flags.images).await;
        store.close();
        Ok(failed)
    })?;
    if failed > 0 {
        eprintln!("hubcap: {failed} of {} images could not be pulled", flags.images.len());
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Fetches what is missing of one image; what it has to say goes to standard error.
pub(crate) fn fetch(config: &Config, image: &ImageRef, platform: &Platform) -> anyhow::Result<()> {
    let runtime = compose::runtime()?;
    runtime.block_on(async {
        let store = match compose::store(config) {
            Err(error @ hubcap_store::Error::InUse { .. }) => {
                let what = (std::slice::from_ref(image), std::slice::from_ref(platform));
                let failed = by_daemon((config, error), what, |line| eprintln!("{line}"))?;
                anyhow::ensure!(failed == 0, "the daemon that has the store could not fetch it");
                return Ok(());
            }
            opened => opened?,
        };
        let cache = compose::cache(store.clone(), config)?;
        let fetched = Job::new(cache, vec![platform.clone()], Out::Terminal).image(image).await;
        store.close();
        fetched.map(drop)
    })
}

/// The daemon that has the store fills it. How many images could not be pulled.
fn by_daemon(
    (config, held): (&Config, hubcap_store::Error),
    (images, platforms): (&[ImageRef], &[Platform]),
    say: impl FnMut(&str),
) -> anyhow::Result<usize> {
    let daemon = client::status(&config.state).ok().filter(|status| status.store == config.store);
    if daemon.is_none() {
        return Err(anyhow::Error::new(held)
            .context("the hubcap that has it does not answer in this --state: pull through it, or stop it"));
    }
    let images = images.iter().map(ToString::to_string).collect();
    let platforms = platforms.iter().map(ToString::to_string).collect();
    client::pull(&config.state, (images, platforms), say)
}

/// Where a pull tells what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Out {
    /// Lines on standard output, and bars where there is a terminal.
    Terminal,
    /// Lines for [`Job::lines`].
    Channel,
}

/// A pull of some images.
#[derive(Clone)]
pub(crate) struct Job {
    cache: Cache,
    platforms: Vec<Platform>,
    places: Arc<Semaphore>,
    /// A layer that two images share is one fetch, and is counted once.
    seen: Arc<Mutex<HashSet<Digest>>>,
    progress: Progress,
    out: Option<mpsc::UnboundedSender<String>>,
}

impl Job {
    /// For these platforms; for this machine's where none is named.
    pub(crate) fn new(cache: Cache, mut platforms: Vec<Platform>, out: Out) -> Self {
        if platforms.is_empty() {
            platforms.push(Platform::host());
        }
        let progress = if out == Out::Terminal { Progress::new() } else { Progress::silent() };
        let (places, seen) = (Arc::new(Semaphore::new(PARALLEL)), Arc::default());
        Self { cache, platforms, places, seen, progress, out: None }
    }

    /// The lines that it would print; they end with the last clone of the job.
    pub(crate) fn lines(&mut self) -> mpsc::UnboundedReceiver<String> {
        let (out, lines) = mpsc::unbounded_channel();
        self.out = Some(out);
        lines
    }

    fn say(&self, line: String) {
        match &self.out {
            // Who listened may be gone.
            Some(out) => drop(out.send(line)),
            None => println!("{line}"),
        }
    }

    /// Pulls every image; how many could not be pulled.
    pub(crate) async fn all(&self, images: &[ImageRef]) -> usize {
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
                    self.say(format!("{image}  {digest}  {}", told(tally)));
                }
                Err(error) => {
                    failed += 1;
                    self.say(format!("{image}  failed: {error:#}"));
                }
            }
        }
        self.say(format!("total: {}, in {:.1} s", told(total), started.elapsed().as_secs_f64()));
        failed
    }

    async fn image(&self, image: &ImageRef) -> anyhow::Result<(Digest, Tally)> {
        let target = Target { registry: image.registry.clone(), repository: image.repository.clone() };
        let access = Access::anonymous(target);
        let mut tally = Tally::default();
        let top = self.manifest(&access, &image.reference, &mut tally).await?;
        let mut blobs = top.links.blobs.clone();
        for child in children(&top, &self.platforms)? {
            let manifest = self.manifest(&access, &Reference::Digest(child), &mut tally).await?;
            if manifest.links.blobs.is_empty() {
                bail!("{child} is an index in an index, which no platform can run");
            }
            blobs.extend(manifest.links.blobs.iter().cloned());
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
    ) -> anyhow::Result<Arc<Manifest>> {
        let answer = self.cache.manifest(access, reference).await;
        let Answer { value: ManifestContent { manifest, .. }, outcome } =
            answer.map_err(|failure| failure.error).with_context(|| format!("manifest {reference}"))?;
        tally.count(outcome, manifest.descriptor.size);
        Ok(manifest)
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

/// The manifests of an index for these platforms; an image that is no index has none.
fn children(top: &Manifest, platforms: &[Platform]) -> Result<Vec<Digest>, select::NotOffered> {
    match top.links.manifests.as_slice() {
        [] => Ok(Vec::new()),
        manifests => select::for_platforms(manifests, platforms),
    }
}

fn told(Tally { fetched, stored }: Tally) -> String {
    format!("fetched {fetched} bytes, {stored} bytes already in the store")
}
