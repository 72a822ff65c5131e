//! `POST /pull`: the store filled with images. The answer is a line of JSON for each image, and a last one with the count of
//! those that failed.

use std::convert::Infallible;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::Response;
use http::header::{CONTENT_TYPE, HeaderValue};
use hubcap_cache::Cache;
use hubcap_cache::prefetch::{self, End, Event, Image};
use hubcap_oci::{ImageRef, ParseError, Platform};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::UnboundedReceiver;

/// What is asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Request {
    /// Images, as a user types them.
    pub images: Vec<String>,
    /// Platforms; this machine's where none is named.
    pub platforms: Vec<String>,
}

/// A line of the answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Line {
    /// An image is done.
    Image(Image),
    /// The last line: how many images could not be pulled.
    Done(usize),
}

/// Starts the pull. A client that disconnects does not stop it.
///
/// # Errors
/// For a name that is no image's or platform's.
pub(crate) fn start(cache: Cache, request: &Request) -> Result<Response<Body>, ParseError> {
    let images = request.images.iter().map(|image| image.parse()).collect::<Result<Vec<ImageRef>, _>>()?;
    let platforms = request.platforms.iter().map(|one| one.parse()).collect::<Result<Vec<Platform>, _>>()?;
    let lines = Lines { events: Some(prefetch::start(cache, images, platforms)), failed: 0 };
    let lines = stream::unfold(lines, |mut lines| async {
        let line = lines.next().await?;
        Some((Ok::<_, Infallible>(line), lines))
    });
    let mut response = Response::new(Body::from_stream(lines));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    Ok(response)
}

struct Lines {
    /// `None` after the last line.
    events: Option<UnboundedReceiver<Event>>,
    failed: usize,
}

impl Lines {
    async fn next(&mut self) -> Option<Bytes> {
        let events = self.events.as_mut()?;
        let line = loop {
            match events.recv().await {
                Some(Event::Image(image)) => {
                    self.failed += usize::from(matches!(image.end, End::Failed { .. }));
                    break Line::Image(image);
                }
                Some(_) => {}
                None => {
                    self.events = None;
                    break Line::Done(self.failed);
                }
            }
        };
        let mut line = serde_json::to_vec(&line).ok()?;
        line.push(b'\n');
        Some(line.into())
    }
}
