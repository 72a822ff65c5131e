//! The clients beside dockerd, each a real one, with files that a user has already. `doctor` has what is said of all of
//! them. That each version of each client pulls cold, warm and with the origins stopped is in `matrix`.

mod cluster;
mod containerd;
mod doctor;
mod partial;
mod podman;
mod proxy;
mod trouble;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::real::{layout_with, push};
use crate::support::hubcap::{Hubcap, Place, command};
use crate::support::programs::Registry;

/// In both registries under the same name, with different contents.
pub(crate) const REPOSITORY: &str = "library/it:1";
/// A registry that is not Docker Hub.
pub(crate) const OTHER: &str = "quay.example";
const GREETINGS: [&str; 2] = ["hello from the hub\n", "hello from the other one\n"];

/// Two registries, and a hubcap before them.
pub(crate) struct Site {
    pub(crate) place: Place,
    pub(crate) hubcap: Hubcap,
    pub(crate) origins: Vec<Registry>,
}

impl Site {
    pub(crate) fn start(format: &str) -> Self {
        Self::start_with(format, &[])
    }

    /// With more flags of `serve`.
    pub(crate) fn start_with(format: &str, more: &[&str]) -> Self {
        let place = Place::new();
        let mut origins = Vec::new();
        for (number, greeting) in GREETINGS.iter().enumerate() {
            let dir = place.dir.path().join(format!("origin{number}"));
            std::fs::create_dir(&dir).expect("a directory");
            let registry = Registry::start(&dir);
            push(&registry, &layout_with(&dir, greeting.as_bytes()), (REPOSITORY, format));
            origins.push(registry);
        }
        let url = |registry: &Registry| format!("http://127.0.0.1:{}", registry.port);
        let other = format!("{OTHER}={}", url(&origins[1]));
        let hubcap = place.start(&url(&origins[0]), &[&["--upstream", &other], more].concat());
        Self { place, hubcap, origins }
    }

    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        let dir = self.place.dir.path().join(name);
        std::fs::create_dir_all(&dir).expect("a directory");
        dir
    }

    pub(crate) fn blobs_served(&self) -> usize {
        self.origins.iter().map(Registry::blobs_served).sum()
    }

    pub(crate) fn run(&self, words: &[&str]) -> Output {
        let mut command = command(self.place.dir.path());
        command.args(words).arg("--state").arg(self.place.state()).arg("--store").arg(self.place.store());
        command.output().expect("hubcap starts")
    }

    /// Runs, and must succeed.
    pub(crate) fn hubcap(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let said = said(&output);
        assert!(output.status.success(), "{words:?}: {said}");
        said
    }
}

pub(crate) fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Files and directories, with their modes and bytes.
pub(crate) type Tree = BTreeMap<PathBuf, (u32, Option<Vec<u8>>)>;

/// Every file and directory below.
pub(crate) fn tree(root: &Path) -> Tree {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
        let (path, metadata) = (entry.path(), entry.metadata().expect("metadata"));
        let bytes = metadata.is_file().then(|| std::fs::read(&path).expect("readable"));
        if metadata.is_dir() {
            found.extend(tree(&path));
        }
        found.insert(path, (metadata.permissions().mode(), bytes));
    }
    found
}
