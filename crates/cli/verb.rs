//! The subcommands, one module each. Only `main` enters them, and none enters another.

pub(crate) mod differ;
pub(crate) mod doctor;
pub(crate) mod down;
pub(crate) mod export;
pub(crate) mod gc;
pub(crate) mod health;
pub(crate) mod import;
pub(crate) mod key;
pub(crate) mod lock;
pub(crate) mod ls;
pub(crate) mod pull;
pub(crate) mod serve;
pub(crate) mod setup;
pub(crate) mod summary;
pub(crate) mod trim;
pub(crate) mod up;
pub(crate) mod verify;
