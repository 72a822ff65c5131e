//! Which run of which machine this is, and for how long it has lasted.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::OnceLock;
use std::time::Duration;

use hubcap_oci::{Algorithm, Digest};
use rustix::time::{ClockId, clock_gettime};

static ID: OnceLock<String> = OnceLock::new();

/// Has this process rely on the times that processes with the same `secret` have noted in stores since this machine was
/// started. Without that it relies on those alone that it notes itself. To be called before a store is opened; only the first
/// call counts.
///
/// Whoever writes a store into a cache must not know the secret. The machine's start alone is none: containers share it.
pub fn rely_on_times_noted_with(secret: &str) {
    // The kernel's name for the time since the start (random(4)): another one after each restart.
    if let Ok(boot) = std::fs::read_to_string("/proc/sys/kernel/random/boot_id") {
        ID.get_or_init(|| Digest::of(Algorithm::Sha256, format!("{secret} {boot}").as_bytes()).hex());
    }
}

/// What is noted with a time, to know it again. It does not tell the secret.
pub(crate) fn id() -> &'static str {
    ID.get_or_init(|| format!("{:x}", RandomState::new().hash_one(())))
}

/// How long this machine has run, suspended time included. No one can set that clock.
pub(crate) fn uptime() -> Duration {
    clock_gettime(ClockId::Boottime).try_into().unwrap_or_default()
}
