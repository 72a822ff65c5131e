//! The daemon, seen from hubcap's other commands: its process, its admin socket, and what it wrote of its run.

pub(crate) mod address;
pub(crate) mod agree;
pub(crate) mod answers;
pub(crate) mod client;
pub(crate) mod find;
pub(crate) mod process;
pub(crate) mod records;
pub(crate) mod run;
pub(crate) mod verify;
