//! The journal against a model: whatever is set up, undone, killed in its midst, and written by others in between, the files
//! are theirs to the byte after the last undo.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::{Journal, disk};
use crate::authority::Authority;
use crate::change::Planned;
use crate::file;
use crate::file_kind::FileKind;
use crate::format::containerd_toml::Lasting;
use crate::format::daemon_json::DaemonJson;
use crate::format::hosts_toml::{Capabilities, with_mirror};
use crate::format::{buildkitd_toml, containerd_toml};
use crate::mirror::Mirror;
use crate::paths;

/// A client's files, of each kind that others write into.
const FILES: [(&str, FileKind); 6] = [
    ("docker/daemon.json", FileKind::DaemonJson),
    ("docker/certs.d/docker.io/hosts.toml", FileKind::HostsToml),
    ("docker/certs.d/ghcr.io/hosts.toml", FileKind::HostsToml),
    ("docker/certs.d/10.0.0.1/ca.crt", FileKind::Certificate),
    ("buildx/buildkitd.toml", FileKind::BuildkitdToml),
    ("containerd/config.toml", FileKind::ContainerdToml),
];

/// What others write into a file of this kind.
fn texts(kind: FileKind) -> [Option<&'static str>; 4] {
    match kind {
        FileKind::DaemonJson => [
            None,
            Some("{ \"features\":{\"a\" :true} }"),
            Some("{\n\t\"registry-mirrors\": [\"https://127.0.0.1:9\"],\n\t\"a\": 1\n}\n"),
            Some(""),
        ],
        FileKind::HostsToml => [
            None,
            Some("server = \"https://a\"\n"),
            Some("# mine\n[host.\"https://office\"]  # b\n  dial_timeout = \"1s\"\n"),
            Some(""),
        ],
        FileKind::BuildkitdToml => {
            [None, Some("debug=true\n"), Some("# a\n[registry.\"docker.io\"]\nmirrors=['a'] # b\n"), Some("")]
        }
        FileKind::ContainerdToml => {
            [None, Some("version=2\n"), Some("# a\nimports=['a'] # b\n[grpc]\n"), Some("")]
        }
        FileKind::Certificate | FileKind::Own => [None, Some("theirs\n"), Some("also theirs\n"), Some("")],
    }
}

/// Where a process is killed: after so many files, or never.
type Kill = Option<usize>;

#[derive(Debug, Clone)]
enum Step {
    /// `setup` of the files that the bits name, for a hubcap on this port.
    Setup {
        files: u8,
        port: u16,
        kill: Kill,
    },
    Undo {
        kill: Kill,
    },
    /// Someone writes a text into a file, or removes it.
    Write {
        file: usize,
        text: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let kill = || proptest::option::of(0..=FILES.len());
    prop_oneof![
        (1_u8..64, 1_u16..4, kill()).prop_map(|(files, port, kill)| Step::Setup { files, port, kill }),
        kill().prop_map(|kill| Step::Undo { kill }),
        (0..FILES.len(), 0_usize..4).prop_map(|(file, text)| Step::Write { file, text }),
    ]
}

struct World {
    dir: tempfile::TempDir,
    /// What the files have without hubcap.
    theirs: Vec<Option<&'static str>>,
}

impl World {
    fn new(theirs: &[usize]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut world = Self { dir, theirs: vec![None; FILES.len()] };
        for (file, text) in theirs.iter().enumerate() {
            world.write(file, *text);
        }
        world
    }

    fn path(&self, file: usize) -> PathBuf {
        self.dir.path().join("etc").join(FILES[file].0)
    }

    fn write(&mut self, file: usize, text: usize) {
        let (path, text) = (self.path(file), texts(FILES[file].1)[text]);
        match text {
            Some(text) => {
                std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
                std::fs::write(path, text).expect("written");
            }
            None => drop(std::fs::remove_file(path)),
        }
        self.theirs[file] = text;
    }

    fn journal(&self) -> Journal {
        Journal::open(&self.dir.path().join("state"), "docker").expect("a journal")
    }

    fn plan(&self, journal: &Journal, files: u8, port: u16) -> Vec<Planned> {
        let mirror = Mirror::new(([127, 0, 0, 1], port).into(), Authority::read("/s/ca.pem".into()));
        let wanted = (0..FILES.len()).filter(|file| files & (1 << file) != 0);
        let plan = wanted.map(|file| {
            let (path, kind) = (self.path(file), FILES[file].1);
            let edit = |original: Option<&str>| edit(&path, kind, original, &mirror);
            journal.plan(path.clone(), kind, |original| Ok(Some(edit(original)))).expect("planned")
        });
        plan.collect()
    }

