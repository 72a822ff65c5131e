//! `setup containerd --unpack`, and its end.

use hubcap_clients::{Client as _, Containerd, DifferService, Journal};

use crate::args::UnsetContainerd;
use crate::daemon::holders::{Holders, Who};
use crate::settings::Config;
use crate::show::changes;
use crate::unpacker::{self, machine};

/// Has the machine's containerd unpack with the differ, then does the rest of the `setup`. Where that fails, containerd unpacks as
/// before.
pub(crate) fn configure<T>(
    config: &Config,
    command: Option<&str>,
    rest: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let is_new = {
        let _holders = Holders::open_to_hold(&config.state)?;
        machine::wire(config, command)?
    };
    let done = rest().and_then(|done| {
        Holders::open(&config.state)?.hold(&who(), Some(unpacker::NAME))?;
        Ok(done)
    });
    if done.is_err() && is_new {
        unpacker::unwire(config, command)?;
    }
    done
}

/// Prints what [`configure`] would change.
pub(crate) fn print(config: &Config) {
    match machine::plan(config) {
        Ok(changes) => changes::print_diff(&changes),
        Err(why) => eprintln!("hubcap: its differ would not unpack: {why:#}"),
    }
}

/// Has containerd unpack by itself again, unless a job needs the differ. Prints it only, if that is wanted.
pub(crate) fn unset(config: &Config, flags: &UnsetContainerd) -> anyhow::Result<()> {
    let journal = Journal::open(&config.state, unpacker::NAME)?;
    if DifferService::of(&journal)?.is_none() {
        return Ok(());
    }
    if flags.unset.print {
        changes::print_diff(&journal.plan_undo()?);
        return Ok(());
    }
    let mut holders = Holders::open(&config.state)?;
    for who in [who(), Who::of_this_process()] {
        holders.release_client(&who, unpacker::NAME);
    }
    holders.save()?;
    unpacker::unwire_unless_held(config, &holders, flags.restart.restart_containerd.as_deref())
}

/// Who needs it: it ends with containerd's `unset`.
fn who() -> Who {
    Who::Setup(Containerd::default().name().into())
}
