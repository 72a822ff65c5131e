//! Ranges that are refused, ignored or lied about, bodies that are packed although nobody asked, and lengths that lie.

use http::header;
use reqwest::Method;

use crate::quirks::{REGISTRY, REPOSITORY, Situation, TAG};
use crate::support::hubcap::{Place, blob, header as told, manifest};
use crate::support::image;
use crate::support::noise;
use crate::support::origin::{Act, Origin, Quirk, Reply, quirk};

/// Where a layer's connection breaks, in bytes.
const CUT: usize = 200_000;

pub(crate) const SITUATIONS: &[Situation] = &[
    Situation::pull("proxies", "a range is refused with 400", |origin| refuse(origin, 400)),
    Situation::pull("buckets with policies", "a range is refused with 403", |origin| refuse(origin, 403)),
    Situation::pull("gateways", "a range is refused with 405", |origin| refuse(origin, 405)),
    Situation::pull("content networks", "a range is refused with 416", |origin| refuse(origin, 416)),
    Situation::pull("proxies", "a range is refused with 500", |origin| refuse(origin, 500)),
    Situation::pull("small servers", "a range is refused with 501", |origin| refuse(origin, 501)),
    Situation::pull("load balancers", "a range is refused with 503", |origin| refuse(origin, 503)),
    Situation::pull("Docker Hub's form, another CDN", "a signed URL refuses a range", |origin| {
        origin.like_docker_hub(None);
        origin.quirk("X-Amz-Signature", quirk::of_ranges(quirk::status(403)));
        cut(origin);
    }),
    Situation::pull("small servers", "a range is ignored", |origin| resume(origin, quirk::no_ranges())),
    Situation::pull("firewalls", "a request for a range ends its connection", |origin| {
        resume(origin, Quirk::new(|_| Some(Act::Close)));
    }),
    Situation::pull("caching proxies", "a 206 without Content-Range", |origin| {
        resume(origin, quirk::change(|reply| reply.without("content-range")));
    }),
    Situation::pull("caching proxies", "a 206 whose Content-Range does not tell the length", |origin| {
        resume(
            origin,
            content_range(|range| {
                range.rsplit_once('/').map_or_else(String::new, |(range, _)| format!("{range}/*"))
            }),
        );
    }),
    Situation::pull("caching proxies", "a 206 whose Content-Range has no unit", |origin| {
        resume(origin, content_range(|range| range.replace("bytes ", "")));
    }),
    Situation::pull("caching proxies", "a 206 of another range than was asked for", |origin| {
        resume(
            origin,
            Quirk::new(|asked| {
                asked.headers.insert(header::RANGE, "bytes=0-999".parse().expect("a value"));
                None
            }),
        );
    }),
    Situation::pull("content networks", "a 206 of something of another length", |origin| {
        resume(origin, content_range(|range| format!("{range}0")));
    }),
    Situation::pull("web servers", "a 206 of type multipart/byteranges", |origin| {
        resume(origin, quirk::change(|reply| reply.with("content-type", "multipart/byteranges; boundary=x")));
    }),
    Situation::pull("content networks", "a 206 that says the range and sends the whole", |origin| {
        resume(origin, sends(|whole, _| whole.to_vec()));
    }),
    Situation::pull("content networks", "a 206 that says the range and sends other bytes", |origin| {
        resume(origin, sends(|whole, start| whole[..whole.len() - start].to_vec()));
    }),
    Situation::pull("caching proxies", "a 206 for the whole, which nobody asked for a range of", |origin| {
        image::real(origin);
        origin.quirk(
            "/v2/org",
            quirk::change(|mut reply| {
                if reply.status == 200 {
                    reply.status = 206;
                }
                reply
            }),
        );
    }),
    Situation::pull("proxies that compress", "manifests come packed by gzip", |origin| {
        image::real(origin);
        origin.quirk("/manifests/", quirk::packed("gzip"));
    }),
    Situation::pull("proxies that compress", "blobs come packed by gzip", |origin| {
        image::real(origin);
        origin.quirk("/blobs/", quirk::packed("gzip"));
    }),
    Situation::pull(
        "proxies that compress",
        "everything comes packed by gzip, and no length is told",
        |origin| {
            image::real(origin);
            origin.quirk("/v2/org", packed_untold("gzip"));
        },
    ),
    Situation::pull("proxies that compress", "everything comes packed by deflate", |origin| {
        image::real(origin);
        origin.quirk("/v2/org", quirk::packed("deflate"));
    }),
    Situation::pull("proxies that compress", "everything comes packed by zstd", |origin| {
        image::real(origin);
        origin.quirk("/v2/org", quirk::packed("zstd"));
    }),
    Situation::pull("proxies that compress", "the connection of a packed blob breaks", |origin| {
        let layer = image::real(origin).blobs.remove(1);
        origin.quirk(&layer, packed_and_cut());
        origin.quirk(&layer, quirk::packed("gzip"));
    }),
    Situation::pull(
        "buckets with Content-Encoding",
        "a gzip layer is said to be packed, and is not",
        |origin| {
            image::real_gzip(origin);
            origin.quirk("/blobs/", quirk::change(|reply| reply.with("content-encoding", "gzip")));
        },
    ),
    Situation::pull("buckets with Content-Encoding", "the same, and no length is told", |origin| {
        image::real_gzip(origin);
        origin.quirk(
            "/blobs/",
            quirk::change(|reply| {
                let reply = reply.with("content-encoding", "gzip");
                if reply.is_content() { reply.untold() } else { reply }
            }),
        );
    }),
    Situation::pull("proxies that compress", "a gzip layer comes packed once more", |origin| {
        image::real_gzip(origin);
        origin.quirk("/blobs/", quirk::packed("gzip"));
    }),
    Situation::pull("sloppy servers", "a body is said to be packed by gzip, and is plain", |origin| {
        image::real(origin);
        origin.quirk("/v2/org", quirk::change(|reply| reply.with("content-encoding", "gzip")));
    }),
    Situation::pull("sloppy servers", "a body is packed by \"identity\" and \"aws-chunked\"", |origin| {
        image::real(origin);
        origin.quirk(
            "/v2/org",
            quirk::change(|reply| {
                reply.with("content-encoding", "identity").and("content-encoding", "aws-chunked")
            }),
        );
    }),
    Situation::tags("proxies that compress", "a list of tags comes packed by gzip", |origin| {
        image::real(origin);
        origin.quirk("tags/list", quirk::packed("gzip"));
    }),
    Situation::pull("proxies", "no length of anything is told", |origin| {
        image::real(origin);
        origin.quirk("/v2/org", quirk::no_length());
    }),
];

