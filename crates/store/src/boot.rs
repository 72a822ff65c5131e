//! Which run of which machine this is, for how long it has lasted, and what this hubcap has noted itself.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::OnceLock;
use std::time::Duration;

use hubcap_oci::{Algorithm, Digest};
use rustix::time::{ClockId, clock_gettime};

static SECRET: OnceLock<String> = OnceLock::new();

/// Has this process rely on what processes with the same `secret` have noted in stores: until the machine is restarted, the times
/// of validations; and what registries have named. Without that it relies on that alone that it notes itself. To be called
/// before a store is opened; only the first call counts.
///
/// Whoever writes a store into a cache must not know the secret. The machine's start alone is none: containers share it.
pub fn rely_on_what_is_noted_with(secret: &str) {
    SECRET.get_or_init(|| secret.to_owned());
}

fn secret() -> &'static str {
    SECRET.get_or_init(random)
}

fn random() -> String {
    format!("{:x}", RandomState::new().hash_one(()))
}

/// What is noted with a time, to know it again. It does not tell the secret.
pub(crate) fn id() -> &'static str {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(|| {
        // The kernel's name for the time since the start (random(4)): another one after each restart.
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_else(|_| random());
        Digest::of(Algorithm::Sha256, format!("{} {boot}", secret()).as_bytes()).hex()
    })
}

/// What is noted with `fact`, to know that a hubcap with the same secret has noted it. It tells neither the secret nor the mark of
/// another fact.
pub(crate) fn mark(fact: &[u8]) -> Vec<u8> {
    let text = [b"fact ", secret().as_bytes(), b" ", fact].concat();
    Digest::of(Algorithm::Sha256, &text).hex().as_bytes()[..16].to_vec()
}

/// How long this machine has run, suspended time included. No one can set that clock.
pub(crate) fn uptime() -> Duration {
    clock_gettime(ClockId::Boottime).try_into().unwrap_or_default()
}
