//! Which of BuildKit's files are written with what.

use std::path::PathBuf;

use hubcap_oci::Registry;

use crate::change::Plan;
use crate::error::Error;
use crate::file_kind::FileKind;
use crate::format::buildkitd_toml;
use crate::journal::Journal;
use crate::mirror::Mirror;

/// The mirror before those that these files have.
pub(super) fn plan(
    configs: Vec<PathBuf>,
    journal: &Journal,
    mirror: &Mirror,
    registries: &[Registry],
) -> Result<Plan, Error> {
    let mut plan = Vec::new();
    for path in configs {
        plan.push(journal.plan(path.clone(), FileKind::BuildkitdToml, |original| {
            buildkitd_toml::with_mirror(&path, original, mirror, registries).map(Some)
        })?);
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::Authority;

    #[test]
    fn what_others_write_after_hubcap_stays_theirs() {
        let mirror =
            Mirror::new("127.0.0.1:5443".parse().expect("an address"), Authority::read("/s/ca.pem".into()));
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("buildkitd.toml");
        for (before, said, after) in [
            (None, "debug = true\n", Some("debug = true\n")),
            (
                Some("[registry.\"docker.io\"]\nmirrors = [\"a\"]\n"),
                "",
                Some("[registry.\"docker.io\"]\nmirrors = [\"a\"]\n"),
            ),
        ] {
            let _ = std::fs::remove_file(&path);
            if let Some(before) = before {
                std::fs::write(&path, before).expect("written");
            }
            let mut journal = Journal::open(dir.path(), "buildkit").expect("a journal");
            let registries = [Registry::docker_hub(), "quay.io".parse().expect("a name")];
            let plan = plan(vec![path.clone()], &journal, &mirror, &registries).expect("planned");
            journal.apply(&plan).expect("made");
            let wired = std::fs::read_to_string(&path).expect("there");
            std::fs::write(&path, format!("{said}{wired}\n")).expect("written");
            let undoing = journal.plan_undo().expect("planned");
            journal.undo(&undoing).expect("undone");
            let left = std::fs::read_to_string(&path).ok();
            assert_eq!(left.as_deref().map(str::trim), after.map(str::trim));
        }
    }
}
