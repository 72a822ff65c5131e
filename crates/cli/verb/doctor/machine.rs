//! The machine: what slows pulls down and no cache can fix.

use hubcap_clients::is_installed;

use super::finding::{Finding, State};

pub(super) fn look() -> Vec<Finding> {
    let mut found = Vec::new();
    if is_installed("dockerd") {
        found.push(if is_installed("pigz") {
            Finding::new(State::Fine, "machine", "pigz is there: dockerd unpacks layers with it")
        } else {
            Finding::new(
                State::Note,
                "machine",
                "without pigz dockerd unpacks layers with a slower gzip of its own",
            )
            .remedy("apt-get install pigz")
        });
    }
    let set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let proxies: Vec<&str> =
        ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"].into_iter().filter(set).collect();
    if !proxies.is_empty() {
        // Not their values: passwords may be in them.
        let says = format!("{} set here: clients may send what is for hubcap there", proxies.join(" and "));
        found.push(Finding::new(State::Note, "machine", says).remedy("NO_PROXY=127.0.0.1,localhost"));
    }
    found
}
