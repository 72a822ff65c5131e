//! What single steps cost: `cargo bench`. Whole requests are measured by `tests/bench`.

use bytes::Bytes;
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use hubcap_oci::{Algorithm, Digest, Endpoint, Manifest, RangeRequest, Tag, Target};
use hubcap_store::{Options, Store};

fn main() {
    divan::main();
}

fn digest(number: usize) -> Digest {
    Digest::of(Algorithm::Sha256, &number.to_be_bytes())
}

/// An image of `layers` layers.
fn manifest(layers: usize) -> Bytes {
    let descriptor = |number| {
        format!(r#"{{"mediaType":"application/octet-stream","digest":"{}","size":1}}"#, digest(number))
    };
    let layers: Vec<String> = (1..=layers).map(descriptor).collect();
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":[{}]}}"#,
        descriptor(0),
        layers.join(",")
    );
    text.into()
}

fn target() -> Target {
    Target {
        registry: "docker.io".parse().expect("a name"),
        repository: "library/alpine".parse().expect("a name"),
    }
}

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path(), Options::default()).expect("a store");
    (dir, store)
}

mod parsing {
    use super::*;

    #[divan::bench]
    fn a_blobs_path(bencher: Bencher) {
        let path = format!("/v2/library/alpine/blobs/{}", digest(0));
        bencher.bench(|| Endpoint::parse(black_box(&path), Some("ns=docker.io")).is_ok());
    }

    #[divan::bench]
    fn a_range() -> bool {
        RangeRequest::parse(black_box(Some("bytes=1048576-2097151"))).resolve(4 << 20).is_ok()
    }

    #[divan::bench(args = [1, 10, 100])]
    fn a_manifest(bencher: Bencher, layers: usize) {
        let bytes = manifest(layers);
        let digest = Digest::of(Algorithm::Sha256, &bytes);
        bencher
            .counter(BytesCount::of_slice(&bytes[..]))
            .bench(|| Manifest::parse(digest, black_box(&bytes), None).is_ok());
    }
}

mod index {
    use super::*;

    /// With so many images in the store.
    #[divan::bench(args = [10, 1000])]
    fn a_tag_and_its_manifest(bencher: Bencher, images: usize) {
        let ((_dir, store), target) = (store(), target());
        for number in 0..images {
            let bytes = manifest(number % 5 + 1);
            let parsed =
                Manifest::parse(Digest::of(Algorithm::Sha256, &bytes), &bytes, None).expect("a manifest");
            let tag: Tag = number.to_string().parse().expect("a tag");
            store.put_manifest(&target, &parsed, &bytes, Some(&tag)).expect("stored");
        }
        let tag: Tag = "7".parse().expect("a tag");
        bencher.bench(|| {
            let entry = store.tag(&target, black_box(&tag)).expect("a tag");
            store.manifest(&target, &entry.descriptor.digest).is_ok_and(|found| found.is_some())
        });
    }

    #[divan::bench]
    fn who_may_have_a_blob(bencher: Bencher) {
        let ((_dir, store), target) = (store(), target());
        for number in 0..1000 {
            store.link(&target, &digest(number));
        }
        let asked = digest(500);
        bencher.bench(|| store.is_linked(&target, black_box(&asked)) && !store.is_private(&target));
    }
}

mod ingest {
    use super::*;

    /// Written in pieces of 128 KiB, hashed, verified and renamed; length in KiB.
    #[divan::bench(args = [4, 1024, 64 << 10], sample_count = 10)]
    fn a_blob(bencher: Bencher, kib: usize) {
        let (_dir, store) = store();
        let bytes = Bytes::from(vec![7; kib << 10]);
        let digest = Digest::of(Algorithm::Sha256, &bytes);
        bencher.counter(BytesCount::of_slice(&bytes[..])).bench(|| {
            let mut ingest = store.ingest(digest, Some(bytes.len() as u64)).expect("an ingest");
            for start in (0..bytes.len()).step_by(128 << 10) {
                let end = bytes.len().min(start + (128 << 10));
                ingest.write(&bytes.slice(start..end)).expect("written");
            }
            ingest.commit().expect("the right digest")
        });
    }
}
