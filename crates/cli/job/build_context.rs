//! What `docker build` takes into an image: a store in the workspace, where no `.dockerignore` names it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use hubcap_clients::read_text;
use wildmatch::WildMatch;

/// How deep Dockerfiles are looked for below the workspace, in directories.
const DEPTH: usize = 2;
/// How many entries of directories are looked at: a workspace may be large.
const MAX_ENTRIES: usize = 5000;

/// A warning when the store is in the workspace of a job, and a Dockerfile there is built with it. `None` where the store is
/// elsewhere, or all Dockerfiles that were found are built without it.
pub(crate) fn has_store(store: &Path, variable: impl Fn(&'static str) -> Option<OsString>) -> Option<String> {
    let workspace = PathBuf::from(variable("GITHUB_WORKSPACE").filter(|path| !path.is_empty())?);
    variable("GITHUB_REPOSITORY")?;
    let inside = store.strip_prefix(&workspace).ok()?;
    let found =
        dockerfiles(&workspace).into_iter().find(|dockerfile| !leaves_out(&workspace, dockerfile, inside))?;
    let (dockerfile, store) = (found.strip_prefix(&workspace).unwrap_or(&found).display(), inside.display());
    Some(format!(
        "{dockerfile} is in the workspace, the store {store} too, and no .dockerignore names it: `docker build .` sends the store to \
         dockerd, and `COPY .` copies it into the image. Add the line {store} to .dockerignore, or put the store elsewhere: the action's \
         input `store: ${{{{ runner.temp }}}}/hubcap`, or --store"
    ))
}

/// Whether a build with this Dockerfile leaves the store out. Its context is taken to be the workspace; a directory that has
/// its own `.dockerignore` beside the Dockerfile is a context without the store.
fn leaves_out(workspace: &Path, dockerfile: &Path, store: &Path) -> bool {
    let read = |path: &Path| read_text(path).ok();
    // BuildKit prefers it to the context's.
    let mut own = dockerfile.as_os_str().to_owned();
    own.push(".dockerignore");
    if let Some(text) = read(Path::new(&own)) {
        return ignores(&text, store);
    }
    let is_nested = dockerfile.parent().is_some_and(|dir| dir != workspace);
    read(&workspace.join(".dockerignore")).is_some_and(|text| ignores(&text, store))
        || is_nested && dockerfile.with_file_name(".dockerignore").exists()
}

/// Whether a `.dockerignore` leaves a path out: the last line that matches it, or a directory above it, decides.
fn ignores(text: &str, path: &Path) -> bool {
    let mut ignored = false;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (pattern, is_ignored) = line.strip_prefix('!').map_or((line, true), |rest| (rest.trim(), false));
        let pattern = pattern.trim_start_matches("./").trim_start_matches('/').trim_end_matches('/');
        // All that is in a directory is as much as the directory, and `**/` is also no directory at all.
        let pattern = pattern.trim_end_matches("/**").trim_end_matches("/*").trim_start_matches("**/");
        let matcher = WildMatch::new(pattern);
        if path
            .ancestors()
            .any(|part| part.to_str().is_some_and(|part| !part.is_empty() && matcher.matches(part)))
        {
            ignored = is_ignored;
        }
    }
    ignored
}

/// The Dockerfiles in the workspace, those higher up first. Hidden directories are not looked into.
fn dockerfiles(workspace: &Path) -> Vec<PathBuf> {
    let (mut found, mut level, mut left) = (Vec::new(), vec![workspace.to_owned()], MAX_ENTRIES);
    for _ in 0..=DEPTH {
        let mut next = Vec::new();
        for entry in level.iter().filter_map(|dir| std::fs::read_dir(dir).ok()).flatten().flatten() {
            left = left.saturating_sub(1);
            if left == 0 {
                return found;
            }
            let (name, kind) = (entry.file_name().to_string_lossy().into_owned(), entry.file_type());
            match kind {
                Ok(kind) if kind.is_dir() && !name.starts_with('.') && name != "node_modules" => {
                    next.push(entry.path())
                }
                Ok(kind) if !kind.is_dir() && is_dockerfile(&name) => found.push(entry.path()),
                _ => {}
            }
        }
        level = next;
    }
    found
}

fn is_dockerfile(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    !name.ends_with(".dockerignore")
        && ["dockerfile", "containerfile"].into_iter().any(|kind| {
            name == kind || name.starts_with(&format!("{kind}.")) || name.ends_with(&format!(".{kind}"))
        })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    /// Whether `up` warns of a store `.hubcap` in a workspace with these files.
    fn warns(files: &[(&str, &str)]) -> bool {
        let workspace = tempfile::tempdir().expect("a directory");
        for (path, text) in files {
            let path = workspace.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            std::fs::write(path, text).expect("written");
        }
        let github = |name| match name {
            "GITHUB_WORKSPACE" => Some(workspace.path().as_os_str().to_owned()),
            _ => Some("me/it".into()),
        };
        let elsewhere = has_store(Path::new("/elsewhere/.hubcap"), github);
        assert_eq!(elsewhere, None, "{files:?}");
        let why = has_store(&workspace.path().join(".hubcap"), github);
        assert!(why.iter().all(|why| why.contains("Add the line .hubcap to .dockerignore")), "{why:?}");
        why.is_some()
    }

    #[test]
    fn a_dockerfile_without_a_dockerignore_that_names_the_store_is_warned_of() {
        assert!(!warns(&[("README.md", "")]));
        assert!(warns(&[("Dockerfile", "")]));
        assert!(warns(&[("docker/app.Dockerfile", "")]));
        assert!(warns(&[("deploy/docker/Dockerfile.arm", "")]));
        assert!(!warns(&[("far/too/deep/Dockerfile", "")]));
        assert!(warns(&[("Dockerfile", ""), (".dockerignore", "target\n# .hubcap\n")]));
        assert!(warns(&[("Dockerfile", ""), (".dockerignore", "*\n!.hubcap\n")]));
    }

    #[test]
    fn a_dockerignore_that_is_a_link_to_a_device_or_a_pipe_is_none_and_has_an_end() {
        let workspace = tempfile::tempdir().expect("a directory");
        let at = |name: &str| workspace.path().join(name);
        std::fs::write(at("Dockerfile"), "").expect("written");
        symlink("/dev/zero", at(".dockerignore")).expect("linked");
        mknodat(CWD, at("Dockerfile.dockerignore"), FileType::Fifo, Mode::RUSR, 0).expect("a pipe");
        assert!(!leaves_out(workspace.path(), &at("Dockerfile"), Path::new(".hubcap")));
    }

    #[test]
    fn a_dockerignore_that_leaves_the_store_out_is_enough() {
        for line in [".hubcap", "/.hubcap/", "**/.hubcap", ".hubcap/**", ".*", "*\n!src", "*"] {
            assert!(!warns(&[("Dockerfile", ""), (".dockerignore", line)]), "{line}");
        }
        let own =
            [("app/Dockerfile", ""), ("app/Dockerfile.dockerignore", ".hubcap"), (".dockerignore", "x")];
        assert!(!warns(&own));
    }

    #[test]
    fn a_nested_dockerfile_with_a_dockerignore_of_its_directory_is_no_reason() {
        assert!(!warns(&[("app/Dockerfile", ""), ("app/.dockerignore", "target")]));
    }
}
