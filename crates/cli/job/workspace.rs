//! The workspace of a GitHub job, which actions/checkout empties.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// A warning when the store is in the workspace of a job that has not checked out its repository yet: actions/checkout
/// would remove the store. `None` where the store is safe.
pub(crate) fn not_checked_out(
    store: &Path,
    variable: impl Fn(&'static str) -> Option<OsString>,
) -> Option<String> {
    let workspace = PathBuf::from(variable("GITHUB_WORKSPACE")?);
    variable("GITHUB_REPOSITORY")?;
    // A checkout with `path:` is one level deeper, and empties nothing but that.
    let below = fs_err::read_dir(&workspace).into_iter().flatten().flatten().map(|entry| entry.path());
    let checked_out = std::iter::once(workspace.clone()).chain(below).any(|dir| dir.join(".git").exists());
    (is_in(store, &workspace) && !checked_out).then(|| {
        format!(
            "the store {} is in the workspace, and nothing is checked out yet: actions/checkout will remove the store. \
             Start hubcap after actions/checkout, or give it a --store elsewhere, as $RUNNER_TEMP/hubcap",
            store.display()
        )
    })
}

/// Whether a path is inside of a job's workspace, by whatever links each is named.
pub(crate) fn is_in(path: &Path, workspace: &Path) -> bool {
    resolved(path).starts_with(resolved(workspace))
}

/// Without links, as far as it exists.
fn resolved(path: &Path) -> PathBuf {
    let resolved = path.ancestors().find_map(|above| {
        let rest = path.strip_prefix(above).ok()?;
        Some(above.canonicalize().ok()?.join(rest))
    });
    resolved.unwrap_or_else(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_in_a_workspace_by_whatever_links_each_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let (work, link) = (directory.path().join("work"), directory.path().join("link"));
        std::fs::create_dir(&work).expect("a directory");
        std::os::unix::fs::symlink(&work, &link).expect("a link");
        for (path, workspace) in [(&work, &link), (&link, &work), (&work, &work)] {
            assert!(is_in(&path.join(".hubcap"), workspace), "{} {}", path.display(), workspace.display());
        }
        assert!(!is_in(&directory.path().join("worker/.hubcap"), &link));
    }

    #[test]
    fn only_a_store_in_a_workspace_without_a_checkout_is_warned_of() {
        let workspace = std::env::temp_dir().join(format!("hubcap-workspace-{}", std::process::id()));
        std::fs::create_dir_all(workspace.join("sub")).expect("a directory");
        let store = workspace.join(".hubcap");
        let github = |name| match name {
            "GITHUB_WORKSPACE" => Some(workspace.clone().into_os_string()),
            _ => Some("me/it".into()),
        };
        assert!(not_checked_out(&store, github).is_some_and(|why| why.contains("after actions/checkout")));
        assert_eq!(not_checked_out(Path::new("/elsewhere"), github), None);
        assert_eq!(not_checked_out(&store, |_| None), None);
        for at in ["sub/.git", ".git"] {
            std::fs::create_dir(workspace.join(at)).expect("a directory");
            assert_eq!(not_checked_out(&store, github), None, "{at}");
            std::fs::remove_dir(workspace.join(at)).expect("removed");
        }
        std::fs::remove_dir_all(&workspace).expect("removed");
    }
}
