//! A real registry as the origin, and skopeo on the store.

use std::path::Path;
use std::process::Command;

use crate::support::hubcap::{Place, run};
use crate::support::noise;
use crate::support::origin::Origin;
use crate::support::programs::{Registry, program, succeed};

/// An image in an OCI layout, with a program that runs without any library, as layers of files.
pub(crate) fn layout(dir: &Path) -> std::path::PathBuf {
    layout_with(dir, b"hello from the store\n")
}

/// The same, with a greeting of its own.
pub(crate) fn layout_with(dir: &Path, greeting: &[u8]) -> std::path::PathBuf {
    let root = dir.join("image");
    let tree = dir.join("tree");
    std::fs::create_dir_all(root.join("blobs/sha256")).expect("a directory");
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    let busybox =
        std::fs::read(busybox.expect("busybox is missing: tests/run installs it")).expect("busybox");
    let files: [(&str, Vec<u8>); 3] =
        [("bin/busybox", busybox), ("data/noise", noise(8 << 20, 1)), ("etc/greeting", greeting.to_vec())];
    let put = |bytes: &[u8]| {
        let digest = crate::support::image::sha256(bytes);
        std::fs::write(root.join("blobs/sha256").join(digest.trim_start_matches("sha256:")), bytes)
            .expect("written");
        serde_json::json!({"digest": digest, "size": bytes.len()})
    };
    let (mut layers, mut diffs) = (Vec::new(), Vec::new());
    for (number, (path, bytes)) in files.iter().enumerate() {
        let layer = tree.join(number.to_string());
        let file = layer.join(path);
        std::fs::create_dir_all(file.parent().expect("a parent")).expect("a directory");
        std::fs::write(&file, bytes).expect("written");
        succeed(Command::new("chmod").args(["-R", "755"]).arg(&layer));
        let tar = dir.join("layer.tar");
        succeed(
            program("tar")
                .args(["--mtime=@0", "--sort=name", "-cf"])
                .arg(&tar)
                .arg("-C")
                .arg(&layer)
                .arg("."),
        );
        diffs.push(crate::support::image::sha256(&std::fs::read(&tar).expect("read")));
        let _ = std::fs::remove_file(dir.join("layer.tar.gz"));
        succeed(Command::new("gzip").args(["-1", "-n"]).arg(&tar));
        let mut descriptor = put(&std::fs::read(dir.join("layer.tar.gz")).expect("read"));
        descriptor["mediaType"] = "application/vnd.oci.image.layer.v1.tar+gzip".into();
        layers.push(descriptor);
    }
    let config = serde_json::json!({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": diffs},
        "config": {"Cmd": ["/bin/busybox", "cat", "/etc/greeting"]}});
    let mut config = put(config.to_string().as_bytes());
    config["mediaType"] = "application/vnd.oci.image.config.v1+json".into();
    let manifest = serde_json::json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config, "layers": layers});
    let mut entry = put(manifest.to_string().as_bytes());
    entry["mediaType"] = "application/vnd.oci.image.manifest.v1+json".into();
    entry["annotations"] = serde_json::json!({"org.opencontainers.image.ref.name": "it"});
    std::fs::write(root.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("written");
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [entry]});
    std::fs::write(root.join("index.json"), index.to_string()).expect("written");
    root
}

/// Runs a container of the image, which must have this greeting. `docker` is its client. The exit code tells: on a busy machine
/// `docker run` may lose what a container prints that ends at once.
pub(crate) fn assert_greets(docker: &mut Command, image: &str, greeting: &str) {
    let run = ["run", "--rm", "--network=none", image];
    succeed(docker.args(run).args(["/bin/busybox", "grep", "-qxF", greeting, "/etc/greeting"]));
}

/// Pushes the image, in a form of skopeo's `--format`.
pub(crate) fn push(registry: &Registry, layout: &Path, (name, format): (&str, &str)) {
    succeed(
        program("skopeo")
            .args(["--insecure-policy", "copy", "--dest-tls-verify=false", "--format", format])
            .arg(format!("oci:{}:it", layout.display()))
            .arg(format!("docker://127.0.0.1:{}/{name}", registry.port)),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn skopeo_inspects_and_copies_what_was_pulled_through_in_either_format() {
    let place = Place::new();
    let registry = Registry::start(place.dir.path());
    let layout = layout(place.dir.path());
    let (store, state) = (place.store(), place.state());
    let store = store.to_str().expect("text");
    let upstream = format!("docker.io=http://127.0.0.1:{}", registry.port);
    for format in ["oci", "v2s2"] {
        push(&registry, &layout, (&format!("library/it:{format}"), format));
        let name = format!("it:{format}");
        let pulled = run(
            place.dir.path(),
            &[
                "pull",
                "--store",
                store,
                "--state",
                state.to_str().expect("text"),
                "--upstream",
                &upstream,
                &name,
            ],
        );
        assert!(pulled.status.success(), "{}", String::from_utf8_lossy(&pulled.stdout));
        let image = format!("oci:{store}:docker.io/library/it:{format}");
        let told = succeed(program("skopeo").args(["--insecure-policy", "inspect", &image]));
        let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
        assert_eq!((told["Os"].as_str(), told["Layers"].as_array().map(Vec::len)), (Some("linux"), Some(3)));
        let copy = place.dir.path().join(format!("copy-{format}"));
        succeed(
            program("skopeo")
                .args(["--insecure-policy", "copy", &image])
                .arg(format!("dir:{}", copy.display())),
        );
        assert!(copy.join("manifest.json").exists());
        let archive = place.dir.path().join(format!("{format}.tar"));
        succeed(
            program("skopeo")
                .args(["--insecure-policy", "copy", &image])
                .arg(format!("docker-archive:{}:it:1", archive.display())),
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn skopeo_opens_a_docker_manifest_list_that_was_pulled_through() {
    use hubcap_oci::media_type;
    let (origin, place) = (Origin::start().await, Place::new());
    let config = serde_json::json!({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": []}});
    let config = config.to_string().into_bytes();
    let manifest = serde_json::json!({"schemaVersion": 2, "mediaType": media_type::DOCKER_MANIFEST, "layers": [],
        "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": origin.put_blob(&config), "size": config.len()}});
    let manifest = manifest.to_string();
    let digest = origin.put_manifest("library/list:child", media_type::DOCKER_MANIFEST, manifest.as_bytes());
    let list = serde_json::json!({"schemaVersion": 2, "mediaType": media_type::DOCKER_LIST, "manifests": [
        {"mediaType": media_type::DOCKER_MANIFEST, "digest": digest, "size": manifest.len(),
            "platform": {"os": "linux", "architecture": "amd64"}}]});
    origin.put_manifest("library/list:1", media_type::DOCKER_LIST, list.to_string().as_bytes());
    let (store, state) = (place.store(), place.state());
    let (store, state) = (store.to_str().expect("text"), state.to_str().expect("text"));
    let upstream = format!("docker.io={}", origin.url());
    let common = [
        "pull",
        "--store",
        store,
        "--state",
        state,
        "--upstream",
        &upstream,
        "--platform",
        "linux/amd64",
        "list:1",
    ];
    assert!(run(place.dir.path(), &common).status.success());
    let image = format!("oci:{store}:docker.io/library/list:1");
    let told =
        succeed(program("skopeo").args(["--insecure-policy", "--override-arch", "amd64", "inspect", &image]));
    assert!(told.contains("\"Architecture\": \"amd64\""), "{told}");
}
