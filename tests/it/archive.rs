//! Images as files: out of the store for docker load and podman load, and into it from what docker save and podman save
//! write.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::json;

use crate::real::{assert_greets, layout, push};
use crate::support::hubcap::{Place, command, manifest, run};
use crate::support::image::{self, sha256};
use crate::support::origin::Origin;
use crate::support::programs::{Dockerd, Registry, podman, program, succeed};
use crate::support::{noise, packed};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn at(place: &Place, verb: &str, more: &[&str]) -> Output {
    let (store, state) = (place.store(), place.state());
    let (store, state) = (store.to_str().expect("text"), state.to_str().expect("text"));
    run(place.dir.path(), &[&[verb, "--store", store, "--state", state], more].concat())
}

fn succeeds(output: &Output) -> String {
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

const ID: [&str; 4] = ["image", "inspect", "--format", "{{.Id}}"];

#[tokio::test(flavor = "multi_thread")]
async fn an_image_goes_from_the_store_into_dockerd_and_podman_and_comes_back_with_the_same_id() {
    let place = Place::new();
    let dir = place.dir.path();
    let registry = Registry::start(dir);
    let layout = layout(dir);
    let upstream = format!("docker.io=http://127.0.0.1:{}", registry.port);
    let docker = dir.join("docker");
    fs::create_dir(&docker).expect("a directory");
    let dockerd = Dockerd::start(&docker, "https://127.0.0.1:1");
    let mut ids = Vec::new();
    for format in ["oci", "v2s2"] {
        let name = format!("it:{format}");
        push(&registry, &layout, (&format!("library/{name}"), format));
        let tar = dir.join(format!("{format}.tar"));
        let tar = tar.to_str().expect("text");
        // What the store does not have is fetched; the second time it is all there.
        succeeds(&at(
            &place,
            "export",
            &[&name, "-o", tar, "--platform", "linux/amd64", "--upstream", &upstream],
        ));
        dockerd.docker(&["load", "--input", tar]);
        let id = dockerd.docker(&[ID.as_slice(), &[&name]].concat());
        assert_greets(&mut dockerd.command(&[]), &name, "hello from the store");
        podman(dir, &["load", "--quiet", "--input", tar]);
        assert_eq!(format!("sha256:{}", podman(dir, &[ID.as_slice(), &[&name]].concat())), id);
        podman(dir, &["image", "rm", &name]);

        let oci = dir.join(format!("{format}-oci.tar"));
        let oci = oci.to_str().expect("text");
        let to_oci = ["--format", "oci-archive", "--platform", "linux/amd64", "--offline", "-o", oci, &name];
        succeeds(&at(&place, "export", &to_oci));
        podman(dir, &["load", "--quiet", "--input", oci]);
        assert_eq!(format!("sha256:{}", podman(dir, &[ID.as_slice(), &[&name]].concat())), id);
        ids.push((name, id));
    }

    // Back again: as docker saved it, as podman did, and as hubcap did, which keeps the digest too.
    let back = Place::new();
    let (saved, podmans) = (dir.join("saved.tar"), dir.join("podmans.tar"));
    let (saved, podmans) = (saved.to_str().expect("text"), podmans.to_str().expect("text"));
    dockerd.docker(&["save", "--output", saved, &ids[0].0]);
    podman(dir, &["save", "--quiet", "--format", "oci-archive", "--output", podmans, &ids[1].0]);
    succeeds(&at(&back, "import", &[saved, podmans]));
    let digest = succeeds(&at(&back, "import", &[dir.join("v2s2-oci.tar").to_str().expect("text")]));
    let pushed = succeed(
        program("skopeo")
            .args(["inspect", "--raw", "--tls-verify=false"])
            .arg(format!("docker://127.0.0.1:{}/library/it:v2s2", registry.port)),
    );
    assert_eq!(digest.trim(), format!("docker.io/library/it:v2s2  {}", sha256(pushed.as_bytes())));
    succeeds(&at(&back, "verify", &[]));
    drop((dockerd, registry));
    let hubcap = back.start("http://127.0.0.1:1", &["--offline"]);
    let docker = dir.join("docker2");
    fs::create_dir(&docker).expect("a directory");
    let dockerd = Dockerd::start(&docker, &hubcap.https);
    for (name, id) in &ids {
        dockerd.docker(&["pull", name]);
        assert_eq!(dockerd.docker(&[ID.as_slice(), &[name]].concat()), *id, "{}", hubcap.log());
        assert_greets(&mut dockerd.command(&[]), name, "hello from the store");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_fails_leaves_no_file_and_one_to_standard_output_is_the_same() {
    let (origin, place) = (Origin::start().await, Place::new());
    let image = image::put(&origin, "library/x:1", &[&noise(3 << 20, 1), &noise(70_000, 2)]);
    let upstream = format!("docker.io={}", origin.url());
    let out = place.dir.path().join("out");
    fs::create_dir(&out).expect("a directory");
    let file = out.join("x.tar");
    let file = file.to_str().expect("text");
    let offline = at(&place, "export", &["x:1", "-o", file, "--offline"]);
    assert_eq!(offline.status.code(), Some(1));
    assert!(text(&offline.stderr).contains("--offline"), "{}", text(&offline.stderr));
    assert_eq!(fs::read_dir(&out).expect("a directory").count(), 0);

    succeeds(&at(&place, "export", &["x:1", "-o", file, "--upstream", &upstream]));
    origin.forget();
    let again = at(&place, "export", &["x:1", "-o", "-", "--upstream", &upstream]);
    assert!(again.status.success() && again.stdout == fs::read(file).expect("read"));
    // Beside a daemon, which has the store.
    let hubcap = place.start(&origin.url(), &[]);
    let beside = at(&place, "export", &["x:1", "-o", file, "--offline"]);
    assert!(beside.status.success() && again.stdout == fs::read(file).expect("read"));
    assert_eq!(origin.log().len(), 0);
    assert_eq!(hubcap.stop(), Some(0));
    // With its manifest it is the same image everywhere.
    let oci = place.dir.path().join("oci.tar");
    let oci = oci.to_str().expect("text");
    succeeds(&at(&place, "export", &["x:1", "-o", oci, "--format", "oci-archive", "--offline"]));
    let imported = succeeds(&at(&Place::new(), "import", &[oci]));
    assert_eq!(imported.trim(), format!("docker.io/library/x:1  {}", image.digest));

    let blob = place.store().join("blobs/sha256").join(image.blobs[1].trim_start_matches("sha256:"));
    fs::write(&blob, noise(3 << 20, 9)).expect("written");
    fs::remove_file(file).expect("removed");
    let damaged = at(&place, "export", &["x:1", "-o", file]);
    assert_eq!(damaged.status.code(), Some(1));
    assert!(text(&damaged.stderr).contains("--repair"), "{}", text(&damaged.stderr));
    assert_eq!(fs::read_dir(&out).expect("a directory").count(), 0);
}

/// A tar of members; a name that ends in `->target` is a link.
fn tar_of(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        match name.split_once("->") {
            Some((name, to)) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_size(0);
                tar.append_link(&mut header, name, to).expect("a member");
            }
            None => {
                header.set_size(bytes.len() as u64);
                // As it is: the builder would refuse a name that leads elsewhere.
                header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
                header.set_cksum();
                tar.append(&header, *bytes).expect("a member");
            }
        }
    }
    tar.into_inner().expect("a tar")
}

struct Saved {
    config: Vec<u8>,
    layer: Vec<u8>,
    name: String,
}

impl Saved {
    fn new() -> Self {
        let layer = tar_of(&[("etc/x", b"x")]);
        let config = json!({"os": "linux", "architecture": "amd64",
            "rootfs": {"type": "layers", "diff_ids": [sha256(&layer)]}});
        let config = config.to_string().into_bytes();
        let name = format!("{}.json", sha256(&config).trim_start_matches("sha256:"));
        Self { config, layer, name }
    }

    fn manifest(&self, layer: &str) -> Vec<u8> {
        json!([{"Config": self.name, "RepoTags": ["x:1"], "Layers": [layer]}]).to_string().into_bytes()
    }

    fn tar(&self, layer: &str, members: &[(&str, &[u8])]) -> Vec<u8> {
        let manifest = self.manifest(layer);
        let own: [(&str, &[u8]); 2] = [("manifest.json", &manifest), (&self.name, &self.config)];
        tar_of(&[&own, members].concat())
    }
}

/// A directory with an OCI layout whose index names `digest`, and blobs under the names that are given.
fn oci(dir: &Path, (digest, size): (&str, usize), blobs: &[(&str, &[u8])]) -> PathBuf {
    let _ = fs::remove_dir_all(dir);
    fs::create_dir_all(dir.join("blobs/sha256")).expect("a directory");
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("written");
    let index = json!({"schemaVersion": 2, "manifests": [{"mediaType": hubcap_oci::media_type::OCI_MANIFEST,
        "digest": digest, "size": size, "annotations": {"org.opencontainers.image.ref.name": "docker.io/library/x:1"}}]});
    fs::write(dir.join("index.json"), index.to_string()).expect("written");
    for (name, bytes) in blobs {
        fs::write(dir.join("blobs/sha256").join(name.trim_start_matches("sha256:")), bytes).expect("written");
    }
    dir.to_owned()
}

#[test]
fn a_file_that_is_no_whole_image_is_refused_by_name_and_leaves_nothing() {
    let place = Place::new();
    let saved = Saved::new();
    let whole = saved.tar("l/layer.tar", &[("l/layer.tar", &saved.layer)]);
    let mut giant = saved.tar("l/layer.tar", &[("l/layer.tar", &saved.layer)]);
    {
        // The last member claims a terabyte.
        let at = giant.windows(11).position(|name| name == b"l/layer.tar").map(|found| {
            let second = giant[found + 1..].windows(11).position(|name| name == b"l/layer.tar");
            second.map_or(found, |more| found + 1 + more)
        });
        let at = at.expect("the member");
        let mut header = tar::Header::from_byte_slice(&giant[at..at + 512]).clone();
        header.set_size(1 << 40);
        header.set_cksum();
        giant[at..at + 512].copy_from_slice(header.as_bytes());
    }
    let mut name_bomb = tar::Header::new_gnu();
    name_bomb.set_entry_type(tar::EntryType::GNULongName);
    name_bomb.set_size(2 << 20);
    name_bomb.set_cksum();
    let name_bomb = [name_bomb.as_bytes().to_vec(), vec![b'a'; 2 << 20]].concat();
    let nameless = json!([{"Config": saved.name, "RepoTags": null, "Layers": ["l"]}]).to_string();
    let fewer = json!([{"Config": saved.name, "RepoTags": ["x:1"], "Layers": []}]).to_string();
    let huge = vec![b' '; 17 << 20];
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", Vec::new(), "neither manifest.json"),
        ("noise", noise(4096, 1), "no tar"),
        ("gzip", [b"\x1f\x8b\x08\x00".as_slice(), &noise(1000, 2)].concat(), "cannot be decompressed"),
        ("cut", whole[..whole.len() - 2048 - 512].to_vec(), "cut short"),
        ("giant", giant, "cut short"),
        ("name bomb", name_bomb, "attributes"),
        ("torn", [&whole[..512], noise(8192, 3).as_slice()].concat(), "damaged"),
        ("no layer", saved.tar("l/layer.tar", &[]), "\"l/layer.tar\" is missing"),
        ("elsewhere", saved.tar("../../../etc/passwd", &[]), "is missing"),
        ("absolute", saved.tar("/etc/passwd", &[]), "is missing"),
        ("link out", saved.tar("l", &[("l->../../../../../etc/passwd", b"")]), "\"l\" is missing"),
        ("links in a circle", saved.tar("l", &[("l->m", b""), ("m->l", b"")]), "\"l\" is missing"),
        ("climbing member", saved.tar("l", &[("../l", &saved.layer)]), "\"l\" is missing"),
        ("another layer", saved.tar("l", &[("l", &tar_of(&[("etc/x", b"y")]))]), "damaged"),
        ("not JSON", tar_of(&[("manifest.json", b"{")]), "manifest.json"),
        ("huge JSON", tar_of(&[("manifest.json", &huge)]), "more than"),
        ("no images", tar_of(&[("manifest.json", b"[]")]), "no image"),
        (
            "no name",
            tar_of(&[
                ("manifest.json", nameless.as_bytes()),
                (&saved.name, &saved.config),
                ("l", &saved.layer),
            ]),
            "--tag",
        ),
        (
            "fewer layers",
            tar_of(&[("manifest.json", fewer.as_bytes()), (&saved.name, &saved.config)]),
            "0 layers",
        ),
        (
            "another config",
            tar_of(&[("manifest.json", &saved.manifest("l")), (&saved.name, b"{}"), ("l", &saved.layer)]),
            "damaged",
        ),
    ];
    let file = place.dir.path().join("file.tar");
    let refused = |what: &str, path: &Path, why: &str| {
        let output = at(&place, "import", &[path.to_str().expect("text")]);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{what}: {told}");
        assert!(told.contains(why) && told.contains(path.to_str().expect("text")), "{what}: {told}");
        assert!(!told.contains("panicked"), "{what}: {told}");
        assert_eq!((place.blobs().len(), place.ingests()), (0, 0), "{what}");
    };
    for (what, bytes, why) in &cases {
        fs::write(&file, bytes).expect("written");
        refused(what, &file, why);
    }
    refused("nothing", Path::new("/nowhere.tar"), "No such file");

    let manifest = json!({"schemaVersion": 2, "mediaType": hubcap_oci::media_type::OCI_MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": sha256(b"{}"), "size": 2},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": sha256(b"layer"), "size": 5}]});
    let manifest = manifest.to_string().into_bytes();
    let (digest, layer, config) = (sha256(&manifest), sha256(b"layer"), sha256(b"{}"));
    let dir = place.dir.path().join("layout");
    let named = (digest.as_str(), manifest.len());
    let config_and = |more: &[(&str, &[u8])]| {
        let own: [(&str, &[u8]); 2] = [(&digest, &manifest), (&config, b"{}")];
        oci(&dir, named, &[&own, more].concat())
    };
    refused("no manifest", &oci(&dir, named, &[]), "is missing");
    refused("wrong manifest", &oci(&dir, named, &[(&digest, b"{}")]), "damaged");
    refused("no blob", &config_and(&[]), "is missing");
    refused("short blob", &config_and(&[(&layer, b"laye")]), "damaged");
    refused("wrong blob", &config_and(&[(&layer, b"LAYER")]), "damaged");
    config_and(&[]);
    std::os::unix::fs::symlink(
        "/etc/hostname",
        dir.join("blobs/sha256").join(layer.trim_start_matches("sha256:")),
    )
    .expect("a link");
    refused("linked blob", &dir, "is missing");
    // The same, whole.
    succeeds(&at(&place, "import", &[config_and(&[(&layer, b"layer")]).to_str().expect("text")]));
    fs::write(&file, &whole).expect("written");
    succeeds(&at(&place, "import", &["--tag", "org/y:2", file.to_str().expect("text")]));
    // As such files are handed on.
    let compressed = place.dir.path().join("file.tar.compressed");
    for (program, bytes) in [
        ("gzip", packed("gzip", &whole)),
        ("zstd", packed("zstd", &whole)),
        ("xz", Command::new("xz").arg("-c").arg(&file).output().expect("xz runs").stdout),
        ("bzip2", Command::new("bzip2").arg("-c").arg(&file).output().expect("bzip2 runs").stdout),
    ] {
        fs::write(&compressed, bytes).expect("written");
        let name = format!("org/{program}:2");
        succeeds(&at(&place, "import", &["--tag", &name, compressed.to_str().expect("text")]));
        assert_eq!(place.ingests(), 0, "{program}");
    }
    // A layout that names nothing, beside what `docker save` writes.
    let both: [(&str, &[u8]); 3] = [
        ("l", &saved.layer),
        ("oci-layout", b"{\"imageLayoutVersion\": \"1.0.0\"}"),
        ("index.json", b"{\"schemaVersion\": 2, \"manifests\": null}"),
    ];
    fs::write(&file, saved.tar("l", &both)).expect("written");
    succeeds(&at(&place, "import", &["--tag", "org/both:2", file.to_str().expect("text")]));
    // As older dockers save a layer that is there twice.
    fs::write(
        &file,
        saved.tar(
            "a/b/layer.tar",
            &[("l/layer.tar", &saved.layer), ("a/b/layer.tar->../../l/layer.tar", b"")],
        ),
    )
    .expect("written");
    succeeds(&at(&place, "import", &["--tag", "org/z:2", file.to_str().expect("text")]));
    let listed = succeeds(&run(place.dir.path(), &["ls", "--store", place.store().to_str().expect("text")]));
    assert!(listed.contains("docker.io/library/x:1") && listed.contains("docker.io/org/y:2  "), "{listed}");
    assert!(listed.contains("docker.io/org/z:2") && !listed.contains("incomplete"), "{listed}");
}

