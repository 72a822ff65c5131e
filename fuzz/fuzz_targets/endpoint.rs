//! Paths and queries, as a client sends them: what is understood says the same when it is written again.
#![no_main]

use hubcap_oci::Endpoint;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let (path, query) = text.split_once("?").map_or((text, None), |(path, query)| (path, Some(query)));
    let Ok(endpoint) = Endpoint::parse(path, query) else { return };
    // A registry's own place of a page is written as the registry has it, which is no path of the specification.
    if matches!(&endpoint, Endpoint::Tags { page, .. } if page.place().is_some()) {
        return;
    }
    let written = endpoint.path();
    let (path, query) =
        written.split_once("?").map_or((written.as_str(), None), |(path, query)| (path, Some(query)));
    assert_eq!(Endpoint::parse(path, query).ok(), Some(endpoint), "{written}");
});
