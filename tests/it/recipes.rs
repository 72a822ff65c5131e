//! The recipes of docs/clients.md, for tools that are not here: each is read as its tool reads it, and compared with what
//! hubcap itself writes for that format.

mod dind;

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::clients::said;
use crate::support::hubcap::{Place, command};
use crate::support::programs::{program, succeed};
use crate::support::runner::tool;

/// docker0's usual address, and that of the networks which the recipes make.
const DOCKER0: &str = "172.17.0.1:5443";
const NETWORK: &str = "172.30.0.1:5443";
/// The CA, and the file of a registry, in a container with a dockerd.
const MOUNTED: &str = "/etc/docker/certs.d";

fn documentation() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/clients.md"))
        .expect("the document")
}

/// A recipe's text.
fn text(name: &str) -> String {
    let documentation = documentation();
    let (_, rest) = documentation.split_once(&format!("<!-- recipe: {name} -->\n")).expect(name);
    let mut lines = rest.lines();
    assert!(lines.next().is_some_and(|line| line.starts_with("```")), "{name} is no block");
    lines.take_while(|line| *line != "```").flat_map(|line| [line, "\n"]).collect()
}

/// A recipe, parsed.
fn recipe(name: &str) -> Value {
    let text = text(name);
    match name.rsplit_once('.').expect("an extension").1 {
        "json" => serde_json::from_str(&text).expect("JSON"),
        "toml" => serde_json::to_value(text.parse::<toml::Table>().expect("TOML")).expect("JSON"),
        _ => {
            let to_json = "import json, sys, ruamel.yaml; print(json.dumps(ruamel.yaml.YAML(typ='safe').load(sys.argv[1])))";
            let printed = succeed(Command::new(tool("python/bin/python")).args(["-c", to_json, &text]));
            serde_json::from_str(&printed).expect("JSON")
        }
    }
}

/// The file that hubcap would write for a hubcap on docker0's address, as TOML.
fn written(words: &[&str], path: &str) -> Value {
    let place = Place::new();
    let mut hubcap = command(place.dir.path());
    hubcap.arg("setup").args(words).arg(place.dir.path().join(path)).args([
        "--print",
        "--listen",
        "127.0.0.1:5443",
    ]);
    let state = place.state();
    let output =
        hubcap.args(["--bridge-listen", DOCKER0, "--state"]).arg(state).output().expect("hubcap starts");
    assert!(output.status.success(), "{}", said(&output));
    let printed = String::from_utf8(output.stdout).expect("text");
    let lines =
        printed.lines().filter(|line| !line.starts_with("+++")).filter_map(|line| line.strip_prefix('+'));
    let text: String = lines.flat_map(|line| [line, "\n"]).collect();
    serde_json::to_value(text.parse::<toml::Table>().expect("TOML")).expect("JSON")
}

/// The words of a flag of dockerd, which `dockerd --help` has to know.
fn assert_dockerds(words: &[Value], mirror: &str) {
    let help = succeed(program("dockerd").arg("--help"));
    let flags: Vec<&str> =
        words.iter().filter_map(Value::as_str).filter(|word| word.starts_with("--")).collect();
    for flag in &flags {
        let name = flag.split('=').next().expect("a name");
        assert!(help.contains(&format!("{name} ")), "dockerd has no {name}");
    }
    let all = words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("=");
    assert!(all.contains(&format!("--registry-mirror=https://{mirror}")), "{all}");
}

/// The files that a container with a dockerd is given.
fn assert_mounts(volumes: &Value, mirror: &str) {
    let volumes: Vec<&str> = volumes.as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    for wanted in [
        format!("CA:{MOUNTED}/{mirror}/ca.crt:ro"),
        format!("/etc/hubcap/hosts.toml:{MOUNTED}/docker.io/hosts.toml:ro"),
    ] {
        assert!(volumes.contains(&wanted.as_str()), "{wanted}: {volumes:?}");
    }
}

#[test]
fn k3s_makes_of_the_recipe_for_k3d_what_hubcap_writes_into_a_node() {
    let recipe = recipe("registries.yaml");
    // k3s, pkg/agent/containerd/config.go: an endpoint is a host, with the CA that `configs` has for its address.
    let written = written(&["containerd", "docker.io", "--certs-dir"], "certs.d");
    let hosts = written["host"].as_object().expect("hosts");
    assert_eq!((hosts.len(), hosts["https://127.0.0.1:5443"]["ca"].is_string()), (1, true));
    for (registry, mirror) in recipe["mirrors"].as_object().expect("mirrors") {
        assert_eq!(mirror["endpoint"], json!([format!("https://{NETWORK}")]), "{registry}");
    }
    assert_eq!(recipe["configs"], json!({NETWORK: {"tls": {"ca_file": "/etc/ssl/certs/hubcap.crt"}}}));
    assert!(documentation().contains("--volume CA:/etc/ssl/certs/hubcap.crt"), "where the CA is mounted");
}

