//! `hosts.toml`: how containerd, and dockerd 28 and later, are told of a registry's mirrors. It is read at each pull.
//!
//! containerd asks the hosts in the order of their tables, so hubcap's table is put before the first one of the user's.
//! That is done in the text, and toml_edit only says where the first table begins. A toml_edit document writes its tables
//! by their numbered positions, so a table in front renumbers all others. And hubcap's table is found again by its header,
//! whatever someone else has made of the rest of the file, even what is no TOML any more.

use std::net::SocketAddr;
use std::path::Path;

use toml_edit::{Document, Item};

use super::header::HEADER;
use super::toml::{not_understood, quoted};
use crate::error::Error;
use crate::mirror::Mirror;

/// What a client asks the mirror for. It asks the registry itself for everything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Capabilities {
    /// Manifests, blobs and tags.
    PullAndResolve,
    /// Lists of referrers, too. A client that does not know the word refuses the whole file.
    AndReferrers,
}

impl Capabilities {
    /// Those of a client that knows the word `referrers`, or does not.
    pub(crate) const fn of(knows_referrers: bool) -> Self {
        if knows_referrers { Self::AndReferrers } else { Self::PullAndResolve }
    }
}

/// The block for a mirror, which is a whole file, too. There is no `server` line, so that the registry itself is asked
/// where the mirror cannot help.
///
/// `dial_timeout` is known to containerd 2.1 and later; earlier ones ignore it.
pub(crate) fn hosts_toml(mirror: &Mirror, capabilities: Capabilities) -> String {
    let (url, ca) = (mirror.url(), mirror.ca.path.display().to_string());
    let capabilities = match capabilities {
        Capabilities::PullAndResolve => r#""pull", "resolve""#,
        Capabilities::AndReferrers => r#""pull", "resolve", "referrers""#,
    };
    let ca = quoted(&ca);
    format!(
        "{HEADER}[host.\"{url}\"]\n  capabilities = [{capabilities}]\n  ca = {ca}\n  dial_timeout = \"1s\"\n"
    )
}

/// A user's file with the mirror before all other hosts, or one that is wholly ours.
pub(crate) fn with_mirror(
    path: &Path,
    original: Option<&str>,
    mirror: &Mirror,
    capabilities: Capabilities,
) -> Result<String, Error> {
    let ours = hosts_toml(mirror, capabilities);
    let Some(text) = original.filter(|text| !text.trim().is_empty()) else { return Ok(ours) };
    let document = Document::parse(text).map_err(|error| not_understood(path, text, &error))?;
    let first = match document.get("host") {
        None => None,
        Some(Item::Table(hosts)) if hosts.contains_key(&mirror.url()) => return Ok(text.to_owned()),
        // A dotted key has no header to write before.
        Some(Item::Table(hosts)) if !hosts.is_dotted() && hosts.iter().all(|(_, host)| host.is_table()) => {
            hosts.iter().filter_map(|(_, host)| host.span()).map(|span| span.start).min()
        }
        Some(_) => {
            let why = "its hosts are not written as [host.\"...\"] tables; write them so, or remove the file";
            return Err(Error::not_understood(path, why));
        }
    };
    let at = first.map_or(text.len(), |start| above_comments(text, start));
    let newline = if at == text.len() && !text.ends_with('\n') { "\n" } else { "" };
    Ok(format!("{}{newline}{ours}{}", &text[..at], &text[at..]))
}

/// The beginning of the lines of comment right above a header, which are about it.
fn above_comments(text: &str, header: usize) -> usize {
    let mut at = text[..header].rfind('\n').map_or(0, |newline| newline + 1);
    while at > 0 {
        let line = text[..at - 1].rfind('\n').map_or(0, |newline| newline + 1);
        if !text[line..at].trim_start().starts_with('#') {
            break;
        }
        at = line;
    }
    at
}

/// The file without the table that hubcap added when it wrote `after`, and without hubcap's line of comment. `None` when
/// nothing else is in it.
///
/// The table goes with whatever is set in it, as all of that is about hubcap: before the first table it would be about the
/// registry itself. Comments stay.
pub(crate) fn without_ours(after: &str, now: &str) -> Option<String> {
    let ours = our_host(after);
    let mut rest = String::new();
    let mut is_ours = false;
    for line in now.split_inclusive('\n') {
        let text = line.trim();
        if text.starts_with('[') {
            is_ours = ours.is_some() && host_of(text) == ours;
        }
        let is_said = !text.is_empty() && !text.starts_with('#');
        if text != HEADER.trim_end() && !(is_ours && is_said) {
            rest.push_str(line);
        }
    }
    // An empty file of someone else stays one.
    (rest.len() == now.len() || !rest.trim().is_empty()).then_some(rest)
}

/// The file without the block that hubcap has marked as its own.
pub(crate) fn without_marked(text: &str) -> Option<String> {
    without_ours(text, text)
}

/// The host of hubcap's table in a text that hubcap wrote. In a file that others have changed, a table of theirs may be
/// behind hubcap's line of comment: hubcap's own is at an address and has no name.
fn our_host(text: &str) -> Option<String> {
    let (_, ours) = text.split_once(HEADER)?;
    let host = host_of(ours.lines().next()?)?;
    host.strip_prefix("https://")?.parse::<SocketAddr>().is_ok().then_some(host)
}

