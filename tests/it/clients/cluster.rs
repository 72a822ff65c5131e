//! The nodes of kind, k3d and minikube. Neither is here: a node is played by a containerd in a network and a mount
//! namespace of its own, and Docker's client by a script, which runs in the node what it is told to.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Output;

use super::containerd::Containerd;
use super::{OTHER, REPOSITORY, Site, Tree, said, tree};
use crate::support::bridge::{Bridge, Container};
use crate::support::hubcap::command;
use crate::support::programs::{Dockerd, install_script, program, succeed};

/// What kind's node images say since 0.27.
const CONFIG: &str = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\n  config_path = \"/etc/containerd/certs.d\"\n";
/// A host of the cluster's user, without a line's end at its end.
const THEIRS: &str = "# ours\n[host.\"http://127.0.0.1:9\"]\n  capabilities = [\"pull\", \"resolve\"]";

/// A tool, as its containers' labels and its nodes' files tell of it.
#[derive(Clone, Copy)]
struct Tool {
    name: &'static str,
    labels: [(&'static str, &'static str); 2],
    /// Where the runtime of its nodes has its files, in a directory that hubcap does not make.
    dir: &'static str,
}

const KIND: Tool = Tool {
    name: "kind",
    labels: [("io.x-k8s.kind.cluster", "kind"), ("io.x-k8s.kind.role", "control-plane")],
    dir: "/etc/containerd",
};
const K3D: Tool = Tool {
    name: "k3d",
    labels: [("k3d.cluster", "ci"), ("k3d.role", "agent")],
    dir: "/var/lib/rancher/k3s/agent/etc/containerd",
};
const MINIKUBE: Tool = Tool {
    name: "minikube",
    labels: [("name.minikube.sigs.k8s.io", "minikube"), ("created_by.minikube.sigs.k8s.io", "true")],
    dir: "/etc/docker",
};

/// Two registries, a hubcap that listens on a bridge, and a node on it.
struct Played {
    tool: Tool,
    site: Site,
    bridge: Bridge,
    node: Container,
    /// What the node has at its runtime's directory.
    etc: PathBuf,
    path: OsString,
}

impl Played {
    fn kind() -> Self {
        Self::new(KIND, CONFIG, true)
    }

    /// With this as the configuration of the node's containerd.
    fn new(tool: Tool, config: &str, listens: bool) -> Self {
        let bridge = Bridge::new();
        let listen = ["--bridge-listen".to_owned(), format!("{}:0", bridge.gateway())];
        let more: Vec<&str> = listen.iter().filter(|_| listens).map(String::as_str).collect();
        let site = Site::start_with("v2s2", &more);
        let node = bridge.node();
        let root = site.dir("root");
        node.has_own_etc(&root);
        // k3s has its files there.
        std::fs::create_dir_all(root.join("var/lib")).expect("made");
        succeed(node.command("mount").arg("--bind").arg(root.join("var/lib")).arg("/var/lib"));
        let etc = root.join(tool.dir.trim_start_matches('/'));
        let _ = std::fs::remove_dir_all(&etc);
        std::fs::create_dir_all(&etc).expect("made");
        std::fs::write(etc.join("config.toml"), config.replace("/etc/containerd", tool.dir))
            .expect("written");
        let path = std::env::var_os("PATH").expect("a path");
        let dirs = [site.dir("bin")].into_iter().chain(std::env::split_paths(&path));
        let path = std::env::join_paths(dirs).expect("a path");
        let played = Self { tool, site, bridge, node, etc, path };
        played.has_containers("id1");
        played
    }

    /// Has Docker's client know these containers. It is `ps`, `inspect` and `exec`; `systemctl` and `docker` in a node are
    /// for the dockerd that is played there.
    fn has_containers(&self, ids: &str) {
        let Tool { name, labels, .. } = self.tool;
        let networks =
            serde_json::json!({"cluster": {"Gateway": self.bridge.gateway(), "IPAddress": "10.0.0.2"}});
        let inspect = serde_json::json!([{
            "Id": "id1", "Name": format!("/{name}-node"), "Config": {"Labels": BTreeMap::from(labels)},
            "NetworkSettings": {"Networks": networks},
        }]);
        let (dockerd, label, pid) = (self.site.dir("dockerd"), labels[0].0, self.node.pid());
        let dockerd = dockerd.display();
        let script = format!(
            "#!/bin/sh\ncase $1 in\nps) case \"$*\" in *label={label}*) for id in {ids}; do echo $id; done ;; esac ;;\n\
             inspect) echo '{inspect}' ;;\n\
             exec) shift; [ \"$1\" != --interactive ] || shift; [ \"$1\" = id1 ] || exit 1; shift\n\
             case $1 in systemctl) exec kill -HUP \"$(cat {dockerd}/docker.pid)\" ;;\n\
             docker) shift; export DOCKER_HOST=unix://{dockerd}/docker.sock PATH=\"${{PATH#*:}}\"; exec docker \"$@\" ;;\n\
             *) exec nsenter --target {pid} --net --mount \"$@\" ;; esac ;;\n*) exit 1 ;;\nesac\n"
        );
        let docker = self.site.dir("bin").join("docker");
        install_script(docker, &script);
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = command(self.site.place.dir.path());
        command.env("PATH", &self.path).args(words).arg("--state").arg(self.site.place.state());
        command.output().expect("hubcap starts")
    }

