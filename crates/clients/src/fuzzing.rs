//! The parsers of clients' files, for `fuzz/` alone.

use std::path::Path;

use hubcap_oci::Registry;

use crate::authority::Authority;
use crate::encoding::Encoding;
use crate::format::containerd_toml::Lasting;
use crate::format::daemon_json::{self, DaemonJson};
use crate::format::hosts_toml::{self, Capabilities};
use crate::format::registries_conf::Tables;
use crate::format::{buildkitd_toml, containerd_toml, is_ours};
use crate::mirror::Mirror;

/// Puts hubcap into a file of each kind, and takes it out: the file is as before.
pub fn files(bytes: &[u8]) {
    let Some(text) = Encoding::decode(bytes.to_vec()) else { return };
    assert_eq!(Encoding::of(bytes).encode(&text), bytes);
    // Somebody else's file does not have hubcap's own line.
    if is_ours(&text) || text.contains(crate::format::HEADER) {
        return;
    }
    let (path, registries) = (Path::new("file"), [Registry::docker_hub()]);
    let mirror = Mirror::new(([127, 0, 0, 1], 5443).into(), Authority::read("/s/ca.pem".into()));
    if let Ok(Some(json)) =
        DaemonJson::parse(path, Some(&text)).and_then(|json| json.with_first(path, &mirror))
    {
        let after = json.to_string();
        let back = daemon_json::without_ours(path, Some(&text), &after, &after);
        assert_eq!(back.ok().flatten().as_deref(), Some(text.as_str()));
    }
    if let Ok(after) = hosts_toml::with_mirror(path, Some(&text), &mirror, Capabilities::PullAndResolve) {
        let back = hosts_toml::without_marked(&after).unwrap_or_default();
        assert_eq!(back.trim_end(), text.trim_end());
    }
    if let Ok(after) = buildkitd_toml::with_mirror(path, Some(&text), &mirror, &registries) {
        let back = buildkitd_toml::without_ours(path, Some(&text), &after, after.clone());
        assert!(back.is_ok(), "{back:?}");
    }
    if let Ok(after) = containerd_toml::with_import(path, Some(&text), Lasting::UntilReboot) {
        let back = containerd_toml::without_import(path, Some(&text), after);
        assert!(matches!(back, Ok(Some(_))), "{back:?}");
    }
    let mut tables = Tables::default();
    if tables.add(path, Some(&text)).is_ok()
        && let Ok(drop_in) = tables.drop_in(&mirror, &registries)
    {
        assert!(Tables::default().add(path, Some(&drop_in)).is_ok(), "{drop_in}");
    }
}
