//! containerd's service Diff, on one connection after the other.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use hubcap_oci::{Algorithm, Digest};
use hubcap_unpack::{Applied, Error};
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tonic::body::Body;
use tonic::server::{Grpc, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use super::api::{APPLY, ApplyRequest, ApplyResponse, Descriptor};
use super::peer::Peer;
use super::request::System;

/// Layers that are applied at the same time, at most. Each has two threads of its own beside the one that writes.
const LAYERS: u32 = 4;

/// Answers calls, once it is told whose.
#[derive(Clone)]
pub(super) struct Service {
    system: Arc<System>,
    layers: Arc<Semaphore>,
}

/// Answers the calls of one process.
#[derive(Clone)]
pub(super) struct ServiceOf {
    service: Service,
    peer: Peer,
}

impl Service {
    pub(super) fn new(system: System) -> Self {
        Self { system: Arc::new(system), layers: Arc::new(Semaphore::new(LAYERS as usize)) }
    }

    pub(super) fn of(self, peer: Peer) -> ServiceOf {
        ServiceOf { service: self, peer }
    }

    /// Waits for the layers that are being applied, and lets no other begin.
    pub(super) async fn finish(&self) {
        let _ = self.layers.acquire_many(LAYERS).await;
        self.layers.close();
    }
}

impl ServiceOf {
    /// Answers one call. All but Apply is not implemented: for Diff, containerd then asks its next differ.
    pub(super) async fn answer(
        self,
        request: http::Request<Incoming>,
    ) -> Result<http::Response<Body>, Infallible> {
        if request.uri().path() != APPLY {
            return Ok(Status::unimplemented("hubcap only applies layers").into_http());
        }
        let mut grpc = Grpc::new(ProstCodec::<ApplyResponse, ApplyRequest>::default());
        Ok(grpc.unary(self, request).await)
    }

    async fn apply(self, request: ApplyRequest) -> Result<Response<ApplyResponse>, Status> {
        let ending = |_| Status::unavailable("hubcap differ is ending");
        let layer = self.service.layers.clone().acquire_owned().await.map_err(ending)?;
        // containerd goes on without an answer when it has been stopped, and removes the directory.
        let canceled = Canceled::default();
        let flag = canceled.0.clone();
        let done = tokio::task::spawn_blocking(move || {
            let _layer = layer;
            self.apply_here(&request, &flag)
        });
        let done =
            done.await.map_err(|error| Status::internal(format!("applying the layer ended: {error}")))?;
        drop(canceled);
        done.map(|applied| Response::new(ApplyResponse { applied: Some(descriptor(&applied)) }))
    }

    fn apply_here(&self, request: &ApplyRequest, canceled: &AtomicBool) -> Result<Applied, Status> {
        let start = Instant::now();
        let digest = request.diff.as_ref().map(|layer| layer.digest.as_str()).unwrap_or_default();
        let understood = self.service.system.understand(request, &self.peer).map_err(Error::Unsupported);
        let (layer, target) = understood.map_err(|error| refuse(digest, &error))?;
        let applied =
            hubcap_unpack::apply(layer, &target, canceled).map_err(|error| refuse(digest, &error))?;
        let (size, seconds) = (applied.size, start.elapsed().as_secs_f32());
        tracing::info!("applied {digest}: {size} bytes in {seconds:.2} s");
        Ok(applied)
    }
}

impl UnaryService<ApplyRequest> for ServiceOf {
    type Response = ApplyResponse;
    type Future = Pin<Box<dyn Future<Output = Result<Response<ApplyResponse>, Status>> + Send>>;

    fn call(&mut self, request: Request<ApplyRequest>) -> Self::Future {
        Box::pin(self.clone().apply(request.into_inner()))
    }
}

/// Becomes true when it is dropped.
#[derive(Default)]
struct Canceled(Arc<AtomicBool>);

impl Drop for Canceled {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What containerd is told. It applies by itself what is "not implemented", and fails the pull for all else.
fn refuse(digest: &str, error: &Error) -> Status {
    let message = format!("{digest}: {error}");
    if matches!(error, Error::Unsupported(_)) {
        tracing::info!("left to containerd: {message}");
        return Status::unimplemented(message);
    }
    tracing::warn!("{message}");
    match error {
        Error::Canceled => Status::cancelled(message),
        _ => Status::unknown(message),
    }
}

fn descriptor(applied: &Applied) -> Descriptor {
    let digest = Digest::from_hash(Algorithm::Sha256, &applied.digest);
    Descriptor {
        media_type: "application/vnd.oci.image.layer.v1.tar".into(),
        digest: digest.map(|digest| digest.to_string()).unwrap_or_default(),
        // A file has no more.
        size: applied.size.cast_signed(),
    }
}
