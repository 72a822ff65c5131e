//! One test binary; modules by behaviour.
