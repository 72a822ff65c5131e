//! The stand-in of GitHub's cache service, which is a program of its own.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::runner::nodes;

/// A running one; dropped, it is ended. Its entries are gone with it.
pub(crate) struct CacheService {
    pub(crate) url: String,
    directory: PathBuf,
    child: Child,
}

impl CacheService {
    pub(crate) fn start(directory: &Path) -> Self {
        let [node, _] = nodes();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/job/cache-service.mjs");
        let mut child = Command::new(node)
            .arg(script)
            .arg(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node starts");
        let mut url = String::new();
        BufReader::new(child.stdout.take().expect("its words")).read_line(&mut url).expect("its URL");
        Self { url: url.trim().into(), directory: directory.into(), child }
    }

    /// The calls that came, in order.
    fn log(&self) -> Vec<serde_json::Value> {
        let log = std::fs::read_to_string(self.directory.join("log")).unwrap_or_default();
        log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// The keys under which something was saved, in order.
    pub(crate) fn saved(&self) -> Vec<String> {
        let done =
            |line: &&serde_json::Value| line["method"] == "FinalizeCacheEntryUpload" && line["ok"] == true;
        self.log().iter().filter(done).map(|line| line["key"].as_str().expect("a key").into()).collect()
    }

    /// How many times somebody asked to save.
    pub(crate) fn asked_to_save(&self) -> usize {
        self.log().iter().filter(|line| line["method"] == "CreateCacheEntry").count()
    }
}

impl Drop for CacheService {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
