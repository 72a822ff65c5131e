//! Builds of a dockerd whose BuildKit takes its mirrors only when dockerd starts.

use super::{IMAGE, Machine, text};
use crate::real::{layout, push};
use crate::support::programs::Registry;

/// Not built from before, so no BuildKit remembers where it asked for it.
const ANOTHER: &str = "library/another:1";

#[test]
fn builds_of_dockerd_20_are_said_to_use_hubcap_once_dockerd_is_restarted_which_is_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let registry = Registry::start(dir.path());
    let layout = layout(dir.path());
    for image in [IMAGE, ANOTHER] {
        push(&registry, &layout, (image, "v2s2"));
    }
    let origin = format!("http://127.0.0.1:{}", registry.port);
    // Where builds pull from that do not use hubcap.
    let machine = Machine::start(&format!("{{\"registry-mirrors\": [\"{origin}\"]}}"), &[], &origin);
    let build = |image: &str| {
        let context = dir.path().join("context");
        std::fs::create_dir_all(&context).expect("a directory");
        std::fs::write(context.join("Dockerfile"), format!("FROM {image}\nLABEL a=b\n")).expect("written");
        let before = asked(&registry);
        machine.dockerd.build(&context, "built");
        let now = asked(&registry);
        (now.0 - before.0, now.1 - before.1)
    };
    let doctor = || text(&machine.run(&["doctor"]).stdout);

    let said = machine.up();
    assert!(said.contains("not through hubcap: docker build with Docker Hub's images"), "{said}");
    assert!(said.contains("to have it take effect: restart dockerd"), "{said}");
    let (by_hubcap, by_dockerd) = build(IMAGE);
    assert!(by_hubcap == 0 && by_dockerd > 0, "by hubcap {by_hubcap}, by dockerd {by_dockerd}");
    let said = doctor();
    assert!(said.contains("not through it  dockerd     docker build with Docker Hub's images"), "{said}");

    let upstream = format!("docker.io={origin}");
    let said = machine.hubcap(&["up", "--listen", "127.0.0.1:0", "--upstream", &upstream, "--restart"]);
    assert!(said.contains("\nthrough hubcap: docker pull, run, compose and build"), "{said}");
    let (by_hubcap, by_dockerd) = build(ANOTHER);
    assert!(by_hubcap > 0 && by_dockerd == 0, "by hubcap {by_hubcap}, by dockerd {by_dockerd}");
    let said = doctor();
    assert!(said.contains("through hubcap  dockerd     docker pull, run, compose and build"), "{said}");

    // Nothing is left to restart it for.
    let said = machine.hubcap(&["up", "--restart"]);
    assert!(said.contains("dockerd needs no restart"), "{said}");
}

/// How many manifests hubcap asked the registry for, and how many dockerd.
fn asked(registry: &Registry) -> (usize, usize) {
    let log = registry.log();
    let manifests =
        log.lines().filter(|line| line.contains("/manifests/") && line.contains(" HTTP/1.1\" 200"));
    let (by_hubcap, by_dockerd): (Vec<&str>, Vec<&str>) =
        manifests.partition(|line| line.contains("\"hubcap/"));
    (by_hubcap.len(), by_dockerd.len())
}
