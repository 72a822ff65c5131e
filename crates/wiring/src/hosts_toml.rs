//! `hosts.toml`: how containerd, and dockerd 28 and later, are told of a registry's mirrors. It is read at each pull.

use hubcap_oci::Registry;

use crate::Mirror;

/// The first line of our part of a file.
const BEGIN: &str = "# Written by hubcap, which removes it again: hubcap unset\n";
/// Its last line. Known to containerd 2.1 and later; others pass over it.
const END: &str = "  dial_timeout = \"1s\"\n";

/// A registry's file, with the mirror before everything that is in it already: hosts are asked in their order. There is
/// no `server` line of ours, so that the registry itself is asked where no mirror helps.
pub fn with_mirror(original: Option<&str>, mirror: &Mirror) -> String {
    let (url, ca) = (mirror.url(), quoted(&mirror.ca.display().to_string()));
    let ours =
        format!("{BEGIN}[host.\"{url}\"]\n  capabilities = [\"pull\", \"resolve\"]\n  ca = {ca}\n{END}");
    let theirs = original.unwrap_or_default();
    // Keys before the first table belong to the whole file.
    let mut at = 0;
    for line in theirs.split_inclusive('\n') {
        if line.trim_start().starts_with('[') {
            return format!("{}{ours}{}", &theirs[..at], &theirs[at..]);
        }
        at += line.len();
    }
    let newline = if theirs.is_empty() || theirs.ends_with('\n') { "" } else { "\n" };
    format!("{theirs}{newline}{ours}")
}

/// A file without our part, after somebody else has written to it; `None` when nothing else is in it.
pub(crate) fn without_mirror(now: &str) -> Option<String> {
    let mut left = now.to_owned();
    while let Some(begin) = left.find(BEGIN) {
        let Some(length) = left[begin..].find(END) else { break };
        left.replace_range(begin..begin + length + END.len(), "");
    }
    (!left.trim().is_empty()).then_some(left)
}

/// The directory of a registry in `certs.d`.
pub fn directory(registry: &Registry) -> String {
    registry.to_string()
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    // JSON's escapes are TOML's, for everything that a path can have.
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_comes_before_the_hosts_of_others_and_goes_without_them() {
        let mirror = Mirror::new("0.0.0.0:5443".parse().expect("an address"), "/state/ca.pem".into());
        let alone = with_mirror(None, &mirror);
        assert!(alone.starts_with(BEGIN) && alone.contains("[host.\"https://127.0.0.1:5443\"]\n"), "{alone}");
        assert_eq!(without_mirror(&alone), None);
        let theirs =
            "server = \"https://docker.io\"\n\n[host.\"https://corp\"]\n  capabilities = [\"pull\"]\n";
        let both = with_mirror(Some(theirs), &mirror);
        assert!(both.starts_with("server") && both.find("127.0.0.1") < both.find("corp"), "{both}");
        assert_eq!(without_mirror(&both).as_deref(), Some(theirs));
        assert!(with_mirror(Some("server = \"x\""), &mirror).starts_with("server = \"x\"\n# Written"));
    }
}
