//! hubcap: a caching registry proxy for CI. This is the composition root; the rooms are in `crates/`.

mod admin;
mod args;
mod clients;
mod compose;
mod daemon;
mod fill;
mod job;
mod lockfile;
mod replace;
mod settings;
mod show;
mod verb;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};

use args::{Args, Verb};
use verb::{doctor, down, export, gc, health, import, key, lock, ls, pull, serve, setup, trim, up, verify};

/// What a shell sees of a usage that cannot be meant.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let matches = Args::command().get_matches();
    let args = Args::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let typed = matches.subcommand().map(|(_, typed)| typed);
    let log = std::env::var("HUBCAP_LOG").unwrap_or_else(|_| "info".into());
    let filter = tracing_subscriber::EnvFilter::try_new(&log).unwrap_or_else(|error| {
        eprintln!("hubcap: HUBCAP_LOG={log:?} is not understood ({error}); using info");
        tracing_subscriber::EnvFilter::new("info")
    });
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();

    let done = match args.verb {
        Verb::Serve(flags) => settings::load(&flags.settings).map(|config| serve::run(config, &flags)),
        Verb::Pull(flags) => settings::load(&flags.settings).map(|config| pull::run(&config, &flags)),
        Verb::Ls(flags) => settings::store(flags.store).map(|store| ls::run(&store, flags.json)),
        Verb::Verify(flags) => settings::load(&flags.settings).map(|config| verify::run(&config, &flags)),
        Verb::Gc(flags) => settings::load(&flags.settings).map(|config| gc::run(&config, &flags)),
        Verb::Trim(flags) => settings::load(&flags.settings).map(|config| trim::run(&config, &flags)),
        Verb::Key(flags) => settings::store(flags.store).map(|store| key::run(&store)),
        Verb::Export(flags) => settings::load(&flags.settings).map(|config| export::run(&config, &flags)),
        Verb::Import(flags) => settings::load(&flags.settings).map(|config| import::run(&config, &flags)),
        Verb::Lock(flags) => settings::load(&flags.settings).map(|config| lock::run(&config, &flags)),
        Verb::Health(flags) => settings::load(&flags.settings).map(|config| health::run(&config)),
        Verb::Up(flags) => {
            let for_serve = typed.map(args::for_serve).unwrap_or_default();
            settings::load(&flags.settings).map(|config| up::run(&config, &flags, &for_serve))
        }
        Verb::Down(flags) => settings::load(&flags.settings).map(|config| down::run(&config, &flags)),
        Verb::Doctor(flags) => settings::load(&flags.settings).map(|config| doctor::run(&config, &flags)),
        Verb::Setup(setup) => {
            settings::load(&setup.flags().settings).map(|config| setup::run(&config, &setup))
        }
        Verb::Unset(unset) => settings::load(unset.settings()).map(|config| setup::unset(&config, &unset)),
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
