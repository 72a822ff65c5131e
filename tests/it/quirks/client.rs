//! A client of a situation: what it gets through hubcap is compared with what the origin has.

use serde_json::Value;

use super::{REGISTRY, REPOSITORY, TAG};
use crate::support::hubcap::{Hubcap, blob, header, manifest};
use crate::support::image::sha256;
use crate::support::origin::Origin;

/// Pages of tags that a client follows at most.
const MAX_PAGES: usize = 50;

/// Pulls the image as dockerd does, twice: a miss, then what is stored.
///
/// # Errors
/// What differs from what the origin has.
pub(crate) async fn pull(hubcap: &Hubcap, origin: &Origin) -> Result<(), String> {
    for round in ["the first pull", "the second pull"] {
        let told = hubcap.head(&manifest(&name(), TAG)).await;
        if told.status() != 200 {
            return Err(format!("{round}: HEAD of the tag: {}", told.status()));
        }
        let mut todo = vec![TAG.to_owned(), header(&told, "docker-content-digest")];
        while let Some(reference) = todo.pop() {
            todo.extend(
                pull_manifest(hubcap, origin, &reference).await.map_err(|why| format!("{round}: {why}"))?,
            );
        }
    }
    Ok(())
}

/// Gets a manifest and its blobs; returns the manifests that it names.
async fn pull_manifest(hubcap: &Hubcap, origin: &Origin, reference: &str) -> Result<Vec<String>, String> {
    let Some((media_type, right)) = origin.manifest(REPOSITORY, reference) else {
        // An index may name what its registry does not have.
        return Ok(Vec::new());
    };
    let answer = hubcap.get(&manifest(&name(), reference)).await;
    let (code, told) = (answer.status(), header(&answer, "content-type"));
    let digest = header(&answer, "docker-content-digest");
    let bytes = answer.bytes().await.map_err(|error| format!("manifest {reference}: {error}"))?;
    if code != 200 || bytes != right {
        return Err(format!("manifest {reference}: {code}, {}", String::from_utf8_lossy(&bytes)));
    }
    if told != media_type || digest != sha256(&right) {
        return Err(format!("manifest {reference}: it is said to be {told} and {digest}"));
    }
    // Lone surrogates and the like are no reason for this client to fail.
    let Ok(document) = serde_json::from_slice::<Value>(&right) else { return Ok(Vec::new()) };
    let named = |list: &Value| -> Vec<String> {
        let entries = list.as_array().map(Vec::as_slice).unwrap_or_default();
        entries.iter().filter_map(|one| one["digest"].as_str()).map(Into::into).collect()
    };
    let mut blobs = named(&document["layers"]);
    blobs.extend(document["config"]["digest"].as_str().map(Into::into));
    for digest in blobs {
        let Some(right) = origin.blob(&digest) else { continue };
        let answer = hubcap.get(&blob(&name(), &digest)).await;
        let code = answer.status();
        let bytes = answer.bytes().await.map_err(|error| format!("blob {digest}: {error}"))?;
        if code != 200 || bytes != right {
            return Err(format!("blob {digest}: {code}, {} of {} bytes", bytes.len(), right.len()));
        }
    }
    Ok(named(&document["manifests"]))
}

/// Lists the tags, page after page.
///
/// # Errors
/// What differs from what the origin has.
pub(crate) async fn tags(hubcap: &Hubcap, origin: &Origin) -> Result<(), String> {
    let found = tags_from(hubcap, &format!("/v2/{}/tags/list", name())).await?;
    let right = origin.tags(REPOSITORY);
    if found == right { Ok(()) } else { Err(format!("{found:?} instead of {right:?}")) }
}

/// All tags from this page on.
///
/// # Errors
/// When the list does not end, or a page does not come.
pub(crate) async fn tags_from(hubcap: &Hubcap, path: &str) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    let mut next = Some(path.to_owned());
    for _ in 0..MAX_PAGES {
        let Some(path) = next.take() else { break };
        let answer = hubcap.get(&path).await;
        if answer.status() != 200 {
            return Err(format!("{path}: {}", answer.status()));
        }
        let link = header(&answer, "link");
        next = link.strip_prefix('<').and_then(|rest| rest.split_once('>')).map(|(path, _)| path.to_owned());
        let page = answer.bytes().await.map_err(|error| format!("{path}: {error}"))?;
        let page: Value = serde_json::from_slice(&page).map_err(|error| format!("{path}: {error}"))?;
        let tags = page["tags"].as_array().map(Vec::as_slice).unwrap_or_default();
        found.extend(tags.iter().filter_map(Value::as_str).map(ToOwned::to_owned));
    }
    match next {
        Some(path) => Err(format!("the list does not end: {path}")),
        None => Ok(found),
    }
}

/// Lists what refers to the image.
///
/// # Errors
/// What differs from what the origin has.
pub(crate) async fn referrers(hubcap: &Hubcap, origin: &Origin) -> Result<(), String> {
    let (_, image) = origin.manifest(REPOSITORY, TAG).expect("an image");
    let subject = sha256(&image);
    let answer = hubcap.get(&format!("/v2/{}/referrers/{subject}", name())).await;
    let code = answer.status();
    let text = answer.text().await.map_err(|error| error.to_string())?;
    // Not as JSON: this client's parser does not take all that Go's takes.
    let right = origin.referrers(&subject);
    let is_complete = right.iter().all(|digest| text.matches(digest).count() == 1);
    if code == 200 && is_complete && text.matches("\"digest\"").count() == right.len() {
        Ok(())
    } else {
        Err(format!("{code}, {text} instead of {right:?}"))
    }
}

fn name() -> String {
    format!("{REGISTRY}/{REPOSITORY}")
}
