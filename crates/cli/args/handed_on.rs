//! The flags that `up` hands on to `serve`.

use std::ffi::OsString;

use clap::{ArgMatches, Args as _};

use crate::settings::Settings;

/// The flags of `serve` that were typed, to be handed on to it. Settings of variables and files are found there again.
pub(crate) fn for_serve(typed: &ArgMatches) -> Vec<OsString> {
    let mut flags = Vec::new();
    for known in Settings::augment_args(clap::Command::new("serve")).get_arguments() {
        let (id, Some(long)) = (known.get_id().as_str(), known.get_long()) else { continue };
        if typed.value_source(id) != Some(clap::parser::ValueSource::CommandLine) {
            continue;
        }
        let flag = OsString::from(format!("--{long}"));
        for value in typed.get_raw(id).into_iter().flatten() {
            let mut flag = flag.clone();
            flag.push("=");
            flag.push(value);
            flags.push(flag);
        }
    }
    flags
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, FromArgMatches as _};

    use super::*;
    use crate::args::{Args, Verb};

    #[test]
    fn up_hands_the_flags_of_serve_on_and_keeps_its_own() {
        let words = "hubcap up --offline --print --upstream a.io=http://a --upstream b.io=http://b --read-ahead --frozen=other.lock --docker-host \
            unix:///x --store s";
        let words: Vec<&str> = words.split_whitespace().filter(|word| *word != "\\").collect();
        let matches = Args::command().get_matches_from(words);
        let (_, typed) = matches.subcommand().expect("up");
        let handed: Vec<OsString> = for_serve(typed);
        let read = ["hubcap", "serve"].into_iter().map(OsString::from).chain(handed);
        let Verb::Serve(serve) =
            Args::from_arg_matches(&Args::command().get_matches_from(read)).expect("flags").verb
        else {
            panic!("not serve")
        };
        let upstreams = ["a.io=http://a", "b.io=http://b"].map(|text| text.parse().expect("an upstream"));
        assert_eq!(serve.settings.upstream, upstreams);
        assert_eq!((serve.settings.offline, serve.settings.read_ahead), (Some(true), Some(true)));
        assert_eq!(serve.settings.store, Some("s".into()));
        assert_eq!(serve.settings.frozen, Some("other.lock".into()));
    }
}
