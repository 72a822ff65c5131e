//! Pages of lists, the way to them, and lists of referrers: nothing that a registry says leads out of its list.
#![no_main]

use hubcap_cache::Trail;
use hubcap_oci::{Page, Referrer};

libfuzzer_sys::fuzz_target!(|input: (&str, Option<&str>, &[u8])| {
    let (text, place, bytes) = input;
    let page = Page::of_link(Some(text), place.map(Into::into));
    assert_eq!(Page::of_link(Some(page.query()), page.place().map(Into::into)), page);
    for page in [&page, &Page::of_query(Some(text))] {
        let place = page.place().unwrap_or("a").replace("%2e", ".").replace("%2E", ".").replace("%2F", "/");
        assert!(!place.split('/').any(|part| matches!(part, "." | "..")), "{place}");
        assert!(page.query().bytes().all(|byte| byte.is_ascii_graphic()), "{}", page.query());
        let _ = (page.n(), page.last(), page.is_first(), page.is_plain());
    }
    if let Ok(trail) = text.parse::<Trail>() {
        assert_eq!(trail.to_string().parse(), Ok(trail));
    }
    for referrer in Referrer::read_index(bytes).unwrap_or_default() {
        let _ = (referrer.digest(), referrer.is_signature(), referrer.is_of(&["a/b".to_owned()]));
    }
});
