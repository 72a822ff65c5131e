//! What `up`, `down` and `setup` do alike with the clients beside dockerd.

use anyhow::bail;
use hubcap_clients::{
    Buildkit, Change, Client, Containerd, ContainerdAt, Cri, Error, Journal, Mirror, Planned, Podman,
    PodmanAt, Registries,
};
use hubcap_oci::Registry;

use crate::settings::Config;
use crate::show::changes;

/// Whether a client is on this machine, and would use what is wired.
pub(crate) fn is_found(client: Client) -> bool {
    match client {
        Client::Docker => true,
        Client::Podman => ["podman", "buildah", "skopeo"].into_iter().any(is_installed),
        Client::Containerd => Containerd::find(&ContainerdAt::default())
            .is_ok_and(|containerd| containerd.is_installed() && !matches!(containerd.cri(), Cri::Not(_))),
        // Its builders are in containers, mostly, whose loopback is not this one.
        Client::Buildkit => false,
    }
}

/// What configuring a client beside dockerd would change, at its usual places.
pub(crate) fn plan(
    client: Client,
    journal: &Journal,
    mirror: &Mirror,
    registries: &[Registry],
) -> Result<Vec<Planned>, Error> {
    match client {
        Client::Docker => Ok(Vec::new()),
        Client::Podman => Podman::find(&PodmanAt::default())?.plan((journal, mirror), registries),
        Client::Containerd => {
            let registries = Registries { named: registries.to_vec(), every_other: false };
            Containerd::find(&ContainerdAt::default())?.plan((journal, mirror), &registries)
        }
        Client::Buildkit => Buildkit::find(&[])?.plan((journal, mirror), registries),
    }
}

/// Restores a client's files; nothing to do is no error.
pub(crate) fn undo(config: &Config, client: Client) -> anyhow::Result<()> {
    let mut journal = Journal::open(&config.state, client)?;
    if !journal.is_empty() {
        let undoing = plan_undo(client, &journal)?;
        journal.undo(&undoing)?;
        changes::print_done(&undoing);
        println!("the files of {} are as they were", client.title());
    }
    Ok(())
}

pub(crate) fn plan_undo(client: Client, journal: &Journal) -> anyhow::Result<Vec<Change>> {
    match client {
        Client::Containerd => Ok(Containerd::plan_undo(journal)?),
        Client::Buildkit => Ok(Buildkit::plan_undo(journal)?),
        Client::Podman => Ok(Podman::plan_undo(journal)?),
        Client::Docker => bail!("dockerd has to be told; it is not unset here"),
    }
}

/// Whether a program is where a shell, or root's, would find it.
pub(crate) fn is_installed(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|dir| dir.join(name).is_file())
}
