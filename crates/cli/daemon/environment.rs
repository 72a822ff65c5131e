//! What the daemon keeps of the environment of the command that starts it. It may outlive a job, and every process of the same
//! user can read its environment for as long as it runs: the job's secrets must not be there.

use std::ffi::OsString;

use hubcap_clients::{docker_config, read_text};
use serde_json::Value;

/// Variables that hubcap, its libraries and Docker's credential helpers read, and that point at something rather than being
/// a secret, except `DOCKER_AUTH_CONFIG`, which is what it is there for.
const KEPT: [&str; 33] = [
    // Where things are.
    "HOME",
    "PATH",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "TZ",
    "LANG",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
    "XDG_STATE_HOME",
    "GITHUB_WORKSPACE",
    // By this the runner finds, and ends, what a job has left running.
    "RUNNER_TRACKING_ID",
    // How the network is reached, and whom to trust there.
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    // Docker's logins, and the key rings of its helpers.
    "DOCKER_AUTH_CONFIG",
    "DOCKER_CONFIG",
    "DOCKER_CONTEXT",
    "DOCKER_HOST",
    "DBUS_SESSION_BUS_ADDRESS",
    "GNUPGHOME",
    "PASSWORD_STORE_DIR",
    // For a debugger's eyes.
    "RUST_BACKTRACE",
    "RUST_LIB_BACKTRACE",
];

/// Helpers that take their own login from variables, by a part of their names, with the beginnings of those variables.
const HELPERS: [(&str, &[&str]); 3] =
    [("ecr-login", &["AWS_"]), ("gc", &["GOOGLE_", "CLOUDSDK_", "GCR_"]), ("acr", &["AZURE_", "ACR_"])];

/// The variables of this process that the daemon gets.
pub(super) fn kept() -> impl Iterator<Item = (OsString, OsString)> {
    let configs = docker_configs();
    std::env::vars_os().filter(move |(name, _)| name.to_str().is_some_and(|name| is_kept(name, &configs)))
}

/// Whether the daemon needs a variable, where Docker's configurations are these.
fn is_kept(name: &str, configs: &[Value]) -> bool {
    let of_helper = |(helper, beginnings): &(&str, &[&str])| {
        beginnings.iter().any(|beginning| name.starts_with(beginning))
            && configs.iter().any(|config| names_helper(config, helper))
    };
    name.starts_with("HUBCAP_") || KEPT.contains(&name) || HELPERS.iter().any(of_helper)
}

/// Whether a configuration names a credential helper with this in its name.
fn names_helper(config: &Value, part: &str) -> bool {
    let of_registries = config["credHelpers"].as_object().into_iter().flat_map(|helpers| helpers.values());
    let mut helpers = of_registries.chain([&config["credsStore"]]).filter_map(|helper| helper.as_str());
    helpers.any(|helper| helper.contains(part))
}

/// What can be read of them: logins are looked up in both.
fn docker_configs() -> Vec<Value> {
    let variable = std::env::var("DOCKER_AUTH_CONFIG").ok();
    let file = docker_config().and_then(|docker| read_text(&docker.join("config.json")).ok());
    [variable, file].into_iter().flatten().filter_map(|text| serde_json::from_str(&text).ok()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_daemon_keeps_what_it_needs_and_no_secret_of_the_job() {
        for name in ["HUBCAP_LOGIN", "HOME", "https_proxy", "DOCKER_CONFIG", "SSL_CERT_FILE"] {
            assert!(is_kept(name, &[]), "{name}");
        }
        for name in
            ["ACTIONS_RUNTIME_TOKEN", "GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "NPM_TOKEN", "INPUT_KEY", "CI"]
        {
            assert!(!is_kept(name, &[]), "{name}");
        }
    }

    #[test]
    fn a_helper_keeps_the_variables_that_it_logs_in_with() {
        let registries =
            [json!({"credHelpers": {"1.dkr.ecr.eu-west-1.amazonaws.com": "ecr-login", "gcr.io": "gcloud"}})];
        let store = [json!({"credsStore": "acr-env"})];
        assert!(is_kept("AWS_SECRET_ACCESS_KEY", &registries) && is_kept("CLOUDSDK_CONFIG", &registries));
        assert!(is_kept("AZURE_CLIENT_SECRET", &store));
        assert!(!is_kept("AWS_SECRET_ACCESS_KEY", &store) && !is_kept("AZURE_CLIENT_SECRET", &registries));
        assert!(!is_kept("AWS_SECRET_ACCESS_KEY", &[json!({"auths": {"x": {"auth": "ecr-login"}}})]));
        let both = [json!({"auths": {}}), registries[0].clone()];
        assert!(is_kept("AWS_SECRET_ACCESS_KEY", &both), "the variable does not hide the file");
    }
}
