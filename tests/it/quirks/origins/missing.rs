//! What the first origin has named, and does not have.

use super::{get, name, start, two};
use crate::quirks::{REPOSITORY, TAG};
use crate::support::hubcap::{Place, blob, header, manifest};
use crate::support::image;
use crate::support::origin::quirk;

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_its_own_manifest_names_may_come_from_another_origin() {
    let ((first, second, image, layer), place) = (two().await, Place::new());
    let hubcap = start(&place, &[&first, &second], &["--tag-ttl", "1h"]);
    assert_eq!(get(&hubcap, &manifest(&name(), TAG)).await.0, 200);
    first.quirk("/blobs/", quirk::status(404));
    let told = hubcap.head(&blob(&name(), &image.blobs[1])).await;
    assert_eq!(header(&told, "content-length"), layer.len().to_string(), "{}", hubcap.log());
    assert!(get(&hubcap, &blob(&name(), &image.blobs[1])).await == (200, layer), "{}", hubcap.log());
    let asked = second.log().len();
    assert_eq!(get(&hubcap, &blob(&name(), &image.blobs[1])).await.0, 200);
    assert_eq!(second.log().len(), asked, "it is stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_its_own_index_names_may_come_from_another_origin() {
    let ((first, second, image, _), place) = (two().await, Place::new());
    let index = image::put_index(&first, &format!("{REPOSITORY}:all"), &[(&image, "amd64")]);
    let hubcap = start(&place, &[&first, &second], &["--tag-ttl", "1h"]);
    assert_eq!(get(&hubcap, &manifest(&name(), &index)).await.0, 200);
    first.quirk("/manifests/", quirk::status(404));
    let got = get(&hubcap, &manifest(&name(), &image.digest)).await;
    assert!(got == (200, image.manifest), "{}", hubcap.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_first_refuses_for_another_reason_stays_refused_although_it_was_named() {
    let ((first, second, image, _), place) = (two().await, Place::new());
    let hubcap = start(&place, &[&first, &second], &["--tag-ttl", "1h"]);
    assert_eq!(get(&hubcap, &manifest(&name(), TAG)).await.0, 200);
    for (refusal, digest) in [(403, &image.blobs[0]), (410, &image.blobs[1])] {
        first.heal();
        first.quirk("/blobs/", quirk::status(refusal));
        assert_ne!(get(&hubcap, &blob(&name(), digest)).await.0, 200);
    }
    assert_eq!(second.log().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_another_repositorys_manifest_names_is_no_ones_to_give() {
    let ((first, second, image, _), place) = (two().await, Place::new());
    let hubcap = start(&place, &[&first, &second], &["--tag-ttl", "1h"]);
    assert_eq!(get(&hubcap, &manifest(&name(), TAG)).await.0, 200);
    first.quirk("org/other", quirk::status(404));
    let other = name().replace("org/app", "org/other");
    assert_eq!(get(&hubcap, &blob(&other, &image.blobs[1])).await.0, 404);
    assert_eq!(second.log().len(), 0);
}
