//! containerd that was given hubcap's differ: whether it asks that, and somebody listens.

use hubcap_clients::{DIFFER_SOCKET, DifferService};

use super::finding::{Finding, State};
use super::subject::Subject;
use crate::unpacker;

pub(super) fn look(subject: &Subject) -> Vec<Finding> {
    let finding = |state, says: &str| Finding::new(state, "containerd", says);
    let broken = |error: hubcap_clients::Error| vec![finding(State::Broken, &error.to_string())];
    let journal = match subject.journal(unpacker::NAME) {
        Ok(journal) => journal,
        Err(error) => return broken(error),
    };
    let service = match DifferService::of(&journal) {
        Ok(service) => service,
        Err(error) => return broken(error),
    };
    let Some(state) = unpacker::state(&journal) else { return Vec::new() };
    let end = subject.command(if service.is_some() { "unset containerd" } else { "down" });
    let mut found = vec![match state {
        unpacker::State::Wired => finding(State::Fine, "it unpacks with hubcap's differ"),
        unpacker::State::Dead => {
            let says = format!(
                "it is to unpack with hubcap's differ, and nobody listens on {DIFFER_SOCKET}: its pulls fail"
            );
            finding(State::Broken, &says).remedy(end)
        }
        unpacker::State::Past if service.is_some() => {
            finding(State::Broken, "it unpacks by itself: not all of `setup containerd --unpack` is there")
                .remedy(end)
        }
        unpacker::State::Past => finding(State::Note, "it unpacks by itself since the last boot").remedy(end),
    }];
    if let Some(service) = service {
        found.extend(look_at(&service, subject));
    }
    found
}

/// Whether the service would go on.
fn look_at(service: &DifferService, subject: &Subject) -> Option<Finding> {
    let finding = |says: String| Finding::new(State::Broken, "containerd", says);
    if !service.program().exists() {
        let says = format!(
            "its differ is {}, which is gone: pulls fail once the one that runs has ended",
            service.program().display()
        );
        let how = format!("put hubcap there, or {}", subject.command("unset containerd"));
        return Some(finding(says).remedy(how));
    }
    (!service.is_enabled()).then(|| {
        finding("nobody would listen for its layers after a reboot, and its pulls would fail".into())
            .remedy("systemctl enable --now hubcap-differ.socket")
    })
}
