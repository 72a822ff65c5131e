//! Which of dockerd's pulls a wired one brings to hubcap, and which it does not: `up` and `doctor` tell.

use hubcap_clients::Docker;
use hubcap_oci::Registry;

/// Some pulls.
#[derive(Debug)]
pub(crate) struct Pulls {
    pub(crate) through: bool,
    pub(crate) says: String,
    /// A command that would bring them.
    pub(crate) mend: Option<String>,
}

/// What dockerd of this version does with these registries.
pub(crate) fn docker_pulls(docker: &Docker, version: &str, registries: &[Registry]) -> Vec<Pulls> {
    // hosts.toml is read since 28.
    let hosts_files =
        version.split('.').next().and_then(|major| major.parse::<u32>().ok()).is_some_and(|it| it >= 28);
    let others: Vec<String> =
        registries.iter().filter(|one| !one.is_docker_hub()).map(ToString::to_string).collect();
    let (none, others) = (others.is_empty(), others.join(", "));
    let through = |says: String| Pulls { through: true, says, mend: None };
    let mut found = vec![through("docker pull, run, compose and build with Docker Hub's images".to_owned())];
    match (hosts_files, docker.has_containerd_store()) {
        (true, true) if !none => found.push(through(format!("the same with the images of {others}"))),
        (true, false) if !none => {
            found.push(through(format!("docker build with the images of {others}")));
            let says = format!(
                "docker pull from {others}: that needs containerd's image store, or hubcap's --proxy-listen"
            );
            found.push(Pulls { through: false, says, mend: None });
        }
        (true, _) => {}
        (false, _) => {
            let says = format!(
                "other registries than Docker Hub: dockerd {version} has mirrors for Docker Hub only"
            );
            found.push(Pulls {
                through: false,
                says,
                mend: Some("dockerd 29, or hubcap's --proxy-listen".into()),
            });
        }
    }
    found
}
