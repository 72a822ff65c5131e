//! The daemon, seen from hubcap's other commands: its process, its admin socket, what it wrote of its run, and who needs it.

pub(crate) mod address;
pub(crate) mod agree;
pub(crate) mod answers;
pub(crate) mod client;
mod environment;
pub(crate) mod find;
pub(crate) mod holders;
pub(crate) mod log;
pub(crate) mod process;
pub(crate) mod records;
pub(crate) mod run;
pub(crate) mod verify;