/// Puts an image whose layer's connection breaks in the middle.
fn cut(origin: &Origin) {
    let layer = image::real(origin).blobs.remove(1);
    origin.quirk(&layer, quirk::cut_once(CUT));
}

/// The same, and the rest is asked for in vain.
fn refuse(origin: &Origin, status: u16) {
    resume(origin, quirk::status(status));
}

/// The same; `odd` is what happens to a request for the rest.
fn resume(origin: &Origin, odd: Quirk) {
    origin.quirk("/blobs/", quirk::of_ranges(odd));
    cut(origin);
}

fn content_range(change: fn(&str) -> String) -> Quirk {
    quirk::change(move |reply| {
        let range = reply.headers.get("content-range").and_then(|value| value.to_str().ok()).map(change);
        match range {
            Some(range) => reply.with("content-range", &range),
            None => reply,
        }
    })
}

/// What is sent instead of a range, of the whole and where the range begins; its headers stay as they should be.
fn sends(other: fn(&[u8], usize) -> Vec<u8>) -> Quirk {
    Quirk::new(move |asked| {
        let start = asked.text(header::RANGE)?.strip_prefix("bytes=")?.split('-').next()?.parse().ok()?;
        asked.headers.remove(header::RANGE);
        Act::change(move |reply| {
            let length = reply.bytes.len();
            let mut changed = Reply::new(other(&reply.bytes, start)).untold();
            changed.status = 206;
            changed.with("content-range", &format!("bytes {start}-{}/{length}", length - 1))
        })
    })
}

fn packed_untold(coding: &'static str) -> Quirk {
    quirk::change(move |mut reply| {
        if !reply.is_content() {
            return reply;
        }
        reply.bytes = crate::support::packed(coding, &reply.bytes).into();
        reply.with("content-encoding", coding).untold()
    })
}

/// The second connection, which is the first whose bytes are used, breaks.
fn packed_and_cut() -> Quirk {
    let asked_before = std::sync::atomic::AtomicUsize::new(0);
    Quirk::new(move |asked| {
        let nth = asked_before.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        if asked.method != Method::GET || nth != 1 {
            return None;
        }
        Act::change(|mut reply| {
            reply.bytes = crate::support::packed("gzip", &reply.bytes).into();
            let half = reply.bytes.len() / 2;
            reply.with("content-encoding", "gzip").sent_by(move |bytes| quirk::cut(bytes, half))
        })
    })
}

fn hubcap(place: &Place, origin: &Origin) -> crate::support::hubcap::Hubcap {
    place.start("http://127.0.0.1:9", &["--upstream", &format!("{REGISTRY}={}", origin.url())])
}

