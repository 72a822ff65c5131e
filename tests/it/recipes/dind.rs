//! The dockerd in a container of GitLab's and Forgejo's recipes: a real one in a network of its own on a bridge, started with
//! the recipe's words and files. Nothing but hubcap can give it an image.

use std::process::Command;

use super::{DOCKER0, MOUNTED, recipe, text};
use crate::clients::{REPOSITORY, Site};
use crate::support::bridge::{Bridge, Container};
use crate::support::programs::{Dockerd, free_port, modern, program, succeed};

/// Starts the dockerd with this `daemon.json`, and has it pull.
fn assert_pulls(dockerd: &Command, json: &str) {
    let bridge = Bridge::new();
    let address = format!("{}:{}", bridge.gateway(), free_port());
    let site = Site::start_with("v2s2", &["--bridge-listen", &address]);
    let node = bridge.node();
    let root = site.dir("root");
    node.has_own_etc(&root);
    let certs = root.join(MOUNTED.trim_start_matches('/'));
    let _ = std::fs::remove_dir_all(&certs);
    for dir in ["docker.io", &address] {
        std::fs::create_dir_all(certs.join(dir)).expect("made");
    }
    let hosts = text("hosts.toml").replace(DOCKER0, &address);
    std::fs::write(certs.join("docker.io/hosts.toml"), hosts).expect("written");
    std::fs::copy(site.place.state().join("ca.pem"), certs.join(&address).join("ca.crt")).expect("copied");
    let words = recipe("config.toml")["runners"][0]["docker"]["services"][0]["command"].clone();
    let words = words.as_array().expect("a command").iter().filter_map(|word| word.as_str());
    let words: Vec<String> = words.map(|word| word.replace(DOCKER0, &address)).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();

    let dockerd = Dockerd::start_as(in_node(&node, dockerd), &site.dir("dockerd"), (json, &words));
    succeed(&mut dockerd.command(&["pull", REPOSITORY]));
    assert!(site.blobs_served() > 0, "hubcap had it from the registry");
}

/// The command, with its environment, in the node.
fn in_node(node: &Container, command: &Command) -> Command {
    let mut inside = node.command(command.get_program().to_str().expect("text"));
    inside.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    inside
}

#[test]
fn dockerd_20_10_pulls_by_the_recipe() {
    assert_pulls(&program("dockerd"), "{}");
}

#[test]
fn dockerd_28_with_its_own_store_pulls_by_the_recipe() {
    let Some(dockerd) = modern("dockerd") else { return };
    assert_pulls(&dockerd, "{\"features\": {\"containerd-snapshotter\": false}}");
}

#[test]
fn dockerd_28_with_containerds_store_pulls_by_the_recipe() {
    let Some(dockerd) = modern("dockerd") else { return };
    assert_pulls(&dockerd, "{\"features\": {\"containerd-snapshotter\": true}}");
}
