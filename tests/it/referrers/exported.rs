//! An image with attestations as a file: today's clients load it, and it comes back with all of it.

use super::attestations::{at, run_at, succeeds};
use super::dockerd29::{Attested, pull};
use crate::support::hubcap::{Place, manifest};
use crate::support::image::sha256;
use crate::support::origin::Origin;
use crate::support::programs::{Dockerd, modern, podman, program, succeed};

/// A store that has an image with attestations, and nothing of the origin any more.
struct Exported {
    origin: Origin,
    place: Place,
    image: Attested,
}

impl Exported {
    async fn new() -> Self {
        let (mut origin, place) = (Origin::start().await, Place::new());
        let image = Attested::put(&origin);
        let pull = ["pull", "app:1", "--platform", "linux/amd64", "--platform", "linux/arm64"];
        succeeds(&at(&place, &origin, &pull));
        origin.die().await;
        Self { origin, place, image }
    }

    /// Writes the image for a platform as an OCI archive.
    fn write(&self, platform: &str) -> String {
        let file = self.place.dir.path().join(format!("{}.tar", platform.replace('/', "-")));
        let file = file.to_str().expect("text").to_owned();
        let to = ["--format", "oci-archive", "--platform", platform, "--offline", "-o", &file, "app:1"];
        succeeds(&run_at(&self.place, "export", &to));
        file
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dockerd_29_pulls_offline_what_was_exported_and_imported() {
    let exported = Exported::new().await;
    let back = Place::new();
    let said = succeeds(&run_at(&back, "import", &[&exported.write("linux/amd64")]));
    let Attested { index, attestation, signature, arm_attestation, .. } = &exported.image;
    assert_eq!(said.trim(), format!("docker.io/library/app:1  {index}"), "the digest stays");
    let hubcap = back.start(&exported.origin.url(), &["--offline"]);
    let pulled = pull(&hubcap).await.expect("all of it");
    assert!(pulled.contains(&attestation.digest));
    assert!(attestation.blobs.iter().all(|digest| pulled.contains(digest)));
    // What refers to it is the registry's to say.
    assert!(!pulled.contains(&signature.digest));
    assert!(!back.blobs().contains(&arm_attestation.digest), "another platform's");
    assert_eq!(hubcap.stop(), Some(0));
    succeeds(&run_at(&back, "verify", &[]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_fetches_attestations_and_goes_without_those_that_are_gone() {
    let (mut origin, place) = (Origin::start().await, Place::new());
    let image = Attested::put(&origin);
    // A client that takes none has pulled the image.
    let hubcap = place.start(&origin.url(), &[]);
    for reference in ["1", &image.amd.digest] {
        assert_eq!(hubcap.get(&manifest("app", reference)).await.status(), 200);
    }
    for digest in &image.amd.blobs {
        hubcap.get(&crate::support::hubcap::blob("app", digest)).await.bytes().await.expect("a body");
    }
    assert_eq!(hubcap.stop(), Some(0));
    let file = place.dir.path().join("app.tar");
    let export = ["export", "app:1", "--format", "oci-archive", "--platform", "linux/amd64", "-o"];
    let export = [export.as_slice(), &[file.to_str().expect("text")]].concat();
    let holds = |digest: &str| {
        let tar = std::fs::File::open(&file).expect("the archive");
        let mut tar = tar::Archive::new(tar);
        let mut members = tar.entries().expect("members").map(|one| one.expect("a member"));
        let name = digest.replace(':', "/");
        members.any(|one| one.path().expect("a path").ends_with(&name))
    };
    // Another store has the same image, and cannot ask.
    let without = [export.as_slice(), &["--offline"]].concat();
    succeeds(&at(&place, &origin, &without));
    assert!(holds(&image.amd.digest) && !holds(&image.attestation.digest) && !holds(&image.index));
    succeeds(&at(&place, &origin, &export));
    for digest in [&image.index, &image.amd.digest, &image.attestation.digest] {
        assert!(holds(digest), "{digest}");
    }
    let first = std::fs::read(&file).expect("the archive");
    origin.die().await;
    succeeds(&at(&place, &origin, &export));
    assert_eq!(sha256(&std::fs::read(&file).expect("the archive")), sha256(&first));
}

#[tokio::test(flavor = "multi_thread")]
async fn skopeo_podman_and_dockerd_load_what_was_exported_with_attestations() {
    let exported = Exported::new().await;
    let (own, other) = (exported.write("linux/amd64"), exported.write("linux/arm64"));
    let dir = tempfile::tempdir().expect("a directory");
    let config = &exported.image.amd.blobs[0];
    for (number, skopeo) in [Some(program("skopeo")), modern("skopeo")].into_iter().flatten().enumerate() {
        let mut skopeo = skopeo;
        let to = format!("dir:{}", dir.path().join(format!("copy{number}")).display());
        succeed(skopeo.args(["--insecure-policy", "copy", &format!("oci-archive:{own}"), &to]));
    }
    for file in [&own, &other] {
        podman(dir.path(), &["load", "--quiet", "--input", file]);
        let inspected = ["image", "inspect", "--format", "{{.Id}}", "app:1"];
        let id = podman(dir.path(), &inspected);
        assert_eq!(format!("sha256:{id}") == *config, *file == own);
        podman(dir.path(), &["image", "rm", "app:1"]);
    }
    let Some(today) = modern("dockerd") else { return };
    let docker = dir.path().join("docker");
    std::fs::create_dir(&docker).expect("a directory");
    // Its own image store reads no OCI layout.
    let json = r#"{"features": {"containerd-snapshotter": true}}"#;
    let dockerd = Dockerd::start_as(today, &docker, (json, &[]));
    for (file, architecture) in [(&own, "amd64"), (&other, "arm64")] {
        dockerd.docker(&["load", "--input", file]);
        let inspect = ["image", "inspect", "--format", "{{.Architecture}}", "app:1"];
        assert_eq!(dockerd.docker(&inspect), architecture);
    }
}
