//! The leader's task: fetches a blob once and writes it. Clients only read what it has written, so none of them
//! can slow or cancel it. It ends when nobody has read it for a while.

pub(crate) mod asked;
mod coalesce;
pub(crate) mod stall;
mod write;

use std::sync::Arc;
use std::time::Duration;

use hubcap_oci::{Digest, Registry, Target};
use hubcap_store::{Aborter, Content, Ingest, Store};
use hubcap_upstream::{Fetch, Others, Permission, RegistryBlob, Upstream};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::access::Access;
use crate::authorization::Grants;
use crate::carry::carrier::Carrier;
use crate::error::Error;
use crate::flight::{Flights, LOOK, Publisher, Subscription, UNWANTED};
use crate::hint::hint;
use crate::meter::Meter;
use crate::on_disk::on_disk;
use crate::others::{may_be_stored, permission, permitted};
use crate::places::{Place, Places};
use crate::question::{Known, Question};
use crate::storage_warning::StorageWarning;
use asked::Asked;
use coalesce::Coalescer;
use stall::{Counted, Monitor, Stall};
use write::{RUN, write};

/// Fills at a time.
const FILLS: usize = 64;

/// Pieces between the network and the disk, of all fills together and of one: 64 KiB each at most, so memory stays flat.
const PIECES: usize = 64;
const MOST_PIECES: usize = 32;

/// A fill ends when nobody has read it for so long. dockerd tries again after 5 s, then after 10 s and 15 s more: it finds what
/// was fetched meanwhile.
const UNREAD: Duration = Duration::from_secs(20);
/// The longest time until the upstream's answer begins, of all requests for it together: an answer must begin within a minute.
const BEGIN: Duration = Duration::from_secs(30);

/// What a fill gives its requests: the content that it writes, or the one that was in the store after all.
#[derive(Clone)]
pub(crate) struct FillHandle {
    pub(crate) content: Content,
    /// What its clients have asked of the registry beside it.
    pub(crate) asked: Asked,
    pub(crate) stall: Stall,
    /// When its bytes began to come.
    pub(crate) begun: Instant,
    /// To whom the upstream gave it; to nobody, where it was in the store.
    pub(crate) leader: Option<Access>,
}

/// Why a fill did not begin.
#[derive(Clone)]
pub(crate) struct FillError {
    /// To whom the upstream, or the store, said so.
    pub(crate) access: Access,
    pub(crate) error: Error,
}

/// Fills blobs, each once for all requests that want it. A clone is another handle of the same one.
#[derive(Clone)]
pub(crate) struct Filler(Arc<Inner>);

struct Inner {
    store: Store,
    carrier: Arc<Carrier>,
    grants: Arc<Grants>,
    meter: Arc<Meter>,
    warning: Arc<StorageWarning>,
    flights: Flights<Key, Result<FillHandle, FillError>>,
    /// None is taken when no fill runs.
    places: Places,
}

/// What a fill is of.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    /// Nobody waits for another registry than the one that was asked for.
    registry: Registry,
    digest: Digest,
    /// For whom alone it is, since the one for all has stalled.
    alone: Option<Access>,
}

impl Filler {
    /// A filler of `store`, whose tasks run on `runtime`.
    pub(crate) fn new(
        store: Store,
        carrier: Arc<Carrier>,
        grants: Arc<Grants>,
        meter: Arc<Meter>,
        warning: Arc<StorageWarning>,
        runtime: Handle,
    ) -> Self {
        let (flights, places) = (Flights::new(runtime), Places::new(FILLS));
        Self(Arc::new(Inner { store, carrier, grants, meter, warning, flights, places }))
    }

    /// Whether a fill of this blob from this registry runs.
    pub(crate) fn is_running(&self, registry: &Registry, digest: &Digest) -> bool {
        self.0.flights.is_running(&Key { registry: registry.clone(), digest: *digest, alone: None })
    }

    /// Joins the fill of a blob from its registry, or starts it as this access, which `upstream` is asked with. Where that has
    /// stalled, the fill is one for this access alone: another repository, or another login, may have it sooner.
    pub(crate) fn join(
        &self,
        upstream: Upstream,
        access: &Access,
        digest: &Digest,
    ) -> Subscription<Result<FillHandle, FillError>> {
        let mut key = Key { registry: access.target.registry.clone(), digest: *digest, alone: None };
        if self.0.flights.is_of_no_use(&key, has_stalled) {
            key.alone = Some(access.clone());
        }
        self.join_key(key, upstream, access)
    }

