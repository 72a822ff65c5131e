//! hubcap: a caching registry proxy for CI. This is the composition root; the rooms are in `crates/`.

mod args;
mod config;
mod gc;
mod health;
mod ls;
mod progress;
mod pull;
mod run;
mod serve;
mod verify;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Args, Verb};

/// What a shell sees of a usage that cannot be meant.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let args = Args::parse();
    let log = std::env::var("HUBCAP_LOG").unwrap_or_else(|_| "info".into());
    let filter = tracing_subscriber::EnvFilter::try_new(&log).unwrap_or_else(|error| {
        eprintln!("hubcap: HUBCAP_LOG={log:?} is not understood ({error}); using info");
        tracing_subscriber::EnvFilter::new("info")
    });
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();

    let done = match args.verb {
        Verb::Serve(flags) => config::load(&flags.common).map(|config| serve::run(config, flags.check)),
        Verb::Pull(flags) => config::load(&flags.common).map(|config| pull::run(&config, &flags)),
        Verb::Ls(flags) => config::store(flags.store).map(|store| ls::run(&store, flags.json)),
        Verb::Verify(flags) => config::load(&flags.common).map(|config| verify::run(&config, &flags)),
        Verb::Gc(flags) => config::load(&flags.common).map(|config| gc::run(&config, &flags)),
        Verb::Health(flags) => config::load(&flags.common).map(|config| health::run(&config)),
    };
    match done {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => {
            eprintln!("hubcap: {error:#}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("hubcap: {error:#}");
            ExitCode::from(USAGE)
        }
    }
}
