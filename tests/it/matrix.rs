//! The clients that users run, each on a machine of its own: it pulls through hubcap cold, warm and without the origin, it
//! is unwired to the byte, and the doctor tells the truth of it.
//!
//! On each machine the registries' names lead to an [`Impostor`]. So a pull that does not ask hubcap is seen, with the name
//! of the process, and fails: nobody takes the impostor's certificate for a registry's.

mod build;
mod buildkit;
mod client;
mod containerd;
mod cri;
pub(crate) mod docker;
mod doctor;
pub(crate) mod origins;
mod podman;
mod table;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::clients::{Tree, said, tree};
use crate::support::PATIENCE;
use crate::support::impostor::{Impostor, Visit};
use crate::support::machine::{Machine, Programs};
use crate::support::programs::Running;
use client::{Client, Pull, Pulled, Wiring};
use doctor::Doctor;
use origins::{Image, Origins};

/// What hubcap may change on a machine.
const FILES: [&str; 5] =
    ["/etc/docker", "/etc/containerd", "/etc/containers", "/etc/buildkit", "/etc/systemd/system"];

/// A machine with one client, two registries and the impostor.
struct Site<'a> {
    client: &'a Client,
    machine: Machine,
    impostor: Impostor,
    pull: Pull,
    /// What `hubcap serve` runs as, where `hubcap up` has not started it.
    served: Option<Running>,
}

/// The five sentences, one after the other.
pub(crate) fn assert_five_sentences(client: &Client) {
    let Some(machine) = Machine::with(client.programs) else { return };
    let (mut origins, images) = Origins::start(&machine);
    let impostor = Impostor::start(&machine);
    let pull = (client.start)(&machine);
    client.compare_version(&machine);
    let mut site = Site { client, machine, impostor, pull, served: None };
    let images: Vec<&Image> = images.iter().filter(|image| client.covers.has(image)).collect();
    // Not the same: the BuildKit in dockerd remembers for minutes where it asks for a repository.
    let others: Vec<Image> = images.iter().map(|image| image.in_another_repository()).collect();
    site.assert_goes_past(&others.iter().collect::<Vec<_>>());
    site.doctor().assert_works();
    site.doctor().assert_past(client.remedy);
    let before = site.files();

    site.wire();
    site.doctor().assert_works();
    site.doctor().assert_through();
    site.assert_pulls("cold", &images);
    let served = origins.blobs_served();
    assert_eq!(served, client.covers.blobs(), "each blob comes from an origin once");
    site.assert_pulls("warm", &images);
    assert_eq!(origins.blobs_served(), served, "no blob comes from an origin again");
    origins.stop();
    site.assert_pulls("without the origin", &images);
    site.doctor().assert_broken("registries", "does not answer");
    site.doctor().assert_through();

    site.kill_hubcap();
    site.doctor().assert_broken("daemon", "ask it first, each time in vain");
    site.assert_goes_past(&images);
    site.unwire();
    let after = site.files();
    let changed = |(path, was): &(&PathBuf, &(u32, Option<Vec<u8>>))| after.get(*path) != Some(was);
    let changed: Vec<_> = before.iter().filter(changed).map(|(path, _)| path).collect();
    let left: Vec<_> = after.keys().filter(|path| !before.contains_key(*path)).collect();
    assert!(changed.is_empty() && left.is_empty(), "not as before: {changed:?}; left: {left:?}");
    site.assert_goes_past(&images);
    site.doctor().assert_past(client.remedy);
}