#[test]
fn daggers_recipe_has_the_mirrors_that_hubcap_writes_for_buildkit() {
    let recipe = recipe("engine.json");
    let written = written(&["buildkit", "docker.io", "ghcr.io", "--buildkitd-toml"], "buildkitd.toml");
    let registries = recipe["registries"].as_object().expect("registries");
    assert_eq!(registries.len(), 2);
    for (registry, options) in registries {
        assert_eq!(options["mirrors"], written["registry"][registry]["mirrors"], "{registry}");
        assert_eq!(
            options.as_object().expect("options").len(),
            1,
            "the engine refuses keys that it does not know"
        );
    }
}

#[test]
fn the_hosts_toml_of_a_dockerd_in_a_container_is_the_one_that_hubcap_writes() {
    let (recipe, written) =
        (recipe("hosts.toml"), written(&["containerd", "docker.io", "--certs-dir"], "certs.d"));
    let (ours, theirs) =
        (&written["host"]["https://127.0.0.1:5443"], &recipe["host"][format!("https://{DOCKER0}")]);
    assert_eq!(theirs["ca"], format!("{MOUNTED}/{DOCKER0}/ca.crt"));
    let without_ca = |host: &Value| {
        let mut host = host.as_object().expect("a host").clone();
        host.remove("ca");
        // A dockerd of any version takes these two.
        host.insert("capabilities".into(), json!(["pull", "resolve"]));
        host
    };
    assert_eq!(without_ca(theirs), without_ca(ours));
    assert_eq!(theirs["capabilities"], json!(["pull", "resolve"]));
}

#[test]
fn gitlabs_recipe_starts_dockerd_with_the_mirror_and_its_ca() {
    let recipe = recipe("config.toml");
    let docker = &recipe["runners"][0]["docker"];
    assert_mounts(&docker["volumes"], DOCKER0);
    let service = &docker["services"][0];
    assert_eq!(service["name"], "docker:dind");
    assert_dockerds(service["command"].as_array().expect("a command"), DOCKER0);
}

#[test]
fn forgejos_recipe_starts_dockerd_with_the_mirror_of_its_own_network() {
    let recipe = recipe("compose.yaml");
    let dind = &recipe["services"]["docker-in-docker"];
    assert_mounts(&dind["volumes"], NETWORK);
    assert_dockerds(dind["command"].as_array().expect("a command"), NETWORK);
    let network = &recipe["networks"]["default"]["ipam"]["config"][0];
    assert_eq!(network["gateway"], NETWORK.split(':').next().expect("an address"));
    assert_eq!(recipe["services"]["runner"]["depends_on"], json!(["docker-in-docker"]));
}

#[test]
fn the_pod_of_a_runner_has_a_hubcap_and_a_dockerd_that_asks_it_on_loopback() {
    let recipe = recipe("values.yaml");
    let spec = &recipe["template"]["spec"];
    let containers = spec["initContainers"].as_array().expect("containers");
    let named = |name: &str| containers.iter().find(|one| one["name"] == name).expect("a container");
    let hubcap: Vec<&str> =
        named("hubcap")["args"].as_array().expect("words").iter().filter_map(Value::as_str).collect();
    // hubcap takes its words, and the dockerd asks where it listens.
    let place = Place::new();
    let output = command(place.dir.path()).args(&hubcap).arg("--check").output().expect("hubcap starts");
    assert!(output.status.success(), "{}", said(&output));
    assert_dockerds(named("dind")["args"].as_array().expect("words"), "127.0.0.1:5443");
    assert!(hubcap.contains(&"127.0.0.1:5443"));
    let volumes: Vec<&Value> =
        spec["volumes"].as_array().expect("volumes").iter().map(|one| &one["name"]).collect();
    for container in containers.iter().chain(spec["containers"].as_array().expect("containers")) {
        assert!(container["restartPolicy"] == "Always" || container["name"] == "runner", "{container}");
        for mount in container["volumeMounts"].as_array().expect("mounts") {
            assert!(volumes.contains(&&mount["name"]), "{mount}");
        }
    }
}

#[test]
fn every_tool_is_in_the_table_and_says_whether_it_was_run() {
    let documentation = documentation();
    for tool in [
        "Testcontainers",
        "compose",
        "devcontainers",
        "Dagger",
        "GitLab",
        "Forgejo",
        "Actions Runner Controller",
    ] {
        let row = documentation.lines().find(|line| line.starts_with(&format!("| {tool}"))).expect(tool);
        assert!(row.ends_with("| dockerd |") || row.ends_with("not run |"), "{row}");
    }
}