    fn hubcap(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}: {}", said(&output));
        said(&output)
    }

    fn certs(&self) -> PathBuf {
        self.etc.join("certs.d")
    }

    /// Whether the daemon's `down` says that a setup holds it.
    fn is_held(&self) -> bool {
        let held = format!("`hubcap setup {}` still needs it", self.tool.name);
        said(&self.run(&["down"])).contains(&held)
    }

    /// Whether the containerd of the node pulls an image, as Kubernetes has it pull.
    fn pulls(&self, containerd: &Containerd, image: &str) -> bool {
        let mut ctr = self.node.command("ctr");
        ctr.arg("--address").arg(&containerd.socket).args(["--namespace", "k8s.io", "images", "pull"]);
        ctr.args(["--snapshotter", "native", "--hosts-dir", &format!("{}/certs.d", self.tool.dir), image]);
        ctr.output().expect("ctr starts").status.success()
    }
}

/// Sets a node up, has its containerd pull, and restores it.
fn a_node_pulls_until_it_is_restored(tool: Tool) {
    let played = Played::new(tool, CONFIG, true);
    let theirs = played.certs().join("docker.io/hosts.toml");
    std::fs::create_dir_all(theirs.parent().expect("a parent")).expect("made");
    std::fs::write(&theirs, THEIRS).expect("written");
    let before: Tree = tree(&played.etc);
    let containerd =
        Containerd::start(&played.site.dir("containerd"), played.node.command("containerd"), || {
            program("ctr")
        });
    let images = [format!("docker.io/{REPOSITORY}"), format!("{OTHER}/{REPOSITORY}")];
    let pulled = || images.each_ref().map(|image| played.pulls(&containerd, image));
    assert_eq!(pulled(), [false; 2], "without hubcap there is no way to these registries");

    let name = tool.name;
    let printed = played.hubcap(&["setup", name, "--print"]);
    assert!(
        printed.contains(&format!("in the node {name}-node\n")) && printed.contains("+[host."),
        "{printed}"
    );
    assert_eq!(tree(&played.etc), before, "--print changes nothing");
    let told = played.hubcap(&["setup", name]);
    let wrote = format!("in the node {name}-node:\nwrote {}/hubcap-ca.crt\n", tool.dir);
    assert!(told.contains(&wrote), "{told}");
    let wired = tree(&played.etc);
    played.hubcap(&["setup", name]);
    assert_eq!(tree(&played.etc), wired, "twice is once");
    assert_eq!(pulled(), [true; 2]);
    let doctor = said(&played.run(&["doctor"]));
    assert!(doctor.contains(&format!("pulls of the node {name}-node")), "{doctor}");
    assert!(played.is_held(), "{}", said(&played.run(&["down"])));

    let printed = played.hubcap(&["unset", name, "--print"]);
    assert!(printed.contains("-[host.") && tree(&played.etc) == wired, "{printed}");
    played.hubcap(&["unset", name]);
    assert_eq!(tree(&played.etc), before, "every file, mode and directory is as it was");
    assert!(played.hubcap(&["unset", name]).contains("nothing to do"));
    assert!(!played.is_held());
}

#[test]
fn a_node_of_kind_pulls_through_hubcap_until_its_files_are_restored_to_the_byte() {
    a_node_pulls_until_it_is_restored(KIND);
}

#[test]
fn a_node_of_k3d_pulls_through_hubcap_until_its_files_are_restored_to_the_byte() {
    a_node_pulls_until_it_is_restored(K3D);
}

