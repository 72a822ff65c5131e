//! podman's partial pulls: of a layer in the format zstd:chunked it takes only the files that it does not have.

use std::path::PathBuf;
use std::process::Command;

use super::Site;
use super::podman::Machine;
use crate::support::hubcap::Hubcap;
use crate::support::image;
use crate::support::noise;
use crate::support::origin::Origin;
use crate::support::programs::{Registry, modern, succeed};

const FILES: u64 = 40;
const FILE: usize = 256 << 10;

/// Two files that are not side by side, so podman asks for several ranges.
const CHANGED: [u64; 2] = [3, 20];

#[tokio::test(flavor = "multi_thread")]
async fn podman_of_today_takes_only_the_changed_files_of_an_image_through_hubcap() {
    let Some(podman) = modern("podman") else { return };
    let mut site = Site::start("oci");
    push(&site.origins[0]).await;
    let machine = Machine::new(&site);
    machine.hubcap(&site, &["setup", "podman", "docker.io"]);
    let podman = Podman { machine: &machine, program: podman, files: configuration(&site) };

    let whole = podman.bytes_of_a_pull(&site.hubcap, "1");
    assert!(whole > 10 << 20, "{whole}");
    let few = podman.bytes_of_a_pull(&site.hubcap, "2");
    assert!((FILE as u64..1 << 20).contains(&few), "cold: {few} of {whole}");
    podman.run(&["rmi", "docker.io/library/part:2"]);
    // hubcap has all of it by itself.
    let has_all = || site.place.blobs().len() == 6 && site.place.ingests() == 0;
    crate::support::eventually("the rest of the layer", has_all).await;
    site.origins.clear();
    let few = podman.bytes_of_a_pull(&site.hubcap, "2");
    assert!((FILE as u64..1 << 20).contains(&few), "without the registry: {few} of {whole}");
    machine.hubcap(&site, &["unset", "podman"]);
    machine.assert_the_testers_own_files_are_untouched();
}

/// podman on a machine, with the storage that partial pulls need.
struct Podman<'a> {
    machine: &'a Machine,
    program: Command,
    /// Of containers.conf and storage.conf.
    files: [PathBuf; 2],
}

impl Podman<'_> {
    /// Pulls, and tells how many bytes of blobs hubcap sent.
    fn bytes_of_a_pull(&self, hubcap: &Hubcap, tag: &str) -> u64 {
        let before = blob_bytes(&hubcap.log());
        self.run(&["pull", "--quiet", &format!("docker.io/library/part:{tag}")]);
        blob_bytes(&hubcap.log()) - before
    }

    fn run(&self, words: &[&str]) {
        let mut command = self.machine.on(self.program.get_program());
        let [containers, storage] = &self.files;
        command.env("CONTAINERS_CONF", containers).env("CONTAINERS_STORAGE_CONF", storage);
        succeed(command.args(words));
    }
}

/// containers.conf and storage.conf.
fn configuration(site: &Site) -> [PathBuf; 2] {
    let dir = site.dir("podman");
    let helpers = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/modern/usr/lib/podman");
    let containers = format!("[engine]\nhelper_binaries_dir = [\"{helpers}\"]\n");
    let storage = format!(
        "[storage]\ndriver = \"overlay\"\ngraphroot = \"{0}/root\"\nrunroot = \"{0}/run\"\n[storage.options]\n\
         pull_options = {{enable_partial_images = \"true\", use_hard_links = \"false\", convert_images = \"false\", \
         insecure_allow_unpredictable_image_contents = \"true\"}}\n",
        dir.display()
    );
    [("containers.conf", containers), ("storage.conf", storage)].map(|(name, text)| {
        std::fs::write(dir.join(name), text).expect("written");
        dir.join(name)
    })
}

/// Puts an image in the format zstd:chunked, and another one with a few other files.
async fn push(registry: &Registry) {
    let origin = Origin::start().await;
    let url = origin.url();
    let from = url.trim_start_matches("http://");
    for tag in [1, 2] {
        let seed = |file: u64| if tag == 2 && CHANGED.contains(&file) { 1000 + file } else { 1 + file };
        // In no directory: podman may fail, the registry asked directly too, if a layer has a file and not its directory.
        let files: Vec<_> = (0..FILES).map(|file| (format!("file{file}"), noise(FILE, seed(file)))).collect();
        image::of_files(&origin, &format!("library/part:{tag}"), &files);
        let mut skopeo = modern("skopeo").expect("unpacked with podman");
        skopeo.args(["--insecure-policy", "copy", "--src-tls-verify=false", "--dest-tls-verify=false"]);
        skopeo.args([
            "--dest-compress-format",
            "zstd:chunked",
            &format!("docker://{from}/library/part:{tag}"),
        ]);
        succeed(skopeo.arg(format!("docker://127.0.0.1:{}/library/part:{tag}", registry.port)));
    }
}

/// How many bytes of blobs hubcap has sent, by its access log.
fn blob_bytes(log: &str) -> u64 {
    let of_blobs = log.lines().filter(|line| line.contains("/library/part/blobs/"));
    let bytes = |line: &str| line.split_once(" bytes=")?.1.split(' ').next()?.parse::<u64>().ok();
    of_blobs.filter_map(bytes).sum()
}
