//! dockerd: `daemon.json` for its own pulls of Docker Hub's images, and `certs.d/REGISTRY/hosts.toml` beside it.
//!
//! Both, because a loopback mirror in `daemon.json` alone makes dockerd 28 and later stop verifying Docker Hub's own
//! certificate where containerd's resolver is used (`docker build`, and pulls since dockerd 29).
//!
//! - [`find`], [`context`]: which dockerd runs here, and which files it reads.
//! - [`facts`]: what each version reads.
//! - [`files`], [`proxy`]: which files are written with what.
//! - [`daemon`]: it is told of them, and asked to pull. [`restart`]: it is restarted.
//! - [`store`]: containerd's image store in place of its own. [`unpack`]: what inflates the layers on their way into either.
//!   [`unpacker`]: the containerd that does it.
//! - [`info`], [`networks`], [`pulled`], [`api`]: what it says of itself and of its pulls, over its socket.

mod api;
mod context;
mod daemon;
pub mod facts;
mod files;
mod find;
mod info;
mod networks;
mod proxy;
mod pulled;
mod restart;
mod store;
mod unpack;
mod unpacker;

use hubcap_oci::Registry;

pub use find::{Docker, Dockerd};
pub use proxy::Proxy;
pub use pulled::Pulled;
pub use store::InSight;
pub use unpack::{Inflater, Unpacking};

use crate::change::{Change, Plan, Planned};
use crate::client::Client;
use crate::coverage::Coverage;
use crate::error::Error;
use crate::journal::{Applied, Journal};
use crate::mirror::{Mirror, Registries};

impl Docker {
    /// Its name among the clients.
    pub const NAME: &str = "docker";
}

impl Client for Docker {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn title(&self) -> &'static str {
        "dockerd"
    }

    fn programs(&self) -> &'static [&'static str] {
        &["dockerd"]
    }

    /// dockerd is what hubcap is for; one that does not run reads its files at its start.
    fn is_used_here(&self) -> bool {
        true
    }

    fn plan(&self, journal: &Journal, mirror: &Mirror, registries: &Registries) -> Result<Plan, Error> {
        self.find()?.plan(journal, mirror, registries)
    }

    fn configure(&self, journal: &mut Journal, mirror: &Mirror, plan: &[Planned]) -> Result<Applied, Error> {
        self.find()?.configure(journal, (mirror, plan), None)
    }

    /// Of each dockerd that was configured.
    fn undo(&self, journal: &mut Journal) -> Result<Vec<Change>, Error> {
        let hosts: Vec<String> = journal.hosts().into_iter().map(str::to_owned).collect();
        if hosts.is_empty() {
            return self.find()?.undo(journal);
        }
        let (mut changes, mut failed) = (Vec::new(), None);
        for host in hosts {
            let docker = Self { host: Some(host), ..self.clone() };
            match docker.find().and_then(|docker| docker.undo(journal)) {
                Ok(more) => changes.extend(more),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(changes), Err)
    }

    fn coverage(&self, _journal: &Journal, registries: &[Registry]) -> Result<Vec<Coverage>, Error> {
        self.find()?.coverage(registries).map_err(|why| Error::Client(why.to_owned()))
    }
}