    fn setup(&self, files: u8, port: u16, kill: Kill) {
        let mut journal = self.journal();
        let plan = self.plan(&journal, files, port);
        let Some(kill) = kill else {
            journal.apply(&plan).expect("applied");
            return;
        };
        journal.announce(&plan).expect("announced");
        for planned in plan.iter().take(kill) {
            file::replace(&planned.change.path, planned.change.wanted.as_deref()).expect("written");
        }
        if let Some(next) = plan.get(kill) {
            self.leave_half(&next.change.path);
        }
    }

    fn undo(&self, kill: Kill) {
        let mut journal = self.journal();
        let changes = journal.plan_undo().expect("planned");
        let Some(kill) = kill else {
            journal.undo(&changes).expect("undone");
            return;
        };
        for change in changes.iter().filter(|change| !change.is_empty()).take(kill) {
            file::replace(&change.path, change.wanted.as_deref()).expect("written");
        }
        if kill >= changes.len() {
            let made = journal.contents.files.iter().flat_map(|record| record.made.clone());
            paths::remove_empty_directories(made.collect());
        }
    }

    /// A new text that was being written when the process was killed.
    fn leave_half(&self, path: &Path) {
        if path.parent().is_some_and(Path::exists) {
            let mut new = path.as_os_str().to_owned();
            new.push(".hubcap-new");
            std::fs::write(new, "ha").expect("written");
        }
    }

    /// Every file and directory below.
    fn tree(&self) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::new();
        let mut dirs = vec![self.dir.path().join("etc")];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
                if entry.path().is_dir() {
                    dirs.push(entry.path());
                }
                found.insert(entry.path());
            }
        }
        found
    }
}

/// hubcap's part put into a file.
fn edit(path: &Path, kind: FileKind, original: Option<&str>, mirror: &Mirror) -> String {
    match kind {
        FileKind::DaemonJson => {
            let json = DaemonJson::parse(path, original).expect("json");
            let mut mirrors = json.mirrors(path).expect("a list").unwrap_or_default();
            mirrors.insert(0, mirror.url());
            let json = json.with_mirrors(Some(&mirrors));
            json.with_containerd_store(path, Some(true)).expect("an object").to_string()
        }
        FileKind::HostsToml => {
            with_mirror(path, original, mirror, Capabilities::PullAndResolve).expect("TOML")
        }
        FileKind::BuildkitdToml => {
            let registries = [hubcap_oci::Registry::docker_hub()];
            buildkitd_toml::with_mirror(path, original, mirror, &registries).expect("TOML")
        }
        FileKind::ContainerdToml => {
            containerd_toml::with_import(path, original, Lasting::UntilReboot).expect("TOML")
        }
        FileKind::Certificate | FileKind::Own => format!("certificate {}\n", mirror.url()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_last_undo_leaves_the_files_as_others_wrote_them(
        theirs in proptest::collection::vec(0_usize..4, FILES.len()),
        steps in proptest::collection::vec(step(), 1..8),
    ) {
        let mut world = World::new(&theirs);
        let before = world.tree();
        let mut is_quiet = true;
        for step in &steps {
            match *step {
                Step::Setup { files, port, kill } => world.setup(files, port, kill),
                Step::Undo { kill } => world.undo(kill),
                Step::Write { file, text } => {
                    is_quiet = false;
                    world.write(file, text);
                }
            }
        }
        world.undo(None);
        for (file, theirs) in world.theirs.iter().enumerate() {
            let left = std::fs::read_to_string(world.path(file)).ok();
            prop_assert_eq!(left.as_deref(), *theirs, "{}", FILES[file].0);
        }
        let halves: Vec<PathBuf> = world.tree().into_iter().filter(|path| path.to_string_lossy().ends_with("-new")).collect();
        prop_assert!(halves.is_empty(), "{:?}", halves);
        if is_quiet {
            prop_assert_eq!(world.tree(), before);
        }
        prop_assert!(world.journal().is_empty());
        prop_assert!(!disk::path(&world.dir.path().join("state"), "docker").exists());
    }
}

#[test]
fn a_setup_of_other_files_forgets_nothing_of_one_that_was_killed() {
    let world = World::new(&[0; FILES.len()]);
    let (json, toml) = (1, 16);
    world.setup(toml, 1, None);
    world.setup(json | toml, 2, Some(0));
    world.setup(json, 1, None);
    world.undo(None);
    assert_eq!(world.tree(), BTreeSet::new());
}