    /// The same, but a fill for this access alone.
    pub(crate) fn join_alone(
        &self,
        upstream: Upstream,
        access: &Access,
        digest: &Digest,
    ) -> Subscription<Result<FillHandle, FillError>> {
        let alone = Some(access.clone());
        let key = Key { registry: access.target.registry.clone(), digest: *digest, alone };
        self.join_key(key, upstream, access)
    }

    fn join_key(
        &self,
        key: Key,
        upstream: Upstream,
        access: &Access,
    ) -> Subscription<Result<FillHandle, FillError>> {
        let (access, digest) = (access.clone(), key.digest);
        self.0
            .flights
            .join_unless(key, has_stalled, |publisher| self.clone().fill(upstream, access, digest, publisher))
    }

    /// Waits until no fill runs, for at most `patience`; false when some are abandoned. No fill begins after that.
    pub(crate) async fn drain(&self, patience: Duration) -> bool {
        self.0.places.close(patience).await
    }

    /// Fetches `digest` and stores it.
    async fn fill(
        self,
        upstream: Upstream,
        access: Access,
        digest: Digest,
        publisher: Publisher<Key, Result<FillHandle, FillError>>,
    ) {
        let Inner { store, carrier, meter, warning, places, .. } = &*self.0;
        if let Some(content) = self.filled_meanwhile(&access.target, &digest).await {
            let (asked, stall) = (Asked::default(), Stall::never());
            let begun = Instant::now();
            return publisher.finish(Ok(FillHandle { content, asked, stall, begun, leader: None }));
        }
        // What is uploaded to the job's cache meanwhile waits.
        let _pulling = carrier.pulling();
        let begun = tokio::select! {
            begun = self.begin(upstream, &access, digest) => begun,
            () = publisher.unwanted(UNWANTED) => {
                Err(Error::unavailable(format!("nobody has waited for it for {} s", UNWANTED.as_secs())))
            }
        };
        let (fetch, ingest, mut place) = match begun {
            Ok(begun) => begun,
            Err(error) => return publisher.finish(Err(FillError { access, error })),
        };
        let content = ingest.content(fetch.size());
        let mut transfer = meter.transfer(&access.target);
        if fetch.source().is_at_first() {
            transfer = transfer.sampled();
        }
        let running = places.taken().max(1);
        let (pieces, writer) = mpsc::channel((PIECES / running).clamp(1, MOST_PIECES));
        let (writer, brought) = Counted::new(writer);
        let monitor = Monitor::new(fetch.size(), brought);
        let (asked, stall, begun) = (Asked::default(), monitor.stall(), Instant::now());
        publisher.publish(Ok(FillHandle { content, asked, stall, begun, leader: Some(access.clone()) }));

        let aborter = ingest.aborter();
        let blob = fetch.source().clone();
        let (store, target) = (store.clone(), access.target.clone());
        // The more fills, the less each gathers of what is not next: memory stays flat.
        let coalescer = Coalescer::new(RUN / running as u64);
        let disk = {
            let aborter = aborter.clone();
            on_disk(move || {
                let written = write(ingest, writer, coalescer, |ingest| store.link_ingest(&target, ingest))
                    .map_err(Error::from);
                // At once: the network's side may be waiting for a connection that is silent. It has ended where only the
                // digest is wrong.
                let is_at_end = matches!(written, Err(Error::WrongContent { .. }));
                written.inspect_err(|error| {
                    if !is_at_end {
                        aborter.abort(error.clone());
                    }
                })
            })
        };
        let network = async {
            let streamed = tokio::select! {
                streamed = fetch.stream(&pieces) => streamed.map_err(Error::from),
                () = unread(&aborter, monitor, &mut place) => {
                    Err(Error::unavailable(format!("nobody has read it for {} s", UNREAD.as_secs())))
                }
            };
            drop(pieces);
            let first = streamed?;
            transfer.single_connection(first.bytes, first.elapsed);
            Ok(())
        };
        let (written, fetched) = tokio::join!(disk, network);
        let (length, from_cache) = (aborter.written(), blob.from_cache());
        transfer.fetched(length, from_cache);
        meter.filled(&digest, length.saturating_sub(from_cache), from_cache);
        drop(transfer);
        let target = &access.target;
        // Where the disk failed, the network's failure is only that nothing took its bytes.
        let Err(error) = written.and(fetched) else {
            carrier.stored(&self.0.store, target, &digest, length);
            tracing::debug!(target: "hubcap::fill", upstream = %target, digest = %digest, "stored");
            return;
        };
        if matches!(error, Error::WrongContent { .. }) {
            blob.note_wrong();
        }
        // Before its readers hear of it: when they ask again, that is another flight.
        drop(publisher);
        aborter.abort(error.clone());
        if matches!(error, Error::NoRoom { .. }) {
            warning.warn(&error);
        } else {
            tracing::warn!(target: "hubcap::fill", upstream = %target, digest = %digest, "fill failed: {error}");
        }
    }

