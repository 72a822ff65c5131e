//! Registries with several origins.

use super::{merged, urls};

const HUB_AND_MIRROR: [&str; 2] = ["https://registry-1.docker.io/", "https://mirror.gcr.io/"];

#[test]
fn the_origins_of_a_registry_are_listed_by_flag_variable_and_file_alike() {
    let list = "docker.io=https://registry-1.docker.io,https://mirror.gcr.io";
    let one = |url: &str| format!("docker.io=https://{url}");
    let (first, second) = (one("registry-1.docker.io"), one("mirror.gcr.io"));
    let quoted = "[\"https://registry-1.docker.io\", \"https://mirror.gcr.io\"]";
    let spaced = list.replace(',', ", ");
    for (flags, variables, file) in [
        (vec!["--upstream", list], vec![], String::new()),
        (vec!["--upstream", &first, "--upstream", &second], vec![], String::new()),
        (vec!["--upstream", "docker.io", "--upstream", &second], vec![], String::new()),
        (vec![], vec![("HUBCAP_UPSTREAM", list)], String::new()),
        (vec![], vec![("HUBCAP_UPSTREAM", spaced.as_str())], String::new()),
        (vec![], vec![], format!("[upstream.\"docker.io\"]\nurl = {quoted}")),
        (vec![], vec![], format!("[upstream]\n\"docker.io\" = {quoted}")),
        (vec![], vec![], format!("upstream = {quoted}")),
        (vec![], vec![], format!("upstream = [\"{list}\"]")),
    ] {
        let config = merged(&flags, &variables, &file).expect("a configuration");
        assert_eq!(urls(&config), [("docker.io", HUB_AND_MIRROR.to_vec())], "{flags:?} {variables:?} {file}");
        let shown = config.to_toml().expect("TOML");
        assert_eq!(urls(&merged(&[], &[], &shown).expect("read again")), urls(&config), "{shown}");
    }
}

#[test]
fn a_list_of_origins_is_replaced_as_a_whole_by_who_comes_before() {
    let file =
        "[upstream.\"docker.io\"]\nurl = [\"https://a.example\", \"https://b.example\"]\nstale-tags = true";
    let config = merged(&["--upstream", "docker.io=https://c.example"], &[], file).expect("a configuration");
    assert_eq!(urls(&config), [("docker.io", vec!["https://c.example/"])]);
    assert!(config.upstreams[0].stale_tags, "what is not said again stays");
    let pieces = [("HUBCAP_UPSTREAM", "ghcr.io=https://d.example,https://e.example,quay.io,*.azurecr.io")];
    let config = merged(&[], &pieces, "").expect("a configuration");
    let ghcr = ("ghcr.io", vec!["https://d.example/", "https://e.example/"]);
    assert_eq!(urls(&config)[1..], [ghcr, ("quay.io", vec!["https://quay.io/"])]);
}

#[test]
fn each_origin_has_its_own_login() {
    let file = "[upstream.\"docker.io\"]\nusername = \"me\"\npassword = \"hunter2\"\n\
        url = [{ url = \"https://first.example\", username = \"first\", password = \"hunter2\" }, \
        \"https://registry-1.docker.io\", \"https://mirror.example/v2/hub\", \"https://open.example\"]";
    let variables = [("HUBCAP_LOGIN", "mirror.example=us:hunter2")];
    let config = merged(&[], &variables, file).expect("a configuration");
    let users: Vec<&str> = config.upstreams[0]
        .origins
        .iter()
        .map(|origin| origin.credentials.as_ref().map_or("", |login| login.username.as_str()))
        .collect();
    assert_eq!(users, ["first", "me", "us", ""]);
    assert!(!config.to_toml().expect("TOML").contains("hunter2"));
}

#[test]
fn a_list_of_origins_that_cannot_be_meant_is_refused() {
    for (file, named) in [
        ("[upstream.\"docker.io\"]\nurl = []", "empty"),
        ("[upstream]\n\"docker.io\" = []", "empty"),
        ("[upstream.\"docker.io\"]\nurl = [{ username = \"me\", password = \"hunter2\" }]", "no URL"),
        ("[upstream.\"docker.io\"]\nurl = [{ url = \"https://x\", pasword = \"hunter2\" }]", "unknown field"),
        ("[upstream.\"*.example.com\"]\nstale-tags = true", "name it"),
    ] {
        let error = format!("{:#}", merged(&[], &[], file).expect_err(file));
        assert!(error.contains(named) && !error.contains("pasword = "), "{error}");
    }
}
