//! The store of one job in the next one, with nothing played: dockerd pulls from docker-registry through hubcap.

use std::time::Instant;

use crate::real::{assert_greets, layout, push};
use crate::support::hubcap::Place;
use crate::support::programs::{Dockerd, Registry, program, succeed};

const IMAGE: &str = "library/it:1";

#[tokio::test(flavor = "multi_thread")]
async fn dockerd_pulls_from_a_copy_of_the_store_that_was_made_while_hubcap_ran() {
    let place = Place::new();
    let dir = place.dir.path();
    let registry = Registry::start(dir);
    push(&registry, &layout(dir), (IMAGE, "v2s2"));
    let origin = format!("http://127.0.0.1:{}", registry.port);
    let hubcap = place.start(&origin, &[]);
    let docker = dir.join("docker");
    std::fs::create_dir(&docker).expect("a directory");
    let dockerd = Dockerd::start(&docker, &hubcap.https);
    // The layers really go: a pull of an image that is still unpacked would prove nothing.
    let pull = |dockerd: &Dockerd, what: &str| {
        let start = Instant::now();
        dockerd.docker(&["pull", IMAGE]);
        println!("{what}: {:.2} s", start.elapsed().as_secs_f64());
        let id = dockerd.docker(&["image", "inspect", "--format", "{{.Id}}", IMAGE]);
        assert_greets(&mut dockerd.command(&[]), IMAGE, "hello from the store");
        dockerd.docker(&["image", "rm", "--force", IMAGE]);
        assert_eq!(dockerd.docker(&["image", "ls", "--quiet"]), "");
        id
    };

    let id = pull(&dockerd, "miss");
    drop(registry);

    // Copied while the daemon runs.
    let copy = Place::new();
    let archive = dir.join("store.tar");
    succeed(program("tar").arg("-cf").arg(&archive).arg("-C").arg(place.store()).arg("."));
    std::fs::create_dir(copy.store()).expect("a directory");
    succeed(program("tar").arg("-xf").arg(&archive).arg("-C").arg(copy.store()));
    drop(dockerd);
    assert_eq!(hubcap.stop(), Some(0));
    let second = copy.start(&origin, &[]);
    let docker = dir.join("docker2");
    std::fs::create_dir(&docker).expect("a directory");
    let dockerd = Dockerd::start(&docker, &second.https);
    assert_eq!(pull(&dockerd, "from the copy"), id);
}
