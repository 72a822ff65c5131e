//! hubcap: a caching registry proxy for CI. This is its command line.
//!
//! - [`args`]: what is typed. [`settings`]: what is decided by flags, variables and the file.
//! - [`verb`]: the subcommands; only this file enters them.
//! - [`compose`]: builds store, upstreams, cache and runtime from the settings.
//! - [`daemon`]: the daemon's process, its run, its address, and the client of its admin socket. [`holder`]: who has the store,
//!   this process or a daemon. [`fill`]: has the store filled.
//! - [`job`]: the GitHub job. [`clients`], [`restart`], [`unpacker`], [`proof`], [`limits`], [`lockfile`], [`log`],
//!   [`replace`], [`secret`], [`show`], [`signals`]: what several verbs do alike.

mod args;
mod clients;
mod compose;
mod daemon;
mod fill;
mod holder;
mod job;
mod limits;
mod lockfile;
mod log;
mod proof;
mod replace;
mod restart;
mod secret;
mod settings;
mod show;
mod signals;
mod unpacker;
mod verb;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};
use rustix::fs::Mode;
use rustix::process::umask;
use tracing_subscriber::EnvFilter;

use show::strangers::visible_lines;

use args::{Args, Verb};
use settings::{Config, Settings};
use verb::{
    differ, doctor, down, export, gc, health, import, key, lock, ls, pull, serve, setup, summary, trim, up,
    verify,
};

/// The exit code for a command line or settings that cannot be used.
const USAGE: i32 = 2;

fn main() -> ExitCode {
    let matches = Args::command().try_get_matches().unwrap_or_else(|error| refuse(&error));
    let args = Args::from_arg_matches(&matches).unwrap_or_else(|error| refuse(&error));
    log_to_stderr();
    // Nothing that hubcap or one of its libraries writes is for everybody to change.
    umask(umask(Mode::WOTH) | Mode::WOTH);
    let done = match args.verb {
        Verb::Serve(flags) => serve::run(load_to_serve(&flags.settings), &flags),
        Verb::Pull(flags) => pull::run(&load(&flags.settings), &flags),
        Verb::Ls(flags) => ls::run(&store(flags.store), flags.json),
        Verb::Verify(flags) => verify::run(&load(&flags.settings), &flags),
        Verb::Gc(flags) => gc::run(&load(&flags.settings), &flags),
        Verb::Trim(flags) => trim::run(&load(&flags.settings), &flags),
        Verb::Key(flags) => key::run(&store(flags.store)),
        Verb::Export(flags) => export::run(&load(&flags.settings), &flags),
        Verb::Import(flags) => import::run(&load(&flags.settings), &flags),
        Verb::Lock(flags) => lock::run(&load(&flags.settings), &flags),
        Verb::Health(flags) => health::run(&load(&flags.settings)),
        Verb::Up(flags) => {
            let for_serve = matches.subcommand().map(|(_, typed)| args::for_serve(typed)).unwrap_or_default();
            up::run(&load(&flags.settings), &flags, &for_serve)
        }
        Verb::Down(flags) => down::run(&load(&flags.settings), &flags),
        Verb::Summary(flags) => summary::run(&flags),
        Verb::Differ(flags) => differ::run(&flags),
        Verb::Doctor(flags) => doctor::run(&load(&flags.settings), &flags),
        Verb::Setup(setup) => setup::run(&load(&setup.flags().settings), &setup),
        Verb::Unset(unset) => setup::unset(&load(unset.settings()), &unset),
    };
    done.unwrap_or_else(|error| {
        eprintln!("{}", visible_lines(&format!("hubcap: {error:#}")));
        ExitCode::FAILURE
    })
}

/// Shows the help that is asked for, or what is wrong with the command line, which may have others' words in it.
fn refuse(error: &clap::Error) -> ! {
    let text = error.render().to_string();
    if visible_lines(&text) == text {
        error.exit();
    }
    eprint!("{}", visible_lines(&text));
    std::process::exit(USAGE)
}

/// Logs to standard error what `HUBCAP_LOG` lets through.
fn log_to_stderr() {
    let log = std::env::var("HUBCAP_LOG").unwrap_or_else(|_| "info".into());
    let filter = EnvFilter::try_new(&log).unwrap_or_else(|error| {
        eprintln!("hubcap: HUBCAP_LOG={log:?} is not understood ({error}); using info");
        EnvFilter::new("info")
    });
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| log::Lines).with_ansi(false).init();
}

/// The configuration; where the settings cannot be used, says why and exits.
fn load(settings: &Settings) -> Config {
    usable(settings::load(settings))
}

/// The same for a process that asks registries itself.
fn load_to_serve(settings: &Settings) -> Config {
    usable(settings::load(settings).and_then(|config| config.check_logins().map(|()| config)))
}

fn usable(config: anyhow::Result<Config>) -> Config {
    config.unwrap_or_else(|error| {
        eprintln!("{}", visible_lines(&format!("hubcap: {error:#}")));
        std::process::exit(USAGE)
    })
}

/// The store's directory, for commands that need nothing else.
fn store(flag: Option<PathBuf>) -> PathBuf {
    load(&Settings { store: flag, ..Settings::default() }).store
}
