//! A real dockerd of today on containerd's image store, whose containerd unpacks by hubcap.

use super::Differ;
use super::containerd::{Containerd, Version};
use crate::real::{assert_greets, layout, push};
use crate::support::programs::{Dockerd, Registry, modern};

const IMAGE: &str = "library/it:1";

struct Machine {
    dockerd: Dockerd,
    _containerd: Containerd,
    differ: Differ,
    registry: Registry,
    dir: tempfile::TempDir,
}

impl Machine {
    fn start() -> Option<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        let differ = Differ::start(dir.path());
        let containerd = Containerd::start(&dir.path().join("containerd"), Version::Sid, Some(&differ))?;
        let registry = Registry::start(dir.path());
        push(&registry, &layout(dir.path()), (IMAGE, "oci"));
        let docker = dir.path().join("docker");
        std::fs::create_dir(&docker).expect("a directory");
        let socket = containerd.socket();
        let flags = ["--containerd", socket.to_str().expect("text")];
        let json = r#"{"features": {"containerd-snapshotter": true}}"#;
        let dockerd = Dockerd::start_as(modern("dockerd")?, &docker, (json, &flags));
        Some(Self { dockerd, _containerd: containerd, differ, registry, dir })
    }

    fn pull(&self) -> String {
        let image = format!("127.0.0.1:{}/{IMAGE}", self.registry.port);
        self.dockerd.docker(&["pull", &image]);
        image
    }
}

#[test]
fn dockerd_runs_an_image_that_hubcap_has_unpacked() {
    let Some(machine) = Machine::start() else { return };
    let image = machine.pull();
    assert_eq!(machine.differ.applied(), 3, "{}", machine.differ.log());
    assert_greets(&mut machine.dockerd.command(&[]), &image, "hello from the store");
}

#[test]
fn docker_commit_is_left_to_containerd() {
    let Some(machine) = Machine::start() else { return };
    let image = machine.pull();
    let run =
        ["run", "--name=one", "--network=none", &image, "/bin/busybox", "cp", "/etc/greeting", "/etc/copy"];
    machine.dockerd.docker(&run);
    machine.dockerd.docker(&["commit", "one", "committed:1"]);
    let check =
        ["run", "--rm", "--network=none", "committed:1", "/bin/busybox", "grep", "-q", "hello", "/etc/copy"];
    machine.dockerd.docker(&check);
    // The new layer is containerd's work, and then hubcap unpacks it as any other.
    assert_eq!(machine.differ.applied(), 4, "{}", machine.differ.log());
}

#[test]
fn docker_build_is_left_to_containerd() {
    let Some(machine) = Machine::start() else { return };
    let image = machine.pull();
    let context = machine.dir.path().join("context");
    std::fs::create_dir(&context).expect("a directory");
    std::fs::write(context.join("built"), "hello from the build\n").expect("written");
    let text = format!("FROM {image}\nCOPY built /etc/built\nCOPY Dockerfile /etc/\n");
    std::fs::write(context.join("Dockerfile"), text).expect("written");
    machine.dockerd.build(&context, "built:1");
    let check =
        ["run", "--rm", "--network=none", "built:1", "/bin/busybox", "grep", "-q", "hello", "/etc/built"];
    machine.dockerd.docker(&check);
}
