//! Lists of a repository that its registry gives only to a login.

use serde_json::json;

use super::{entries, entry, index, path};
use crate::support::hubcap::{Place, manifest, status};
use crate::support::image::{self, Image};
use crate::support::origin::{Origin, quirk};

const SECRET: &str = "Bearer client-s3cret";

async fn origin() -> (Origin, Image) {
    let origin = Origin::start().await;
    let image = image::put(&origin, "org/private:1", &[b"layer"]);
    origin.put_referrers(&image.digest, index(&[entry("a/signature", b"one")]));
    origin.make_private("org/private", "me:hunter2", SECRET);
    (origin, image)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_list_is_kept_for_whom_the_registry_gives_the_repository() {
    let ((mut origin, image), place) = (origin().await, Place::new());
    let hubcap = place.start(&origin.url(), &[]);
    let path = path("org/private", &image.digest);
    assert_eq!(hubcap.get_as(&manifest("org/private", "1"), Some(SECRET)).await.status(), 200);
    let first = hubcap.get_as(&path, Some(SECRET)).await;
    assert_eq!(status(&first), "hubcap; fwd=miss; stored");
    let kept = hubcap.get_as(&path, Some(SECRET)).await;
    assert!(status(&kept).starts_with("hubcap; hit"), "{}", status(&kept));
    assert_eq!(entries(kept).await, json!([entry("a/signature", b"one")]));
    for other in [None, Some("Bearer another")] {
        assert_eq!(hubcap.get_as(&path, other).await.status(), 403, "{other:?}");
    }
    origin.die().await;
    assert_eq!(entries(hubcap.get_as(&path, Some(SECRET)).await).await.as_array().map(Vec::len), Some(1));
    // To the others it is as if nothing were known.
    for other in [None, Some("Bearer another")] {
        let answer = hubcap.get_as(&path, other).await;
        let is_nothing = answer.status() != 200 || entries(answer).await == json!([]);
        assert!(is_nothing, "{other:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_registry_lists_for_anybody_is_not_what_it_lists_for_a_login() {
    let ((origin, image), place) = (origin().await, Place::new());
    // As registries do that do not tell that a repository is there.
    origin.quirk("org/private", quirk::hidden(404));
    let hubcap = place.start(&origin.url(), &[]);
    let path = path("org/private", &image.digest);
    assert_eq!(entries(hubcap.get_as(&path, None).await).await, json!([]));
    // Before the registry has given anything of the repository, and after it.
    for round in 0..2 {
        let found = entries(hubcap.get_as(&path, Some(SECRET)).await).await;
        assert_eq!(found.as_array().map(Vec::len), Some(1), "{round}");
        assert_eq!(hubcap.get_as(&manifest("org/private", "1"), Some(SECRET)).await.status(), 200);
    }
    assert_eq!(entries(hubcap.get_as(&path, None).await).await, json!([]));
    let kept = hubcap.get_as(&path, Some(SECRET)).await;
    assert!(status(&kept).starts_with("hubcap; hit"), "{}", status(&kept));
    assert_eq!(entries(kept).await.as_array().map(Vec::len), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_a_login_gets_of_a_public_repository_is_kept_if_anybody_gets_the_same() {
    let (origin, place) = (Origin::start().await, Place::new());
    let hubcap = place.start(&origin.url(), &["--tag-ttl", "1h"]);
    for (name, is_private) in [("org/public", false), ("org/closed", true)] {
        let image = image::put(&origin, &format!("{name}:1"), &[name.as_bytes()]);
        assert_eq!(hubcap.get(&manifest(name, &image.digest)).await.status(), 200);
        origin.put_referrers(&image.digest, index(&[entry("a/signature", name.as_bytes())]));
        if is_private {
            origin.make_private(name, "me:hunter2", SECRET);
        }
        let path = path(name, &image.digest);
        let to_login = status(&hubcap.get_as(&path, Some(SECRET)).await);
        let to_anybody = hubcap.get_as(&path, None).await;
        if is_private {
            assert_eq!((to_login.as_str(), to_anybody.status().as_u16()), ("hubcap; fwd=miss", 403));
        } else {
            let told = status(&to_anybody);
            assert!(to_login == "hubcap; fwd=miss; stored" && told.starts_with("hubcap; hit"), "{told}");
        }
    }
}
