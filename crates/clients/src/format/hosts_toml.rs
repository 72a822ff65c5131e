//! `hosts.toml`: how containerd, and dockerd 28 and later, are told of a registry's mirrors. It is read at each pull.
//!
//! containerd asks the hosts in the order of their tables, so hubcap's table is put before the first one of the user's.
//! That is done in the text, and toml_edit only says where the first table begins. A toml_edit document writes its tables
//! by their numbered positions, so a table in front renumbers all others. And hubcap's block is found again by its first
//! line, whatever someone else has made of the rest of the file, even what is no TOML any more.

use std::net::SocketAddr;
use std::path::Path;

use toml_edit::{Document, Item};

use super::header::HEADER;
use super::toml::{not_understood, quoted};
use crate::error::Error;
use crate::mirror::Mirror;

/// The last line of hubcap's block.
const LAST: &str = "  dial_timeout = \"1s\"\n";

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
    let (url, ca) = (mirror.url(), mirror.ca.display().to_string());
    let capabilities = match capabilities {
        Capabilities::PullAndResolve => r#""pull", "resolve""#,
        Capabilities::AndReferrers => r#""pull", "resolve", "referrers""#,
    };
    format!("{HEADER}[host.\"{url}\"]\n  capabilities = [{capabilities}]\n  ca = {}\n{LAST}", quoted(&ca))
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

/// The file without hubcap's block, of which `written` is the text that hubcap wrote, where that is known. `None` when nothing else
/// is in it.
///
/// The block is the comment and the table behind it, if that is hubcap's: somebody may have taken it out. What is behind the
/// table is theirs, whatever lines it has.
pub(crate) fn without_ours(now: String, written: Option<&str>) -> Option<String> {
    let Some(start) = now.find(HEADER) else { return Some(now) };
    let table = start + HEADER.len();
    let is_ours = header_in(&now[table..]).is_some_and(|found| match written {
        Some(written) => {
            written.find(HEADER).and_then(|at| header_in(&written[at + HEADER.len()..])) == Some(found)
        }
        None => is_address(found),
    });
    let end = if is_ours { end_of_block(&now, table) } else { table };
    let rest = format!("{}{}", &now[..start], &now[end..]);
    (!rest.trim().is_empty()).then_some(rest)
}

/// The host whose table a text begins with.
fn header_in(text: &str) -> Option<&str> {
    text.lines().next()?.strip_prefix("[host.\"")?.strip_suffix("\"]")
}

/// Whether a host is written as hubcap writes its own: people name theirs.
fn is_address(host: &str) -> bool {
    host.strip_prefix("https://").is_some_and(|address| address.parse::<SocketAddr>().is_ok())
}

/// Where hubcap's table ends that begins here: with its last line, else where the next table's comments begin.
fn end_of_block(text: &str, table: usize) -> usize {
    let next = text[table..].find("\n[").map_or(text.len(), |at| table + at + 1);
    match text[table..next].rfind(LAST) {
        Some(at) => table + at + LAST.len(),
        None if next == text.len() => next,
        None => above_comments(text, next),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "hosts.toml";
    const PULL: Capabilities = Capabilities::PullAndResolve;

    fn mirror() -> Mirror {
        Mirror::new("127.0.0.1:5443".parse().expect("an address"), "/s/ca.pem".into())
    }

    fn merged(text: &str) -> String {
        let merged = with_mirror(Path::new(FILE), Some(text), &mirror(), PULL).expect(text);
        for written in [Some(merged.as_str()), None] {
            assert_eq!(without_ours(merged.clone(), written).as_deref(), Some(text));
        }
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
        assert_eq!(without_ours(ours.clone(), Some(&ours)), None);
        let added = format!("{ours}[host.\"https://b\"]\n");
        assert_eq!(without_ours(added, Some(&ours)).as_deref(), Some("[host.\"https://b\"]\n"));
        let changed = ours.replace("1s", "9s") + "[host.\"https://b\"]\n";
        assert_eq!(without_ours(changed, Some(&ours)).as_deref(), Some("[host.\"https://b\"]\n"));
        assert_eq!(without_ours("theirs".into(), Some(&ours)).as_deref(), Some("theirs"));
    }

    #[test]
    fn what_others_have_stays_whatever_they_make_of_hubcaps_block_and_whatever_lines_theirs_has() {
        let theirs = format!(
            "# the office's\n[host.\"https://office\"]\n  ca = \"/o.pem\"\n{LAST}\n[host.\"https://b\"]\n"
        );
        let ours = hosts_toml(&mirror(), PULL);
        let written = with_mirror(Path::new(FILE), Some(&theirs), &mirror(), PULL).expect("TOML");
        assert_eq!(written, format!("{ours}{theirs}"));
        for made_of_it in [ours.replace("1s", "3s"), ours.replace(LAST, ""), HEADER.to_owned()] {
            for known in [Some(written.as_str()), None] {
                let now = format!("{made_of_it}{theirs}");
                assert_eq!(without_ours(now.clone(), known).as_deref(), Some(&*theirs), "{now}");
            }
        }
    }
}
