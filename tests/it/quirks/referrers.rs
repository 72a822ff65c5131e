//! Lists of what refers to an image (end-12), and how registries give them.

use hubcap_oci::media_type;
use serde_json::{Value, json};

use crate::quirks::Situation;
use crate::support::image::{self, sha256};
use crate::support::origin::{Act, Origin, Quirk, Reply, Role, quirk};

pub(crate) const SITUATIONS: &[Situation] = &[
    Situation::referrers("zot, Harbor", "referrers are an index", |origin| drop(put(origin))),
    Situation::referrers("any", "a lone surrogate in an annotation of a referrer", |origin| {
        put(origin);
        origin.quirk(
            "/referrers/",
            changed(|text| text.replace("\"artifactType\"", r#""x":"\ud800","artifactType""#)),
        );
    }),
    Situation::referrers("any", "keys of a list of referrers that come twice, or in capitals", |origin| {
        put(origin);
        origin.quirk(
            "/referrers/",
            changed(|text| text.replace("\"manifests\"", r#""manifests":[],"Manifests""#)),
        );
    }),
    Situation::referrers(
        "companies' registries",
        "the whole registry has moved (308), and has referrers",
        |origin| {
            put(origin);
            origin.quirk("/v2/", quirk::moved(308, Role::Registry, origin.region()));
        },
    ),
    Situation::referrers("load balancers", "referrers are redirected within the host (302)", |origin| {
        put(origin);
        origin.quirk(
            "/v2/org/app/referrers/",
            quirk::answer(|asked| {
                (!asked.target.contains("signed"))
                    .then(|| Reply::status(302).with("location", &format!("{}?signed=1", asked.path())))
            }),
        );
    }),
    Situation::referrers(
        "GHCR",
        "referrers are a web page behind a 303, and are found under a tag",
        |origin| {
            under_tag(origin, &put(origin));
            origin.quirk("/referrers/", quirk::redirect(303, format!("{}/page", origin.region())));
            origin.quirk("/page", quirk::html());
        },
    ),
    Situation::referrers(
        "single sign-on",
        "referrers are a page to log in at, behind a redirect",
        |origin| {
            under_tag(origin, &put(origin));
            origin.quirk("/referrers/", quirk::redirect(302, format!("{}/login", origin.region())));
            origin.quirk("/login", quirk::html());
        },
    ),
    Situation::referrers(
        "single sign-on",
        "referrers are redirected to where hubcap is not known (403)",
        |origin| {
            under_tag(origin, &put(origin));
            origin.quirk("/referrers/", quirk::redirect(302, format!("{}/login", origin.region())));
            origin.quirk("/login", quirk::status(403));
        },
    ),
    Situation::referrers("load balancers", "a list of referrers breaks off in the middle, once", |origin| {
        put(origin);
        origin.quirk("/referrers/", quirk::cut_once(20));
    }),
    Situation::referrers(
        "home-made registries",
        "pages of referrers go on by a mark in the path",
        |origin| {
            put(origin);
            origin.quirk("/referrers/", paged());
        },
    ),
];

/// An image with two referrers. Returns the list.
fn put(origin: &Origin) -> Value {
    let image = image::real(origin);
    let entry = |kind: &str| json!({"mediaType": media_type::OCI_MANIFEST, "digest": sha256(kind.as_bytes()), "size": 1, "artifactType": kind});
    let list = [entry("a/sbom"), entry("a/signature")];
    let index = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": list});
    origin.put_referrers(&image.digest, index.clone());
    index
}

/// The same list under the tag that registries without the endpoint have.
fn under_tag(origin: &Origin, index: &Value) {
    let (_, image) = origin.manifest("org/app", "1").expect("an image");
    let tag = sha256(&image).replace(':', "-");
    origin.put_manifest(&format!("org/app:{tag}"), media_type::OCI_INDEX, index.to_string().as_bytes());
}

/// The text of every answer is another one.
fn changed(change: fn(&str) -> String) -> Quirk {
    quirk::change(move |reply| {
        let text = change(&String::from_utf8_lossy(&reply.bytes));
        reply.has(text)
    })
}

/// Pages of one entry, the second below the path of the first.
fn paged() -> Quirk {
    Quirk::new(|asked| {
        let path = asked.path().to_owned();
        let first = path.strip_suffix("/more").unwrap_or(&path).to_owned();
        let is_first = first == path;
        asked.target.clone_from(&first);
        Act::change(move |reply| {
            let mut index: Value = serde_json::from_slice(&reply.bytes).expect("a list");
            let list = index["manifests"].as_array_mut().expect("a list");
            list.remove(usize::from(is_first));
            let page = reply.has(index.to_string());
            if is_first { page.with("link", &format!("<{first}/more>; rel=\"next\"")) } else { page }
        })
    })
}