    /// What another flight has stored between a request's look into the store and its join.
    async fn filled_meanwhile(&self, target: &Target, digest: &Digest) -> Option<Content> {
        let store = &self.0.store;
        let mut content = store.blob(digest).ok().flatten().filter(|_| store.is_linked(target, digest))?;
        content.settled().await.ok()?;
        Some(content)
    }

    /// Makes the file while the upstream is asked; room is found for the length that its answer tells.
    async fn begin(
        &self,
        upstream: Upstream,
        access: &Access,
        digest: Digest,
    ) -> Result<(Fetch<RegistryBlob>, Ingest, Place), Error> {
        let target = &access.target;
        let busy = || Error::unavailable(format!("too many blobs of {target} are downloaded already"));
        let place = self.0.places.take(target).await.ok_or_else(busy)?;
        let store = self.0.store.clone();
        let (grants, question) = (&self.0.grants, Question::blob(access, &digest));
        let fetching = async {
            // Whether hubcap has a login is needed below, and the first time it is looked up in a file.
            let blob = upstream.blob(&access.target.repository, &digest);
            let blob = match self.0.carrier.content(&self.0.store, &access.target, &digest).await {
                Some(content) => blob.cached(content),
                None => blob,
            };
            if upstream.has_others() {
                let others = grants.others_while_away(&self.0.store, &upstream, &question).await;
                // What may not be stored is no fill's.
                let others = if may_be_stored(others) { others } else { Others::None };
                blob.allow(others, permission(&self.0.store, &access.target, &digest)).await;
            }
            let late = |_| Error::unavailable(format!("no answer has begun within {} s", BEGIN.as_secs()));
            let begun = timeout(BEGIN, Fetch::begin(blob, 0));
            Ok(tokio::join!(begun, upstream.is_privileged()).0.map_err(late)??)
        };
        let making = on_disk(move || store.ingest(digest, None));
        // An upstream that counts requests is not asked for what a store does not take.
        let (fetch, mut ingest) = if self.0.store.is_read_only() {
            let ingest = making.await?;
            (fetching.await?, ingest)
        } else {
            tokio::try_join!(fetching, making)?
        };
        let mut fetch = self.permitted(fetch, &upstream, &question).await?;
        match fetch.size() {
            Some(size) => ingest = on_disk(move || ingest.allocate(size).map(|()| ingest)).await?,
            None => hint(&mut fetch, &self.0.store, &access.target, digest).await,
        }
        Ok((fetch, ingest, place))
    }

    /// Finds out who may have what the first origin has begun to give, and lets the others go on with it.
    async fn permitted(
        &self,
        fetch: Fetch<RegistryBlob>,
        upstream: &Upstream,
        question: &Question,
    ) -> Result<Fetch<RegistryBlob>, Error> {
        let Inner { store, grants, warning, .. } = &*self.0;
        let blob = fetch.source();
        if !blob.is_at_first() {
            // Another origin gives it, for what was found out before: the first cannot be asked.
            return Ok(fetch);
        }
        grants.classify(store, warning, upstream, question, Known::Length(fetch.size())).await;
        if upstream.has_others() {
            let is_private = store.is_private(&question.access.target);
            blob.allow(permitted(is_private), Permission::Given).await;
            if !blob.is_at_first() {
                // The first has sent wrong bytes before: its yes was what was missing.
                return Ok(Fetch::begin(blob.clone(), 0).await?);
            }
        }
        Ok(fetch)
    }
}

fn has_stalled(fill: &Result<FillHandle, FillError>) -> bool {
    fill.as_ref().is_ok_and(|fill| fill.stall.is_now())
}

/// Waits until nobody has read a fill for [`UNREAD`], and tells its readers whether it has stalled. What the flight itself
/// holds of its content is no reader. One that crawls gives its place up: however long it goes on, it keeps nobody waiting.
async fn unread(fill: &Aborter, mut monitor: Monitor, place: &mut Place) {
    let mut read = Instant::now();
    while read.elapsed() < UNREAD {
        tokio::time::sleep(LOOK).await;
        monitor.look();
        if monitor.crawls() {
            place.give_up();
        }
        if fill.readers() > 1 {
            read = Instant::now();
        }
    }
}