impl Site<'_> {
    fn hubcap(&self, words: &[&str]) -> String {
        let output = self.machine.hubcap(words).output().expect("hubcap starts");
        assert!(output.status.success(), "{words:?}: {}", said(&output));
        said(&output)
    }

    fn doctor(&self) -> Doctor {
        Doctor::ask(&self.machine, self.client.about)
    }

    fn pull(&self, image: &Image) -> Pulled {
        (self.pull)(&self.machine, image)
    }

    /// What hubcap may change, as it is now.
    fn files(&self) -> Tree {
        let mut buildx = tree(&self.machine.home().join(".docker/buildx"));
        buildx.retain(|path, _| path.extension().is_some_and(|extension| extension == "toml"));
        let roots = FILES.iter().map(|dir| self.machine.at(dir)).chain([self.machine.home().join(".config")]);
        roots.flat_map(|dir| tree(&dir)).chain(buildx).collect()
    }

    fn wire(&mut self) {
        let name = self.client.name;
        match self.client.wiring {
            Wiring::Up { restart } => {
                let restart = restart.then_some("--restart");
                let words: Vec<&str> = ["up", "--client", name].into_iter().chain(restart).collect();
                let said = self.hubcap(&words);
                assert!(said.contains("proved with a pull"), "{said}");
            }
            Wiring::Setup => {
                let mut serve = self.machine.hubcap(&["serve"]);
                let log = std::fs::File::create(self.machine.dir("hubcap").join("log")).expect("a log");
                let both = (log.try_clone().expect("a log"), log);
                self.served =
                    Some(Running(serve.stdout(both.0).stderr(both.1).spawn().expect("hubcap starts")));
                let end = Instant::now() + PATIENCE;
                while !self.machine.hubcap(&["health"]).output().is_ok_and(|output| output.status.success()) {
                    assert!(Instant::now() < end, "hubcap does not answer");
                    std::thread::sleep(Duration::from_millis(20));
                }
                self.hubcap(&["setup", name]);
            }
        }
    }

    fn unwire(&self) {
        match self.client.wiring {
            Wiring::Up { .. } => self.hubcap(&["down"]),
            Wiring::Setup => self.hubcap(&["unset", self.client.name]),
        };
    }

    /// Ends hubcap as nothing else would.
    fn kill_hubcap(&mut self) {
        self.served = None;
        let run = self.machine.home().join(".local/state/hubcap/run.json");
        let Ok(run) = std::fs::read(run) else { return };
        let run: serde_json::Value = serde_json::from_slice(&run).expect("JSON");
        let pid = run["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("a process");
        let pid = rustix::process::Pid::from_raw(pid).expect("a process");
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }

    /// Pulls each image: the client has the right bytes, and nobody asked a registry itself.
    fn assert_pulls(&self, what: &str, images: &[&Image]) {
        let start = Instant::now();
        for image in images {
            let got = self.pull(image).unwrap_or_else(|why| panic!("{what}: {why}"));
            assert_eq!(got, (self.client.identity)(image), "{what}: {}", image.name);
        }
        println!("{what}: {:.2} s", start.elapsed().as_secs_f64());
        assert_eq!(self.impostor.visits(), [], "{what}: somebody asked a registry itself");
    }

    /// Pulls, which fails: the client asks the registry itself, and does not take the impostor for it.
    fn assert_goes_past(&self, images: &[&Image]) {
        for image in images {
            let got = self.pull(image);
            let Err(why) = got else { panic!("{} was pulled from nowhere: {got:?}", image.name) };
            let visits = self.impostor.visits();
            assert!(!visits.is_empty(), "the registry was not asked: {why}");
            let expected = |visit: &Visit| {
                visit.by == self.client.process
                    && !visit.was_fooled
                    && visit.name.as_ref().is_some_and(|name| image.is_at(name))
            };
            assert!(visits.iter().all(expected), "{visits:?}");
        }
    }
}

#[test]
fn hubcap_itself_takes_no_impostor_for_a_registry() {
    let Some(machine) = Machine::with(Programs::Installed) else { return };
    let impostor = Impostor::start(&machine);
    for (image, name) in [("alpine", "registry-1.docker.io"), ("quay.io/org/app:1", "quay.io")] {
        let output =
            machine.command(env!("CARGO_BIN_EXE_hubcap")).args(["pull", image]).output().expect("it starts");
        assert!(!output.status.success() && said(&output).contains("certificate"), "{}", said(&output));
        let visits = impostor.visits();
        assert!(!visits.is_empty(), "{}", said(&output));
        for Visit { by, name: asked, was_fooled } in visits {
            assert_eq!((by.as_str(), asked.as_deref(), was_fooled), ("hubcap", Some(name), false));
        }
    }
}
