//! Azurite, which is Azure's own stand-in of its blob store: real block lists, ranges and signatures.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hubcap_oci::{Algorithm, Digest};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use url::form_urlencoded;

use crate::support::programs::Running;
use crate::support::runner::{nodes, tool};

/// The account that every Azurite has, and its key (learn.microsoft.com/azure/storage/common/storage-use-azurite).
const NAME: &str = "devstoreaccount1";
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const CONTAINER: &str = "cache";
const VERSION: &str = "2019-12-12";
/// The length of a block of SHA-256, in bytes.
const BLOCK: usize = 64;

/// A running one, with nothing on the disk; dropped, it is ended.
pub(crate) struct Azurite {
    account: Account,
    _process: Running,
}

/// Its account, which can sign.
#[derive(Clone)]
pub(super) struct Account {
    url: String,
}

impl Azurite {
    pub(crate) async fn start() -> Self {
        let [node, _] = nodes();
        let mut child = Command::new(node)
            .arg(tool("node_modules/azurite/dist/src/blob/main.js"))
            .args([
                "--blobHost",
                "127.0.0.1",
                "--blobPort",
                "0",
                "--inMemoryPersistence",
                "--disableTelemetry",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its words")).lines();
        let process = Running(child);
        let url = lines.find_map(|line| {
            line.expect("a line").split_once("successfully listens on ").map(|(_, url)| url.to_owned())
        });
        // It ends when nobody reads what it says of each request.
        std::thread::spawn(move || lines.for_each(drop));
        let account = Account { url: format!("{}/{NAME}", url.expect("its URL").trim()) };
        account.create_container().await;
        Self { account, _process: process }
    }

    pub(super) fn account(&self) -> Account {
        self.account.clone()
    }
}

impl Account {
    /// A URL of a blob with a service SAS (learn.microsoft.com/rest/api/storageservices/create-service-sas).
    pub(super) fn sign(&self, blob: &str, is_for_writing: bool, life: Duration) -> String {
        let (right, until) = (if is_for_writing { "cw" } else { "r" }, after(life));
        let resource = format!("/blob/{NAME}/{CONTAINER}/{blob}");
        let unused = "\n".repeat(5);
        let signed = format!("{right}\n\n{until}\n{resource}\n\n\n\n{VERSION}\nb\n{unused}");
        let query =
            [("sv", VERSION), ("sr", "b"), ("sp", right), ("se", &until), ("sig", &signature(&signed))];
        format!("{}/{CONTAINER}/{blob}?{}", self.url, encoded(&query))
    }

    /// The size of a blob, if it is there.
    pub(super) async fn size(&self, blob: &str) -> Option<u64> {
        let url = self.sign(blob, false, Duration::from_secs(60));
        let answer = reqwest::Client::new().head(url).send().await.expect("an answer");
        let length = answer.headers().get("content-length").filter(|_| answer.status().is_success());
        length?.to_str().ok()?.parse().ok()
    }

    /// By an account SAS.
    async fn create_container(&self) {
        let until = after(Duration::from_secs(60));
        let signed = format!("{NAME}\nc\nb\nc\n\n{until}\n\n\n{VERSION}\n");
        let query = [
            ("restype", "container"),
            ("sv", VERSION),
            ("ss", "b"),
            ("srt", "c"),
            ("sp", "c"),
            ("se", &until),
            ("sig", &signature(&signed)),
        ];
        let url = format!("{}/{CONTAINER}?{}", self.url, encoded(&query));
        let answer = reqwest::Client::new().put(url).send().await.expect("an answer");
        assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap_or_default());
    }
}

/// A time as signatures have it, without parts of a second.
fn after(life: Duration) -> String {
    let until = OffsetDateTime::from(SystemTime::now() + life).replace_nanosecond(0).expect("a time");
    until.format(&Rfc3339).expect("a time")
}

fn encoded(query: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish()
}

/// HMAC-SHA256 (RFC 2104) by the account's key.
fn signature(text: &str) -> String {
    let key = STANDARD.decode(KEY).expect("a key");
    assert_eq!(key.len(), BLOCK);
    let pad = |byte: u8| -> Vec<u8> { key.iter().map(|one| one ^ byte).collect() };
    let (inner, outer) = (pad(0x36), pad(0x5c));
    let hash = |bytes: &[u8]| Digest::of(Algorithm::Sha256, bytes).hash().to_vec();
    let inner = hash(&[&inner, text.as_bytes()].concat());
    STANDARD.encode(hash(&[outer, inner].concat()))
}
