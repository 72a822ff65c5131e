mod origins;

use std::time::Duration;

use hubcap_cache::{OnRemoved, Ttl};

use super::environment::{self, Variables};
use super::{Config, Settings, file, of_daemon};

fn merged(flags: &[&str], variables: &[(&str, &str)], text: &str) -> anyhow::Result<Config> {
    use clap::Parser as _;
    #[derive(clap::Parser)]
    struct Flags {
        #[command(flatten)]
        settings: Settings,
    }
    let flags = Flags::try_parse_from(["hubcap"].iter().chain(flags))?.settings;
    let home = [("HOME", "/home/me")];
    let variables: Variables =
        home.iter().chain(variables).map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Config::decide(flags.or(environment::settings(&variables)?).or(file::parse(text)?), &variables)
}

#[test]
fn a_flag_wins_over_a_variable_over_the_file_over_the_default() {
    let file = "listen = \"127.0.0.1:3\"\ntag-ttl = \"3s\"\noffline = true";
    let variables = [("HUBCAP_LISTEN", "127.0.0.1:2"), ("HUBCAP_TAG_TTL", "2s")];
    let port =
        |flags, variables, file| merged(flags, variables, file).map(|config| config.listen.port()).ok();
    assert_eq!(port(&["--listen", "127.0.0.1:1"], &variables, file), Some(1));
    assert_eq!(port(&[], &variables, file), Some(2));
    assert_eq!(port(&[], &[], file), Some(3));
    assert_eq!(port(&[], &[], ""), Some(5443));
    let ttl = |flags, variables, file| merged(flags, variables, file).map(|config| config.tags.default).ok();
    let seconds = |n| Some(Ttl::For(Duration::from_secs(n)));
    assert_eq!(ttl(&["--tag-ttl", "1s"], &variables, file), seconds(1));
    assert_eq!(ttl(&[], &variables, file), seconds(2));
    assert_eq!(ttl(&[], &[], file), seconds(3));
    assert_eq!(ttl(&[], &[], ""), seconds(300));
    let offline = |variables| merged(&[], variables, file).map(|config| config.offline).ok();
    assert_eq!(offline([].as_slice()), Some(true));
    assert_eq!(offline(&[("HUBCAP_OFFLINE", "false")]), Some(false));
}

#[test]
fn the_store_is_in_the_workspace_of_a_github_job_and_else_in_the_users_cache() {
    let store = |variables| merged(&[], variables, "").map(|config| config.store.display().to_string()).ok();
    assert_eq!(store([].as_slice()).as_deref(), Some("/home/me/.cache/hubcap"));
    assert_eq!(store(&[("XDG_CACHE_HOME", "/x")]).as_deref(), Some("/x/hubcap"));
    assert_eq!(store(&[("GITHUB_WORKSPACE", "/w")]).as_deref(), Some("/w/.hubcap"));
}

#[test]
fn the_private_key_is_kept_out_of_the_store() {
    let error = merged(&["--store", "/a", "--state", "/a/state"], &[], "").expect_err("refused");
    assert!(error.to_string().contains("--state"), "{error}");
}

