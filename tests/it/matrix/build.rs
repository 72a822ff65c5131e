//! The BuildKit that is in dockerd, by `docker build`: the images that builds begin from.

use super::client::{Client, Covers, Pull, Wiring};
use super::origins::Image;
use super::{assert_five_sentences, docker};
use crate::clients::said;
use crate::real::assert_greets;
use crate::support::machine::Machine;
use crate::support::programs::{modern_root, succeed};

pub(crate) const DEBIAN_12: Client = Client {
    title: "`docker build`, by the BuildKit in dockerd",
    // Before 25 its BuildKit has the mirrors of dockerd's start.
    wiring: Wiring::Up { restart: true },
    start: |machine| building(machine, "{}", &["build"]),
    identity: Image::of_greeting,
    ..docker::DEBIAN_12
};

pub(crate) const OWN_STORE: Client = Client {
    version: docker::OWN_STORE.version,
    programs: docker::OWN_STORE.programs,
    wiring: Wiring::Up { restart: false },
    covers: Covers::Every,
    start: |machine| building(machine, "{\"features\": {\"containerd-snapshotter\": false}}", &["build"]),
    ..DEBIAN_12
};

pub(crate) const CONTAINERD_STORE: Client = Client {
    title: "`docker buildx build` (buildx 0.29), by the BuildKit in dockerd",
    store: docker::CONTAINERD_STORE.store,
    start: |machine| {
        building(
            machine,
            "{\"features\": {\"containerd-snapshotter\": true}}",
            &["buildx", "build", "--load"],
        )
    },
    ..OWN_STORE
};

/// Has today's `docker` find its plugin for builds.
pub(super) fn use_buildx(machine: &Machine) {
    let plugins = modern_root().join("usr/libexec/docker/cli-plugins");
    let config = machine.home().join(".docker/config.json");
    std::fs::create_dir_all(config.parent().expect("a parent")).expect("a directory");
    std::fs::write(config, format!("{{\"cliPluginsExtraDirs\": [\"{}\"]}}", plugins.display()))
        .expect("written");
}

fn building(machine: &Machine, json: &str, build: &'static [&'static str]) -> Pull {
    let dockerd = docker::start(machine, json);
    use_buildx(machine);
    Box::new(move |machine, image| {
        let _ = &dockerd;
        let context = machine.dir("context");
        let file = format!("FROM {}\nCOPY Dockerfile /copied\n", image.name);
        std::fs::write(context.join("Dockerfile"), file).expect("written");
        let mut command = machine.command("docker");
        command.env("DOCKER_BUILDKIT", "1").args(build).args(["--tag", "built"]).arg(context);
        let built = command.output().expect("docker starts");
        if !built.status.success() {
            return Err(said(&built));
        }
        let docker = |words: &[&str]| succeed(machine.command("docker").args(words));
        assert_greets(&mut machine.command("docker"), "built", &image.greeting);
        docker(&["image", "rm", "--force", "built"]);
        docker(&["builder", "prune", "--all", "--force"]);
        Ok(image.greeting.clone())
    })
}

#[test]
pub(super) fn docker_build_of_dockerd_20_10_is_served() {
    assert_five_sentences(&DEBIAN_12);
}

#[test]
pub(super) fn docker_build_of_dockerd_28_is_served() {
    assert_five_sentences(&OWN_STORE);
}

#[test]
pub(super) fn docker_buildx_build_of_dockerd_28_is_served() {
    assert_five_sentences(&CONTAINERD_STORE);
}