#[test]
fn a_dockerd_in_a_node_of_minikube_pulls_through_hubcap_until_it_has_forgotten_the_mirror() {
    let played = Played::new(MINIKUBE, "", true);
    let crictl = "runtime-endpoint: unix:///var/run/cri-dockerd.sock\n";
    std::fs::write(played.etc.with_file_name("crictl.yaml"), crictl).expect("written");
    let dir = played.site.dir("dockerd");
    let dockerd = Dockerd::start_as(played.node.command("dockerd"), &dir, ("{ }", &[]));
    // Where minikube's dockerd has it.
    std::os::unix::fs::symlink(dir.join("daemon.json"), played.etc.join("daemon.json")).expect("linked");
    let before = (tree(&played.etc), std::fs::read(dir.join("daemon.json")).expect("there"));
    let pulls = || dockerd.command(&["pull", REPOSITORY]).output().expect("docker starts").status.success();
    assert!(!pulls(), "without hubcap there is no way to Docker Hub");

    played.hubcap(&["setup", "minikube"]);
    assert!(dockerd.mirrors().contains(&played.bridge.gateway()), "{}", dockerd.mirrors());
    assert!(pulls());
    played.hubcap(&["unset", "minikube"]);
    assert_eq!(dockerd.mirrors(), "[]");
    assert_eq!((tree(&played.etc), std::fs::read(dir.join("daemon.json")).expect("there")), before);
}

#[test]
fn a_dockerd_in_a_node_that_has_its_mirrors_by_flag_is_left_as_it_was() {
    let played = Played::new(MINIKUBE, "", true);
    let crictl = "runtime-endpoint: unix:///var/run/cri-dockerd.sock\n";
    std::fs::write(played.etc.with_file_name("crictl.yaml"), crictl).expect("written");
    let dir = played.site.dir("dockerd");
    let flag = ["--registry-mirror", "https://127.0.0.1:9"];
    let dockerd = Dockerd::start_as(played.node.command("dockerd"), &dir, ("{ }", &flag));
    std::os::unix::fs::symlink(dir.join("daemon.json"), played.etc.join("daemon.json")).expect("linked");
    let before = (tree(&played.etc), std::fs::read(dir.join("daemon.json")).expect("there"));
    let refused = played.run(&["setup", "minikube"]);
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    assert!(said(&refused).contains("--registry-mirror, make it without"), "{}", said(&refused));
    assert_eq!((tree(&played.etc), std::fs::read(dir.join("daemon.json")).expect("there")), before);
    assert!(dockerd.mirrors().contains("127.0.0.1:9"), "{}", dockerd.mirrors());
}

#[test]
fn what_others_write_into_a_node_after_hubcap_stays() {
    let played = Played::kind();
    played.hubcap(&["setup", "kind", "docker.io", OTHER]);
    let hosts = played.certs().join("docker.io/hosts.toml");
    let ours = std::fs::read_to_string(&hosts).expect("written");
    std::fs::write(&hosts, format!("{ours}{THEIRS}\n")).expect("written");
    played.hubcap(&["unset", "kind"]);
    assert_eq!(std::fs::read_to_string(&hosts).expect("there"), format!("{THEIRS}\n"));
    assert!(!played.certs().join(OTHER).exists() && !played.etc.join("hubcap-ca.crt").exists());
}

#[test]
fn a_setup_of_nodes_that_are_gone_holds_the_daemon_no_longer() {
    let played = Played::kind();
    played.hubcap(&["setup", "kind"]);
    assert!(played.is_held());
    played.has_containers("");
    let told = said(&played.run(&["down"]));
    assert!(told.contains("`hubcap setup kind` no longer needs hubcap: its nodes are gone"), "{told}");
}

#[test]
fn what_cannot_be_set_up_is_refused_with_what_to_do_and_nothing_is_written() {
    for (config, listens, ids, words) in [
        (CONFIG, false, "id1", "start hubcap with --bridge-listen 10."),
        (CONFIG, true, "", "`kind create cluster` first"),
        ("version = 2\n", true, "id1", "config_path = \"/etc/containerd/certs.d\""),
        ("version = = 2\n", true, "id1", "/etc/containerd/config.toml is left as it is"),
    ] {
        let played = Played::new(KIND, config, listens);
        played.has_containers(ids);
        let before = tree(&played.etc);
        let refused = played.run(&["setup", "kind"]);
        assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
        assert!(said(&refused).contains(words), "{}", said(&refused));
        assert_eq!(tree(&played.etc), before);
        assert!(!played.site.place.state().join("wiring/kind.json").exists());
        assert!(!played.is_held());
    }
}

#[test]
fn a_node_that_fails_in_the_midst_is_as_it_was() {
    let played = Played::kind();
    // The directory of the second registry cannot be made.
    std::fs::create_dir_all(played.certs()).expect("made");
    std::fs::write(played.certs().join(OTHER), "a file\n").expect("written");
    let before = tree(&played.etc);
    let refused = played.run(&["setup", "kind", "docker.io", OTHER]);
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    assert_eq!(tree(&played.etc), before);
    assert!(!played.site.place.state().join("wiring/kind.json").exists());
}

#[test]
fn nothing_is_said_of_clusters_where_there_are_none() {
    let played = Played::kind();
    played.has_containers("");
    let told = said(&played.run(&["doctor"]));
    assert!(!told.contains("kind") && !told.contains("k3d") && !told.contains("minikube"), "{told}");
}
