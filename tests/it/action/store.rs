//! A store that is not where it is by default.

use std::os::unix::fs::symlink;

use super::{Github, fine, pull};
use crate::support::noise;

#[test]
fn a_store_elsewhere_is_carried_to_a_machine_with_other_directories() {
    let mut github = Github::new();
    let mut carried = |given: &str, place: fn(&crate::support::runner::Job) -> std::path::PathBuf| {
        for number in 0..2 {
            let mut job = github.job();
            job.input("key", &given.replace(['~', '$', '/', '{', '}'], "_"));
            job.input("store", given);
            let began = job.main();
            fine(&began);
            let store = place(&job);
            let blob = store.join("blobs/sha256/one");
            assert_eq!(began.output("cache-hit"), if number == 0 { "false" } else { "true" });
            assert_eq!(blob.exists(), number == 1, "{}", began.log);
            assert!(github.calls()[0].starts_with(&format!("up --store {}", store.display())));
            std::fs::write(blob, noise(300_000, 7)).expect("written");
            // Commands in the job's steps find it.
            fine(&job.run(&format!("[ \"$HUBCAP_STORE\" = '{}' ]", store.display())));
            fine(&job.post("success"));
            github.calls();
            assert!(!job.workspace().join(".hubcap").exists());
        }
    };
    carried("~/hubcap", |job| job.home().join("hubcap"));
    carried("cache/hubcap", |job| job.workspace().join("cache/hubcap"));
}

#[test]
fn the_runners_temporary_directory_may_be_named() {
    let mut github = Github::new();
    for given in ["$RUNNER_TEMP/hubcap", "${RUNNER_TEMP}/hubcap"] {
        let mut job = github.job();
        job.input("store", given);
        fine(&job.main());
        assert!(job.temp().join("hubcap/oci-layout").exists());
        fine(&job.post("success"));
    }
}

#[test]
fn a_link_in_a_store_does_not_keep_the_store_from_being_saved() {
    let mut github = Github::new();
    let mut job = github.job();
    fine(&job.main());
    pull(&job, "one");
    let at = |name: &str| job.workspace().join(".hubcap").join(name);
    symlink("itself", at("itself")).expect("linked");
    symlink("nowhere", at("dangling")).expect("linked");
    // Larger than any disk.
    let large = job.temp().join("large");
    std::fs::File::create(&large).and_then(|file| file.set_len(1 << 42)).expect("a sparse file");
    symlink(&large, at("elsewhere")).expect("linked");
    fine(&job.post("success"));
    assert_eq!(github.cache.saved().len(), 1);
}