/// The host that the header of a table is about, however it is written.
fn host_of(header: &str) -> Option<String> {
    let document = Document::parse(header).ok()?;
    let (host, _) = document.get("host")?.as_table()?.iter().next()?;
    Some(host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::Authority;

    const FILE: &str = "hosts.toml";
    const PULL: Capabilities = Capabilities::PullAndResolve;

    fn mirror() -> Mirror {
        Mirror::new("127.0.0.1:5443".parse().expect("an address"), Authority::read("/s/ca.pem".into()))
    }

    fn merged(text: &str) -> String {
        let merged = with_mirror(Path::new(FILE), Some(text), &mirror(), PULL).expect(text);
        assert_eq!(without_marked(&merged).as_deref(), Some(text));
        let hosts: toml_edit::DocumentMut = merged.parse().expect("TOML");
        assert!(hosts["host"][mirror().url()]["ca"].is_str(), "{merged}");
        merged
    }

    #[test]
    fn hubcap_comes_before_a_users_hosts_and_their_text_stays() {
        let text = "server = \"https://a\" # mine\n\n# the office's\n[host.\"https://office\"]\n  \
                    capabilities = [\n[\"pull\"][0]]\n";
        // Not TOML for containerd, but for us only the place counts.
        let text = text.replace("[\n[\"pull\"][0]]", "[\n\"pull\"\n]");
        let (before, after) = text.split_once("# the").expect("it is there");
        assert_eq!(merged(&text), format!("{before}{}# the{after}", hosts_toml(&mirror(), PULL)));
        assert_eq!(
            merged("server = \"https://a\"\n"),
            format!("server = \"https://a\"\n{}", hosts_toml(&mirror(), PULL))
        );
        let header = "[host]\n[host.\"https://a\"]\n[host.\"https://a\".header]\nx = \"y\"\n";
        assert!(merged(header).starts_with("[host]\n# Written by hubcap"));
    }

    #[test]
    fn referrers_are_asked_for_where_the_client_knows_the_word() {
        for (knows, capabilities) in
            [(false, r#"["pull", "resolve"]"#), (true, r#"["pull", "resolve", "referrers"]"#)]
        {
            let text = hosts_toml(&mirror(), Capabilities::of(knows));
            assert!(text.contains(&format!("\n  capabilities = {capabilities}\n")), "{text}");
        }
    }

    #[test]
    fn a_user_who_has_written_the_mirror_keeps_it() {
        let text = "[host.\"https://127.0.0.1:5443\"]\nskip_verify = true\n";
        assert_eq!(with_mirror(Path::new(FILE), Some(text), &mirror(), PULL).expect("TOML"), text);
    }

    #[test]
    fn what_cannot_be_merged_is_refused_with_its_line() {
        for (text, said) in [
            ("server = \"a\"\nhost = = 1\n", "line 2: "),
            ("host = {\"https://a\" = {}}\n", "[host.\"...\"] tables"),
            ("host.\"https://a\".skip_verify = true\n", "[host.\"...\"] tables"),
        ] {
            let error =
                with_mirror(Path::new(FILE), Some(text), &mirror(), PULL).expect_err(text).to_string();
            assert!(error.starts_with("hosts.toml is left as it is") && error.contains(said), "{error}");
        }
    }

    #[test]
    fn a_file_of_ours_goes_and_what_others_added_to_it_stays() {
        let ours = hosts_toml(&mirror(), PULL);
        let left = |now: &str| without_ours(&ours, now);
        let theirs = "[host.\"https://b\"]\n";
        assert_eq!(left(&ours), None);
        assert_eq!(left(&format!("{ours}{theirs}")).as_deref(), Some(theirs));
        assert_eq!(left(&(ours.replace("1s", "9s") + theirs)).as_deref(), Some(theirs));
        let more = "  [host.'https://127.0.0.1:5443'.header] # more\n  x = [\n\"y\"]\n";
        assert_eq!(left(&format!("{ours}{more}{theirs}")).as_deref(), Some(theirs));
        assert_eq!(
            left(&format!("{ours}{theirs}").replace('\n', "\r\n")).as_deref(),
            Some("[host.\"https://b\"]\r\n")
        );
        assert_eq!(left("theirs").as_deref(), Some("theirs"));
        assert_eq!(left("").as_deref(), Some(""));
    }

    #[test]
    fn no_table_of_others_goes_with_hubcaps_whatever_both_of_them_say() {
        let ours = hosts_toml(&mirror(), PULL);
        let (header, table) = ours.split_once('\n').expect("lines");
        for host in ["https://office.example", "https://10.0.0.1:5443"] {
            let theirs = ours.replace(HEADER, "# the office's\n").replace("https://127.0.0.1:5443", host);
            let theirs = format!("server = \"https://a\"\n\n{theirs}  # b\n[host.\"https://c\"]\n");
            let merged = with_mirror(Path::new(FILE), Some(&theirs), &mirror(), PULL).expect("TOML");
            for changed in [
                merged.clone(),
                merged.replacen("1s", "3s", 1),
                merged.replacen("  dial_timeout = \"1s\"\n", "", 1),
                merged.replacen(table, "", 1),
                merged.replacen(&format!("{header}\n"), "", 1),
                merged.replacen(&ours, "", 1),
            ] {
                assert_eq!(without_ours(&ours, &changed).as_deref(), Some(theirs.as_str()), "{changed}");
            }
        }
    }

    #[test]
    fn a_named_host_behind_hubcaps_comment_is_not_hubcaps() {
        let theirs = "[host.\"https://office.example\"]\n  dial_timeout = \"1s\"\n";
        assert_eq!(without_marked(&format!("{HEADER}{theirs}")).as_deref(), Some(theirs));
    }
}
