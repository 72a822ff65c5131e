//! Which run of which machine this is, and for how long it has lasted.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::LazyLock;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The kernel's name for the time since the machine was started (random(4), `boot_id`): another one after each restart and on
/// each machine. Nobody who writes a store into a cache knows that of the machine that will read it.
///
/// Where the system does not tell it, each process has one of its own: then times are relied on until it ends.
pub(crate) fn id() -> &'static str {
    static ID: LazyLock<String> = LazyLock::new(|| {
        let told = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let told = told.trim();
        if told.is_empty() { format!("{:x}", RandomState::new().hash_one(())) } else { told.to_owned() }
    });
    &ID
}

/// How long this machine has run, suspended time included. No one can set that clock.
pub(crate) fn uptime() -> Duration {
    clock_gettime(ClockId::Boottime).try_into().unwrap_or_default()
}
