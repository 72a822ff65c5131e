//! `hubcap.lock`, which a pull request may change: what is understood is written so that it means the same.
#![no_main]

#[allow(dead_code, unreachable_pub)]
#[path = "../../crates/cli/lockfile.rs"]
mod lockfile;
#[allow(dead_code, unreachable_pub)]
#[path = "../../crates/cli/replace.rs"]
mod replace;

use lockfile::Lock;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(lock) = Lock::parse(text) {
        assert_eq!(Lock::parse(&lock.to_string()).ok(), Some(lock.clone()));
        assert_eq!(lock.tags().len(), lock.images.len());
    }
});