#[test]
fn nor_does_the_private_key_get_into_the_store_by_a_link_or_a_detour() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name).display().to_string();
    std::fs::create_dir_all(path("store/deep")).expect("a directory");
    for (to, link) in [("store", "link-to-store"), ("store/deep", "link-into-store")] {
        std::os::unix::fs::symlink(path(to), path(link)).expect("a link");
    }
    for (store, state) in [
        ("store", "elsewhere/../store/state"),
        ("store", "link-to-store/state"),
        ("store", "link-into-store/new/state"),
        ("store", "link-into-store/../state"),
        ("link-to-store", "store/state"),
        ("store/", "store"),
    ] {
        let (store, state) = (path(store), path(state));
        let refused = merged(&["--store", &store, "--state", &state], &[], "");
        assert!(refused.is_err(), "{store} {state}");
    }
    // Beside it, above it, and with a name that begins the same.
    for (store, state) in [("store", "state"), ("state/store", "state"), ("store", "store-state")] {
        let (store, state) = (path(store), path(state));
        assert!(merged(&["--store", &store, "--state", &state], &[], "").is_ok(), "{store} {state}");
    }
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    for (file, line) in [
        ("offline = true\n\nlisten-on = \"x\"", "line 3"),
        ("typo = 1", "line 1"),
        ("[upstream.\"docker.io\"]\nurl = \"http://x\"\npasword = \"hunter2\"", "line 3"),
    ] {
        let error = format!("{:#}", merged(&[], &[], file).expect_err(file));
        assert!(error.contains(line) && error.contains("unknown field"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn a_password_in_the_wrong_place_is_not_shown() {
    let file = |text: &str| merged(&[], &[], text);
    let flag = |text: &str| merged(&["--upstream", text], &[], "");
    let variable = |text: &str| merged(&[], &[("HUBCAP_UPSTREAM", text)], "");
    for (told, named) in [
        (file("[upstream]\npassword = \"hunter2\""), "line 2: invalid type: string, expected"),
        (file("upstream = \"hunter2\""), "line 1: invalid type: string, expected"),
        (file("offline = \"a, expected hunter2\""), "line 1: invalid type: string"),
        (file("[upstream.\"docker.io\"]\nurl = \"https://x\"\npassword = \"hunter2"), "line 3"),
        (flag("docker.io=https://me:hunter2@x y"), "no URL"),
        (flag("https://me:hunter2@x"), "NAME=URL"),
        (variable("docker.io=https://me:hunter2@x y"), "no URL"),
        (variable("https://me:hunter2@x"), "HUBCAP_UPSTREAM: upstream \"x\": it is written NAME, NAME=URL"),
    ] {
        let told = format!("{:#}", told.expect_err(named));
        assert!(told.contains(named) && !told.contains("hunter2"), "{told}");
    }
}

#[test]
fn upstreams_are_added_and_replaced_by_name() {
    let file = "[upstream.\"ghcr.io\"]\nurl = \"https://ghcr.io\"\nusername = \"me\"\npassword = \"secret\"";
    let variables = [("HUBCAP_UPSTREAM", "quay.io=https://quay.io, docker.io=http://127.0.0.1:1")];
    let config =
        merged(&["--upstream", "docker.io=http://127.0.0.1:2"], &variables, file).expect("a configuration");
    let shown = config.to_toml().expect("TOML");
    let urls = urls(&config);
    let expected = [
        ("docker.io", vec!["http://127.0.0.1:2/"]),
        ("ghcr.io", vec!["https://ghcr.io/"]),
        ("quay.io", vec!["https://quay.io/"]),
    ];
    assert_eq!(urls, expected);
    assert!(shown.contains("# with a login") && !shown.contains("secret"), "{shown}");
}

/// The registries, each with the URLs of its origins.
fn urls(config: &Config) -> Vec<(&str, Vec<&str>)> {
    config
        .upstreams
        .iter()
        .map(|one| {
            (one.registry.as_str(), one.origins.iter().map(|origin| origin.url.as_str()).collect::<Vec<_>>())
        })
        .collect()
}

#[test]
fn what_cannot_be_meant_is_refused_by_name() {
    for (flags, variables, file, named) in [
        (["--upstream", "ghcr.io=ghcr.io"].as_slice(), [].as_slice(), "", "no URL"),
        (&["--upstream", "*.example.com=https://x.example.com"], &[], "", "name it"),
        (&["--upstream", "https://ghcr.io"], &[], "", "upstream"),
        (&["--proxy-listen", "127.0.0.1:0", "--proxy-intercept", "*"], &[], "", "proxy-intercept"),
        (&[], &[("HUBCAP_PROXY_LISTEN", "5480")], "", "HUBCAP_PROXY_LISTEN"),
        (&[], &[("HUBCAP_LISTEN", "5443")], "", "HUBCAP_LISTEN"),
        (&[], &[("HUBCAP_OFFLINE", "perhaps")], "", "HUBCAP_OFFLINE"),
        (&[], &[("HUBCAP_LOGIN", "me")], "", "USER:TOKEN"),
        (&["--tag-ttl", "5"], &[], "", "tag-ttl"),
        (&[], &[], "upstream-timeout = \"-1s\"", "upstream-timeout"),
        (&[], &[], "listen = \"here\"", "listen"),
        (&["--max-size", "much"], &[], "", "max-size"),
        (&[], &[("HUBCAP_MIN_FREE", "101%")], "", "HUBCAP_MIN_FREE"),
        (&["--pin", "alpine"], &[], "", "whole name"),
        (&[], &[], "[[tags]]\npattern = \"docker.io/x\"\nttl = \"soon\"", "soon"),
        (&[], &[], "[[tags]]\npattern = \"x\"\nttl = \"1s\"", "pattern"),
        (&[], &[], "[[removed]]\npattern = \"docker.io/x\"\non-removed = \"perhaps\"", "on-removed, line 3"),
        (&[], &[], "[[removed]]\npattern = \"x\"\non-removed = \"serve\"", "pattern"),
        (&[], &[], "[[removed]]\npattern = \"docker.io/x\"", "on-removed"),
    ] {
        let error = format!("{:#}", merged(flags, variables, file).expect_err(named));
        assert!(error.contains(named), "{error}");
    }
}

#[test]
fn the_files_under_config_are_understood_and_the_default_one_changes_nothing() {
    let default = include_str!("../../../config/default.toml");
    for file in
        [default, include_str!("../../../config/ci.toml"), include_str!("../../../config/offline.toml")]
    {
        merged(&[], &[], file).expect("a configuration");
    }
    let (with, without) = (merged(&[], &[], default).expect("with"), merged(&[], &[], "").expect("without"));
    assert_eq!(with.to_toml().expect("TOML"), without.to_toml().expect("TOML"));
}

#[test]
fn flags_variables_and_keys_mean_the_same() {
    let (mut flags, mut variables, mut file) = (Vec::new(), Vec::new(), String::new());
    for (name, value, written) in [
        ("listen", "127.0.0.1:1", "\"127.0.0.1:1\""),
        ("http-listen", "127.0.0.1:2", "\"127.0.0.1:2\""),
        ("store", "/s", "\"/s\""),
        ("state", "/t", "\"/t\""),
        ("offline", "true", "true"),
        ("tag-ttl", "1s", "\"1s\""),
        ("upstream-timeout", "2s", "\"2s\""),
        ("read-ahead", "true", "true"),
        ("max-size", "10%", "\"10%\""),
        ("min-free", "4MiB", "\"4MiB\""),
        ("pin", "ghcr.io/*", "[\"ghcr.io/*\"]"),
    ] {
        flags.push(format!("--{name}"));
        flags.extend((name != "offline").then(|| value.to_owned()));
        variables.push((format!("HUBCAP_{}", name.to_uppercase().replace('-', "_")), value));
        file += &format!("{name} = {written}\n");
    }
    let upstream = "ghcr.io=http://127.0.0.1:3";
    flags.extend(["--upstream".into(), upstream.into()]);
    variables.push(("HUBCAP_UPSTREAM".into(), upstream));
    file += "[upstream.\"ghcr.io\"]\nurl = \"http://127.0.0.1:3\"\n";
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let variables: Vec<(&str, &str)> =
        variables.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let shown = |flags, variables, file| {
        merged(flags, variables, file).expect("a configuration").to_toml().expect("TOML")
    };
    let from_flags = shown(&flags, &[], "");
    assert_eq!(shown(&[], &variables, ""), from_flags);
    assert_eq!(shown(&[], &[], &file), from_flags);
    let default = shown(&[], &[], "");
    let same: Vec<&str> = from_flags.lines().filter(|line| default.contains(line)).collect();
    assert_eq!(same, ["", "[upstream.\"docker.io\"]", "url = \"https://registry-1.docker.io/\"", ""]);
}

#[test]
fn every_setting_is_a_flag_a_variable_and_a_key_and_is_in_all_documents() {
    use clap::Args as _;
    let documents = [
        ("config/default.toml", include_str!("../../../config/default.toml")),
        ("README.md", include_str!("../../../README.md")),
    ];
    let all = Settings::augment_args(clap::Command::new("hubcap"));
    for flag in all.get_arguments() {
        let variable = environment::variable(flag).expect("a variable");
        let flag = flag.get_long().expect("a flag");
        let [(_, default), (_, readme)] = documents;
        // The file cannot name itself, and upstreams are tables.
        let key = match flag {
            "config" => continue,
            "upstream" => "[upstream.".to_owned(),
            key => format!("{key} = "),
        };
        assert!(
            default.lines().any(|line| line.trim_start_matches("# ").starts_with(&key)),
            "{key}: default.toml"
        );
        assert!(readme.contains(&format!("`--{flag}")) && readme.contains(&variable), "{flag}: README.md");
    }
}

#[test]
fn tag_rules_come_in_the_order_of_the_file_before_the_upstreams_own() {
    let file = "[[tags]]\npattern = \"docker.io/library/rust:1.*\"\nttl = \"immutable\"\n\n\
                [upstream.\"docker.io\"]\nurl = \"https://registry-1.docker.io\"\ntag-ttl = \"1h\"";
    let config =
        merged(&["--max-size", "10%", "--pin", "docker.io/library/*"], &[], file).expect("a configuration");
    let shown = config.to_toml().expect("TOML");
    let (first, second) =
        (shown.find("immutable").expect("the rule"), shown.find("3600s").expect("the upstream's"));
    assert!(first < second, "{shown}");
    assert!(
        shown.contains("max-size = \"10%\"") && shown.contains("pin = [\"docker.io/library/*\"]"),
        "{shown}"
    );
    // What is printed can be read again.
    assert!(merged(&[], &[], &shown).is_ok(), "{shown}");
}

#[test]
fn what_becomes_of_removed_images_is_decided_in_the_order_of_the_file() {
    let file = "[[removed]]\npattern = \"docker.io/minio/mc\"\non-removed = \"refuse\"\n\n\
                [[removed]]\npattern = \"docker.io/minio/*\"\non-removed = \"serve\"\n";
    let config = merged(&[], &[], file).expect("a configuration");
    let decided = |config: &Config| config.removed.rules.iter().map(|(_, what)| *what).collect::<Vec<_>>();
    assert_eq!(decided(&config), [OnRemoved::Refuse, OnRemoved::Serve]);
    let shown = config.to_toml().expect("TOML");
    assert_eq!(decided(&merged(&[], &[], &shown).expect("read again")), decided(&config), "{shown}");
    assert!(merged(&[], &[], "").expect("a configuration").removed.rules.is_empty());
}

#[test]
fn a_login_for_what_only_the_daemon_may_ask_is_refused_by_serve_alone_and_used_with_the_daemon() {
    let variables = [("HUBCAP_LOGIN", "r.example=me:x")];
    let own = merged(&[], &variables, "").expect("a command that puts things back works");
    assert!(own.check_logins().is_err_and(|error| error.to_string().contains("--upstream r.example")));
    let served = merged(&["--upstream", "r.example"], &variables, "").expect("a configuration");
    served.check_logins().expect("an upstream");
    let settings = served.to_toml().expect("settings");
    assert!(!settings.contains("me:x"), "{settings}");
    let found = of_daemon(&settings, &own).expect("a configuration");
    let one = found.upstreams.iter().find(|one| one.registry.as_str() == "r.example").expect("an upstream");
    assert!(one.origins[0].credentials.as_ref().is_some_and(|login| login.username == "me"));
}

#[test]
fn registries_are_allowed_by_name_or_pattern_and_logins_find_theirs() {
    let flags =
        ["--upstream", "r.example:5000", "--upstream", "*.azurecr.io", "--proxy-listen", "127.0.0.1:0"];
    let variables = [
        ("HUBCAP_LOGIN", "me:a,ghcr.io=you:b,r.example:5000=us:c,x.azurecr.io=them:d"),
        ("HUBCAP_PROXY_INTERCEPT", "ghcr.io, *.azurecr.io"),
    ];
    let config = merged(&flags, &variables, "").expect("a configuration");
    let found: Vec<_> = config
        .upstreams
        .iter()
        .flat_map(|one| &one.origins)
        .map(|one| (one.url.as_str(), one.credentials.as_ref().map_or("", |login| login.username.as_str())))
        .collect();
    let expected = [
        ("https://registry-1.docker.io/", "me"),
        ("https://ghcr.io/", "you"),
        ("https://r.example:5000/", "us"),
        ("https://x.azurecr.io/", "them"),
    ];
    assert_eq!(found, expected);
    let shown = config.to_toml().expect("TOML");
    assert!(shown.contains("[upstream.\"*.azurecr.io\"]") && shown.contains("proxy-intercept"), "{shown}");
    assert_eq!(
        merged(&[], &[], &shown).expect("read again").to_toml().expect("TOML"),
        without_comments(&shown)
    );
}

fn without_comments(toml: &str) -> String {
    toml.split_inclusive('\n').filter(|line| !line.starts_with('#')).collect()
}