#[test]
fn a_lock_that_is_refused_writes_no_command_and_no_escape_sequence() {
    let place = Place::new();
    let file = place.dir.path().join("hubcap.lock");
    let text = file.to_str().expect("text");
    for lock in [
        "version = 1\n\"x\\n::error::a\\u001b[2J\\u0007\" = 1",
        "version = 1\n[images.\"::error::a\\n ::add-mask::b\"]\n\"##[c]\" = 1",
        "::error::a\u{1b}[2J\u{202e} = = 1",
    ] {
        std::fs::write(&file, lock).expect("written");
        let refused = run(place.dir.path(), &["serve", "--check", &format!("--frozen={text}")]);
        assert!(!refused.status.success(), "{refused:?}");
        let told = String::from_utf8([refused.stdout, refused.stderr].concat()).expect("text");
        let is_command = |line: &str| line.trim_start().starts_with("::") || line.contains("##[");
        assert!(!told.contains(['\u{1b}', '\u{7}', '\u{202e}', '\r']), "{told:?}");
        assert!(!told.is_empty() && !told.lines().any(is_command), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_fixes_the_used_tags_and_frozen_answers_from_it_alone() {
    let (origin, place) = (Origin::start().await, Place::new());
    let amd = image::put_for(&origin, "library/x:amd", &[b"amd"], "amd64");
    let arm = image::put_for(&origin, "library/x:arm", &[b"arm"], "arm64");
    let locked = image::put_index(&origin, "library/x:1", &[(&amd, "amd64"), (&arm, "arm64")]);
    image::put(&origin, "library/unused:1", &[b"unused"]);
    image::put(&origin, "library/other:1", &[b"other"]);
    let hubcap = place.start(&origin.url(), &[]);
    hubcap.get(&manifest("unused", "1")).await;
    assert_eq!(hubcap.stop(), Some(0));
    let file = place.dir.path().join("hubcap.lock");
    let file = file.to_str().expect("text");
    let hubcap = place.start(&origin.url(), &[]);
    hubcap.get(&manifest("x", "1")).await;
    let held = at(&place, "lock", &["-o", file]);
    assert!(!held.status.success() && text(&held.stderr).contains(&hubcap.pid().to_string()));
    assert_eq!(hubcap.stop(), Some(0));
    succeeds(&at(&place, "lock", &["-o", file]));
    let lock = fs::read_to_string(file).expect("a lock");
    assert!(lock.contains("[images.\"docker.io/library/x:1\"]") && !lock.contains("unused"), "{lock}");
    for line in [
        format!("digest = \"{locked}\""),
        format!("platforms.\"linux/amd64\" = \"{}\"", amd.digest),
        format!("platforms.\"linux/arm64\" = \"{}\"", arm.digest),
    ] {
        assert!(lock.lines().any(|one| one == line), "{line}: {lock}");
    }
    succeeds(&at(&place, "lock", &["-o", file, "--check"]));

    // Upstream the tag moves; on an empty machine the locked one comes, by its digest, and the move is told.
    let moved = image::put_index(&origin, "library/x:1", &[(&arm, "arm64")]);
    let frozen = format!("--frozen={file}");
    let fresh = Place::new();
    let hubcap = fresh.start(&origin.url(), &[&frozen, "--tag-ttl", "0s"]);
    for _ in 0..2 {
        let answer = hubcap.get(&manifest("x", "1")).await;
        assert_eq!(answer.status(), 200, "{}", hubcap.log());
        assert_eq!(sha256(&answer.bytes().await.expect("a body")), locked);
    }
    crate::support::eventually("the move is told", || hubcap.log().contains("has moved")).await;
    let log = hubcap.log();
    assert!(log.matches("has moved").count() == 1 && log.contains(&locked) && log.contains(&moved), "{log}");
    // A tag that is not locked is refused, told once, and never asked for.
    origin.forget();
    for _ in 0..2 {
        let answer = hubcap.get(&manifest("other", "1")).await;
        assert_eq!(answer.status(), 404);
        assert_eq!(crate::support::hubcap::status(&answer), "hubcap; detail=not-locked");
        assert!(
            answer.text().await.expect("a body").contains("docker.io/library/other:1 is not in the lock")
        );
    }
    assert_eq!(hubcap.log().matches("other:1 is not in the lock").count(), 1, "{}", hubcap.log());
    assert_eq!(origin.log().len(), 0);
    assert_eq!(hubcap.stop(), Some(0));
    // The lock is all that it takes, and the store says the same without it.
    for flags in [["--offline", frozen.as_str()].as_slice(), &["--offline"]] {
        let hubcap = fresh.start(&origin.url(), flags);
        let answer = hubcap.get(&manifest("x", "1")).await;
        assert_eq!(sha256(&answer.bytes().await.expect("a body")), locked, "{flags:?}: {}", hubcap.log());
        assert_eq!(hubcap.stop(), Some(0));
    }

    // Without the lock the tag moves in the store, and --check says so.
    let hubcap = place.start(&origin.url(), &["--tag-ttl", "0s"]);
    hubcap.get(&manifest("x", "1")).await.bytes().await.expect("a body");
    hubcap.get(&manifest("unused", "1")).await.bytes().await.expect("a body");
    assert_eq!(hubcap.stop(), Some(0));
    let drift = at(&place, "lock", &["-o", file, "--check"]);
    assert_eq!(drift.status.code(), Some(1), "{}", text(&drift.stderr));
    let told = text(&drift.stdout);
    assert!(
        told.contains(&format!("docker.io/library/x:1 is locked to {locked}, and is now {moved}")),
        "{told}"
    );
    assert!(told.contains("docker.io/library/unused:1 is not in the lock"), "{told}");
    assert_eq!(fs::read_to_string(file).expect("a lock"), lock);
    succeeds(&at(&place, "lock", &["-o", file, "x:1"]));
    assert!(fs::read_to_string(file).expect("a lock").contains(&moved));
    succeeds(&at(&place, "lock", &["-o", file, "--all"]));
    assert!(fs::read_to_string(file).expect("a lock").contains("unused"));
}

#[test]
fn a_frozen_daemon_without_a_lock_does_not_start() {
    let place = Place::new();
    for (contents, why) in [(None, "hubcap lock"), (Some("version = 9"), "version is 9")] {
        if let Some(contents) = contents {
            fs::write(place.dir.path().join("hubcap.lock"), contents).expect("written");
        }
        let mut command: Command = command(place.dir.path());
        let output =
            command.args(["serve", "--frozen"]).current_dir(place.dir.path()).output().expect("it starts");
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(why), "{}", text(&output.stderr));
    }
}
