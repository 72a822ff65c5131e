//! The daemon.

use hubcap_admin::Daemon;

use super::finding::{Finding, State};
use super::subject::Subject;
use crate::daemon::agree;
use crate::daemon::run::Run;
use crate::daemon::verify::Unverified;

const ABOUT: &str = "daemon";

pub(super) fn look(subject: &Subject) -> Vec<Finding> {
    let Some(status) = subject.status() else { return none_runs(subject) };
    let daemon = &status.daemon;
    let mut found = vec![runs(subject, daemon)];
    for otherwise in agree::contradictions(&subject.found.config, daemon) {
        let says = format!("its settings are not those given here: {otherwise}");
        let how = format!("leave that out, or {}, then start it with that", subject.command("down"));
        found.push(Finding::new(State::Note, ABOUT, says).remedy(how));
    }
    found
}

fn runs(subject: &Subject, daemon: &Daemon) -> Finding {
    let says = format!("hubcap {} runs as {}", daemon.version, daemon.pid);
    match (daemon.listen, &subject.answers) {
        (None, _) => {
            Finding::new(State::Note, ABOUT, format!("{says}, without HTTPS: dockerd cannot use it so"))
        }
        (Some(listen), Ok(())) => {
            Finding::new(State::Fine, ABOUT, format!("{says} and answers on https://{listen}"))
        }
        (Some(listen), Err(why)) => {
            let restart = format!("{}; {}", subject.command("down"), subject.command("up"));
            Finding::new(State::Broken, ABOUT, format!("{says} but does not answer on {listen}: {why}"))
                .remedy(restart)
        }
    }
}

fn none_runs(subject: &Subject) -> Vec<Finding> {
    let config = &subject.found.config;
    let state = config.state.display();
    let set_up = subject.set_up();
    let names: Vec<&str> = set_up.iter().map(|client| client.title()).collect();
    let mut found = Vec::new();
    match (&subject.answers, &subject.mirror) {
        (Ok(()), Some(mirror)) => {
            let says = format!("hubcap answers on {}, and not on its socket in {state}", mirror.url());
            found.push(Finding::new(State::Fine, ABOUT, says));
        }
        _ if names.is_empty() => {
            let says = format!("none runs from {state}");
            found.push(Finding::new(State::Note, ABOUT, says).remedy(subject.command("up")));
        }
        (Err(Unverified::Wrong(why)), _) => {
            let says = format!(
                "none runs from {state}, and {} ask what does not answer as hubcap: {why}",
                names.join(" and ")
            );
            found.push(Finding::new(State::Broken, ABOUT, says).remedy(undo_all(subject)));
        }
        _ => {
            let says = format!(
                "none runs from {state}, but {} ask it first, each time in vain",
                names.join(" and ")
            );
            found.push(Finding::new(State::Broken, ABOUT, says).remedy(format!(
                "{}, or {}",
                start(subject),
                undo_all(subject)
            )));
        }
    }
    for other in &subject.found.of_others {
        let says = format!("a hubcap with the state {} is another user's", other.display());
        found.push(Finding::new(State::Note, ABOUT, says));
    }
    found
}

/// Starts it where it was.
fn start(subject: &Subject) -> String {
    let config = &subject.found.config;
    let last = Run::read(&config.state).ok().flatten().and_then(|run| run.listen);
    match last.filter(|last| *last != config.listen) {
        Some(last) => subject.command(&format!("up --listen {last}")),
        None => subject.command("up"),
    }
}

/// Takes every client away from it.
fn undo_all(subject: &Subject) -> String {
    let set_up = subject.set_up();
    let commands: Vec<String> =
        set_up.iter().map(|client| subject.command(&format!("unset {}", client.name()))).collect();
    commands.join("; ")
}
