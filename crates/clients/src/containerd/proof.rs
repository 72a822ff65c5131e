//! An image that shows who unpacks for containerd: `ctr`, which comes with containerd, imports it, and removes it again.

use hubcap_oci::{Algorithm, Digest, Platform, media_type};
use serde_json::{Value, json};

use super::unpacker::Unpacker;
use crate::error::Error;
use crate::{piped, sudo};

/// Where nobody else has images.
const NAMESPACE: &str = "hubcap-proof";
/// A name that no registry has (RFC 6761).
const IMAGE: &str = "hubcap.invalid/proof:1";

impl Unpacker {
    /// Has containerd unpack an image of one layer. `mark` is in the layer, so that one that is new is unpacked.
    ///
    /// # Errors
    /// [`Error::Client`] with what `ctr` says.
    pub fn unpack_image(&self, mark: &str) -> Result<(), Error> {
        let image = archive(mark)?;
        // Not by containerd's transfer service, which has a list of differs of its own.
        let imported = self.ctr(&["images", "import", "--local", "-"], Some(&image));
        // What is left of it is little.
        let _ = self.ctr(&["images", "remove", "--sync", IMAGE], None);
        let _ = self.ctr(&["namespaces", "remove", NAMESPACE], None);
        imported
    }

    fn ctr(&self, words: &[&str], stdin: Option<&[u8]>) -> Result<(), Error> {
        let mut command = sudo::command("ctr");
        command.arg("--address").arg(self.socket()).args(["--namespace", NAMESPACE]).args(words);
        let said = match piped::output(&mut command, stdin) {
            Ok(output) if output.status.success() => return Ok(()),
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        Err(Error::Client(format!("ctr {}: {said}", words.join(" "))))
    }
}

/// An OCI layout in an archive, of an image with one layer.
fn archive(mark: &str) -> Result<Vec<u8>, Error> {
    let layer = tar(&[("hubcap-proof".into(), mark.as_bytes().to_vec())])?;
    let Platform { os, architecture, .. } = Platform::host();
    let layer = Blob::new("application/vnd.oci.image.layer.v1.tar", layer);
    let config = json!({"os": os, "architecture": architecture, "config": {},
        "rootfs": {"type": "layers", "diff_ids": [layer.digest.to_string()]}});
    let config = Blob::new("application/vnd.oci.image.config.v1+json", config.to_string());
    let manifest = json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
        "config": config.descriptor(), "layers": [layer.descriptor()]});
    let manifest = Blob::new(media_type::OCI_MANIFEST, manifest.to_string());
    let mut entry = manifest.descriptor();
    entry["annotations"] = json!({"io.containerd.image.name": IMAGE});
    let index = json!({"schemaVersion": 2, "manifests": [entry]});
    let mut files = vec![
        ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
        ("index.json".to_owned(), index.to_string().into_bytes()),
    ];
    files.extend([layer, config, manifest].into_iter().map(|blob| (blob.path(), blob.bytes)));
    tar(&files)
}

fn tar(files: &[(String, Vec<u8>)]) -> Result<Vec<u8>, Error> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, name, bytes.as_slice())?;
    }
    Ok(tar.into_inner()?)
}

struct Blob {
    media_type: &'static str,
    digest: Digest,
    bytes: Vec<u8>,
}

impl Blob {
    fn new(media_type: &'static str, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self { media_type, digest: Digest::of(Algorithm::Sha256, &bytes), bytes }
    }

    fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest.to_string(), "size": self.bytes.len()})
    }

    fn path(&self) -> String {
        format!("blobs/{}", self.digest.to_string().replace(':', "/"))
    }
}
