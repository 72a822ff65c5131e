//! The built binary, started on free ports with directories of its own.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use reqwest::{Client, Method, Response};
use tempfile::{NamedTempFile, TempDir};

/// A command with nothing of the tester's environment in it.
pub(crate) fn command(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hubcap"));
    command.env_clear().env("HOME", home).env("PATH", std::env::var_os("PATH").unwrap_or_default());
    // Daemons write there that they run: each test finds its own alone.
    let runtime = home.join("runtime");
    let _ = std::fs::create_dir(&runtime);
    command.env("XDG_RUNTIME_DIR", runtime);
    command
}

/// Runs to its end.
pub(crate) fn run(home: &Path, arguments: &[&str]) -> Output {
    command(home).args(arguments).stdin(Stdio::null()).output().expect("hubcap starts")
}

/// Where a daemon lives; it outlives the daemon, so that another can be started on it.
pub(crate) struct Place {
    pub(crate) dir: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory") }
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Starts a daemon here; `more` are further arguments.
    pub(crate) fn start(&self, origin: &str, more: &[&str]) -> Hubcap {
        Hubcap::spawn(self.serve(origin, more))
    }

    /// The same, before it starts.
    pub(crate) fn serve(&self, origin: &str, more: &[&str]) -> Command {
        let mut command = command(self.dir.path());
        command.arg("serve").args(["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]);
        command.arg("--store").arg(self.store()).arg("--state").arg(self.state());
        command.args(["--upstream", &format!("docker.io={origin}")]).args(more);
        command
    }

    /// The committed contents, by path below `blobs/`.
    pub(crate) fn blobs(&self) -> Vec<String> {
        let mut found = Vec::new();
        for algorithm in ["sha256", "sha384", "sha512"] {
            for entry in
                std::fs::read_dir(self.store().join("blobs").join(algorithm)).into_iter().flatten().flatten()
            {
                found.push(format!("{algorithm}:{}", entry.file_name().to_string_lossy()));
            }
        }
        found.sort();
        found
    }

    /// Bytes of all files of the store.
    pub(crate) fn bytes(&self) -> u64 {
        bytes_below(&self.store())
    }

    /// Bytes of all files of the store that are not its contents.
    pub(crate) fn bytes_beside_contents(&self) -> u64 {
        self.bytes() - bytes_below(&self.store().join("blobs"))
    }

    /// Contents that are being written.
    pub(crate) fn ingests(&self) -> usize {
        std::fs::read_dir(self.store().join("ingest")).map_or(0, Iterator::count)
    }
}

/// Bytes of all files below a directory. What goes meanwhile has none.
fn bytes_below(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        metadata => metadata.map_or(0, |metadata| metadata.len()),
    };
    entries.map(size).sum()
}

/// A running daemon; dropped, it is killed.
pub(crate) struct Hubcap {
    child: Child,
    pub(crate) https: String,
    pub(crate) http: String,
    /// Where its HTTP proxy is, if it has one.
    pub(crate) proxy: Option<String>,
    /// A file, not a pipe: what it wrote before it answered is there to be read.
    log: NamedTempFile,
    client: Client,
}

impl Hubcap {
    /// Starts it, and reads from its own words where it listens.
    pub(crate) fn spawn(command: Command) -> Self {
        Self::spawn_with(command, Stdio::null())
    }

    /// The same with something to read.
    pub(crate) fn spawn_with(mut command: Command, stdin: Stdio) -> Self {
        let log = NamedTempFile::new().expect("a log");
        command.stdin(stdin).stdout(Stdio::piped()).stderr(log.reopen().expect("a log"));
        let mut child = command.spawn().expect("hubcap starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its words"));
        let (mut https, mut http, mut proxy) = (None, None, None);
        let mut store = false;
        while https.is_none() || http.is_none() || !store {
            let mut line = String::new();
            let read = lines.read_line(&mut line).expect("a line");
            assert!(read > 0, "hubcap ended: {}", text_of(&log));
            let told = line.trim().strip_prefix("listening on ");
            https = https.or_else(|| told.filter(|url| url.starts_with("https:")).map(Into::into));
            http = http.or_else(|| told.filter(|url| url.starts_with("http:")).map(Into::into));
            proxy = proxy.or_else(|| line.trim().strip_prefix("proxy on ").map(Into::into));
            // Told after all addresses.
            store = line.starts_with("store ");
        }
        std::thread::spawn(move || lines.read_to_string(&mut String::new()));
        let client = Client::builder().no_proxy().build().expect("a client");
        Self { child, https: https.expect("https"), http: http.expect("http"), proxy, log, client }
    }

    pub(crate) async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Response {
        let mut request = self.client.request(method, format!("{}{path}", self.http));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.expect("an answer")
    }

    /// A client that knows of nothing but the proxy, and of the local CA.
    pub(crate) fn through_proxy(&self, place: &Place) -> Client {
        let pem = std::fs::read(place.state().join("ca.pem")).expect("the certificate");
        let trusted = reqwest::Certificate::from_pem(&pem).expect("a certificate");
        let proxy = reqwest::Proxy::https(self.proxy.as_deref().expect("a proxy")).expect("a proxy's URL");
        Client::builder().proxy(proxy).tls_certs_only([trusted]).build().expect("a client")
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.ask(Method::GET, path, &[]).await
    }

    /// With this value of Authorization, if there is one.
    pub(crate) async fn get_as(&self, path: &str, authorization: Option<&str>) -> Response {
        let headers: Vec<_> = authorization.iter().map(|value| ("authorization", *value)).collect();
        self.ask(Method::GET, path, &headers).await
    }

    pub(crate) async fn head(&self, path: &str) -> Response {
        self.ask(Method::HEAD, path, &[]).await
    }

    pub(crate) fn log(&self) -> String {
        text_of(&self.log)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("a running process");
    }

    /// Its end, and its exit code.
    pub(crate) fn wait(mut self) -> Option<i32> {
        self.child.wait().expect("an end").code()
    }

    /// What it has in memory now.
    pub(crate) fn memory_kib(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// What it had in memory at most.
    pub(crate) fn peak_memory_kib(&self) -> u64 {
        self.status("VmHWM:")
    }

    pub(crate) fn threads(&self) -> u64 {
        self.status("Threads:")
    }

    /// A number that the kernel tells of the process.
    fn status(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a number");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    pub(crate) fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("it runs").count()
    }

    /// SIGTERM, and its exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        self.signal(rustix::process::Signal::TERM);
        self.child.wait().expect("an end").code()
    }
}

fn text_of(log: &NamedTempFile) -> String {
    String::from_utf8_lossy(&std::fs::read(log.path()).expect("a log")).into_owned()
}

impl Drop for Hubcap {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The `Cache-Status` of an answer.
pub(crate) fn status(response: &Response) -> String {
    header(response, "cache-status")
}

pub(crate) fn header(response: &Response, name: &str) -> String {
    response.headers().get(name).map(|value| value.to_str().expect("text").to_owned()).unwrap_or_default()
}

/// A blob's path.
pub(crate) fn blob(repository: &str, digest: &str) -> String {
    format!("/v2/{repository}/blobs/{digest}")
}

/// A manifest's path.
pub(crate) fn manifest(repository: &str, reference: &str) -> String {
    format!("/v2/{repository}/manifests/{reference}")
}
