//! Everything a user relies on, tried on the built binary with real files, real sockets and real programs.
//!
//! One test binary; modules by behaviour. `support` has the scripted origin that plays Docker Hub and its faults,
//! and starts the real programs.

mod act;
mod action;
mod actions_cache;
mod archive;
mod bridge;
mod budget;
mod carried;
mod carry;
mod cli;
mod clients;
mod conformance;
mod connect;
mod differ;
mod e2e;
mod faults;
mod flight;
mod freshness;
mod hostile;
mod image_store;
mod job;
mod kill;
mod limits;
mod logins;
mod matrix;
mod neighbors;
mod permission;
mod power;
mod private;
mod quirks;
mod ranged;
mod real;
mod recipes;
mod referee;
mod referrers;
mod registries;
mod restart;
mod restore;
mod rootless;
mod rot;
mod running;
mod several_ranges;
mod shared;
mod soak;
mod spec;
mod stop;
mod store;
mod support;
mod tls;
mod upstream;
mod visibility;
mod waits;
mod wiring;
mod workflows;