fn name() -> String {
    format!("{REGISTRY}/{REPOSITORY}")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_refuses_ranges_is_asked_for_one_once_and_not_for_each_blob() {
    let (origin, place) = (Origin::start().await, Place::new());
    origin.quirk("/blobs/", quirk::of_ranges(quirk::status(501)));
    let hubcap = hubcap(&place, &origin);
    for seed in 0..3 {
        let layer = noise(600_000, seed);
        let digest = origin.put_blob(&layer);
        origin.quirk(&digest, quirk::cut_once(CUT));
        let answer = hubcap.get(&blob(&name(), &digest)).await;
        assert!(answer.bytes().await.expect("the whole") == layer);
    }
    assert_eq!(origin.log().iter().filter(|asked| asked.range.is_some()).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_range_of_what_is_not_stored_is_given_whatever_the_origin_thinks_of_ranges() {
    for odd in [quirk::status(416), quirk::no_ranges(), quirk::change(|reply| reply.without("content-range"))]
    {
        let (origin, place) = (Origin::start().await, Place::new());
        origin.quirk("/blobs/", quirk::of_ranges(odd));
        let hubcap = hubcap(&place, &origin);
        let layer = noise(600_000, 1);
        let digest = origin.put_blob(&layer);
        let answer = hubcap.ask(Method::GET, &blob(&name(), &digest), &[("range", "bytes=1000-1999")]).await;
        assert_eq!(
            (answer.status().as_u16(), told(&answer, "content-range")),
            (206, "bytes 1000-1999/600000".into())
        );
        assert!(answer.bytes().await.expect("a body") == layer[1000..2000]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_is_found_by_a_get_where_neither_head_nor_ranges_work() {
    let (origin, place) = (Origin::start().await, Place::new());
    origin.like_docker_hub(None);
    origin.quirk("X-Amz-Signature", quirk::no_head(403));
    for odd in [quirk::status(403), quirk::change(|reply| reply.without("content-range")), quirk::no_ranges()]
    {
        origin.quirk("X-Amz-Signature", quirk::of_ranges(odd));
    }
    let digest = origin.put_blob(&noise(600_000, 1));
    let answer = hubcap(&place, &origin).head(&blob(&name(), &digest)).await;
    assert_eq!((answer.status().as_u16(), told(&answer, "content-length")), (200, "600000".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_asks_for_bodies_as_they_are() {
    let (origin, place) = (Origin::start().await, Place::new());
    origin.like_docker_hub(None);
    let image = image::real(&origin);
    let hubcap = hubcap(&place, &origin);
    assert_eq!(hubcap.get(&manifest(&name(), TAG)).await.status(), 200);
    for digest in &image.blobs {
        assert_eq!(hubcap.get(&blob(&name(), digest)).await.status(), 200);
    }
    let log = origin.log();
    // The tokens', the manifest's, and the blobs' at both of their hosts.
    assert!(log.len() >= 6, "{log:?}");
    for asked in log {
        assert_eq!(asked.text(header::ACCEPT_ENCODING), Some("identity"), "{asked:?}");
    }
}

/// The wrong lengths that no client takes directly; and none of them is ever taken for the blob.
#[tokio::test(flavor = "multi_thread")]
async fn a_length_that_lies_never_makes_a_wrong_body_look_whole() {
    let short = quirk::change(|mut reply| {
        if reply.is_content() {
            reply.bytes.truncate(500);
        }
        reply
    });
    let long = quirk::change(|reply| {
        let length = reply.bytes.len() + 10;
        if reply.is_content() {
            reply
                .with("content-length", &length.to_string())
                .sent_by(|bytes| futures_util::stream::iter([Ok(bytes)]))
        } else {
            reply
        }
    });
    let two = quirk::change(|reply| reply.with("content-length", "500").and("content-length", "600"));
    for quirk in [short, long, two, quirk::empty()] {
        let (origin, place) = (Origin::start().await, Place::new());
        let image = image::real(&origin);
        let hubcap = hubcap(&place, &origin);
        assert_eq!(hubcap.get(&manifest(&name(), TAG)).await.status(), 200);
        let digest = &image.blobs[1];
        origin.quirk(digest, quirk);
        let answer = hubcap.get(&blob(&name(), digest)).await;
        let is_ok = answer.status() == 200;
        let got = answer.bytes().await;
        let is_right = is_ok && got.as_ref().is_ok_and(|bytes| Some(bytes) == origin.blob(digest).as_ref());
        assert!(is_right || !is_ok || got.is_err(), "a wrong body looks whole");
        assert!(!is_right, "no client takes that directly, and the manifest's size is only a hint");
        origin.heal();
    }
}
