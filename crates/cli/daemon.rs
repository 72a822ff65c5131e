//! The daemon, seen from hubcap's other commands: its process, and what it wrote of its run.

pub(crate) mod address;
pub(crate) mod answers;
pub(crate) mod process;
pub(crate) mod run;
