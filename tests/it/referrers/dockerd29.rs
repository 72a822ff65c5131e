//! A client that pulls as dockerd 29 does with its containerd image store: beside the image of its platform it takes the
//! image's attestation, asks for the attestation's referrers, and takes those that are signatures.
//!
//! There is no package of that version. What it asks for is from its source: moby's `daemon/containerd/image_pull.go`
//! (`referrersForPull`), and containerd's `core/remotes/docker/referrers.go`.

use reqwest::Method;
use serde_json::{Value, json};

use super::{entry, index};
use crate::support::hubcap::{Hubcap, header};
use crate::support::image::{self, Image, sha256};
use crate::support::origin::Origin;
use hubcap_oci::media_type;

pub(crate) const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// The referrers that dockerd takes.
const SIGNATURES: [&str; 2] = ["application/vnd.dev.cosign.artifact.sig.v1+json", BUNDLE];

/// An image with attestations, as BuildKit pushes it, and a signature of one of them.
pub(crate) struct Attested {
    pub(crate) index: String,
    pub(crate) amd: Image,
    pub(crate) arm: Image,
    pub(crate) attestation: Image,
    pub(crate) arm_attestation: Image,
    pub(crate) signature: Image,
}

impl Attested {
    /// Puts it under `library/app:1`. The registry lists the signature, and something that is none.
    pub(crate) fn put(origin: &Origin) -> Self {
        let amd = image::real_at(origin, "library/app:amd", 1);
        let arm = image::real_for(origin, "library/app:arm", 2, "arm64");
        let attestation = attestation(origin, &amd);
        let arm_attestation = attestation_of(origin, &arm, "arm64");
        let signature = signature(origin, &attestation);
        let of = |one: &Image, platform: Value| {
            json!({"mediaType": media_type::OCI_MANIFEST, "digest": one.digest,
            "size": one.manifest.len(), "platform": platform})
        };
        let attests = |one: &Image, attested: &Image| {
            let mut entry = of(one, json!({"os": "unknown", "architecture": "unknown"}));
            entry["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest",
                "vnd.docker.reference.digest": attested.digest});
            entry
        };
        let index = index(&[
            of(&amd, json!({"os": "linux", "architecture": "amd64"})),
            of(&arm, json!({"os": "linux", "architecture": "arm64"})),
            attests(&attestation, &amd),
            attests(&arm_attestation, &arm),
        ]);
        let index = origin.put_manifest("library/app:1", media_type::OCI_INDEX, index.to_string().as_bytes());
        Self { index, amd, arm, attestation, arm_attestation, signature }
    }
}

fn attestation(origin: &Origin, attested: &Image) -> Image {
    attestation_of(origin, attested, "amd64")
}

fn attestation_of(origin: &Origin, attested: &Image, name: &str) -> Image {
    let statement =
        json!({"_type": "https://in-toto.io/Statement/v0.1", "subject": [{"digest": attested.digest}]});
    image::put_for(
        origin,
        &format!("library/app:attestation-{name}"),
        &[statement.to_string().as_bytes()],
        "unknown",
    )
}

/// Puts a signature of a manifest, and has the registry list it.
fn signature(origin: &Origin, subject: &Image) -> Image {
    let bundle = format!("a bundle for {}", subject.digest);
    let blobs = vec![origin.put_blob(b"{}"), origin.put_blob(bundle.as_bytes())];
    let manifest = json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "artifactType": BUNDLE,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": blobs[0], "size": 2},
        "layers": [{"mediaType": BUNDLE, "digest": blobs[1], "size": bundle.len()}],
        "subject": {"mediaType": media_type::OCI_MANIFEST, "digest": subject.digest, "size": subject.manifest.len()}});
    let manifest = manifest.to_string().into_bytes();
    let digest = origin.put_manifest("library/app:signature", media_type::OCI_MANIFEST, &manifest);
    origin.put_referrers(&subject.digest, index(&[entry(BUNDLE, &manifest), entry("a/vex", b"not fetched")]));
    Image { manifest, digest, blobs }
}

/// Pulls `docker.io/library/app:1` for amd64. Returns the digests of all that it has then, sorted.
///
/// # Errors
/// What it cannot have: dockerd gives up then.
pub(crate) async fn pull(hubcap: &Hubcap) -> Result<Vec<String>, String> {
    let client = Client { hubcap };
    let resolved = hubcap.ask(Method::HEAD, "/v2/library/app/manifests/1?ns=docker.io", &[]).await;
    let digest = header(&resolved, "docker-content-digest");
    if resolved.status() != 200 {
        return Err(format!("resolving: {}", resolved.status()));
    }
    let mut has = Vec::new();
    let top = client.manifest(&digest, &mut has).await?;
    let Some(manifests) = top["manifests"].as_array() else {
        client.blobs(&top, &mut has).await?;
        has.sort();
        return Ok(has);
    };
    let image = manifests.iter().find(|one| one["platform"]["architecture"] == "amd64").ok_or("no amd64")?;
    let manifest = client.manifest(text(&image["digest"]), &mut has).await?;
    client.blobs(&manifest, &mut has).await?;
    let attests = |one: &&Value| one["annotations"]["vnd.docker.reference.digest"] == image["digest"];
    if let Some(attestation) = manifests.iter().rfind(attests) {
        let subject = text(&attestation["digest"]);
        let manifest = client.manifest(subject, &mut has).await?;
        client.blobs(&manifest, &mut has).await?;
        let list = client.get(&format!("referrers/{subject}")).await?;
        let list: Value = serde_json::from_slice(&list).map_err(|error| error.to_string())?;
        for one in list["manifests"].as_array().ok_or("no list")? {
            if SIGNATURES.contains(&text(&one["artifactType"])) {
                let manifest = client.manifest(text(&one["digest"]), &mut has).await?;
                client.blobs(&manifest, &mut has).await?;
            }
        }
    }
    has.sort();
    has.dedup();
    Ok(has)
}

struct Client<'a> {
    hubcap: &'a Hubcap,
}

impl Client<'_> {
    async fn get(&self, what: &str) -> Result<Vec<u8>, String> {
        let answer = self.hubcap.get(&format!("/v2/library/app/{what}?ns=docker.io")).await;
        if answer.status() != 200 {
            return Err(format!("{what}: {}", answer.status()));
        }
        Ok(answer.bytes().await.map_err(|error| format!("{what}: {error}"))?.to_vec())
    }

    async fn content(&self, kind: &str, digest: &str, has: &mut Vec<String>) -> Result<Vec<u8>, String> {
        let content = self.get(&format!("{kind}/{digest}")).await?;
        if sha256(&content) != digest {
            return Err(format!("{digest} is something else"));
        }
        has.push(digest.into());
        Ok(content)
    }

    async fn manifest(&self, digest: &str, has: &mut Vec<String>) -> Result<Value, String> {
        let bytes = self.content("manifests", digest, has).await?;
        serde_json::from_slice(&bytes).map_err(|error| error.to_string())
    }

    async fn blobs(&self, manifest: &Value, has: &mut Vec<String>) -> Result<(), String> {
        let layers = manifest["layers"].as_array().map(Vec::as_slice).unwrap_or_default();
        for blob in std::iter::once(&manifest["config"]).chain(layers) {
            self.content("blobs", text(&blob["digest"]), has).await?;
        }
        Ok(())
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
