//! What the fuzz targets share: tar archives whose headers and digests are right, so that what is in them is reached.

use hubcap_oci::{Algorithm, Digest};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use tar::{Builder, EntryType, Header};

/// An archive: an image that is nearly right, any members, or just bytes.
#[derive(Debug, Arbitrary)]
pub enum Archive<'a> {
    Saved(Image<'a>),
    Layout(Image<'a>),
    Members(Vec<Member<'a>>),
    Bytes(&'a [u8]),
}

/// An image, and what is changed in its documents.
#[derive(Debug, Arbitrary)]
pub struct Image<'a> {
    layers: Vec<&'a [u8]>,
    tag: Option<&'a str>,
    config: Patch<'a>,
    manifest: Patch<'a>,
    index: Patch<'a>,
    more: Vec<Member<'a>>,
}

/// Replaces some bytes of a document by others.
#[derive(Debug, Arbitrary)]
struct Patch<'a>(Option<(u16, u8, &'a [u8])>);

/// A file of an archive.
#[derive(Debug, Arbitrary)]
pub struct Member<'a> {
    name: Name<'a>,
    kind: Option<u8>,
    mode: u16,
    link: &'a str,
    /// What its header says of its length, if that is not right.
    length: Option<u64>,
    content: &'a [u8],
}

#[derive(Debug, Arbitrary)]
enum Name<'a> {
    /// That of a blob with this content.
    Blob,
    Manifest,
    Index,
    Layout,
    Other(&'a str),
}

impl Archive<'_> {
    pub fn bytes(&self) -> Vec<u8> {
        let mut tar = Tar(Builder::new(Vec::new()));
        match self {
            Self::Saved(image) => image.save(&mut tar),
            Self::Layout(image) => image.lay_out(&mut tar),
            Self::Members(members) => members.iter().for_each(|member| tar.add(member)),
            Self::Bytes(bytes) => return bytes.to_vec(),
        }
        tar.0.into_inner().unwrap_or_default()
    }
}

impl Image<'_> {
    /// As `docker save` writes it.
    fn save(&self, tar: &mut Tar) {
        let names: Vec<String> = (0..self.layers.len()).map(|n| format!("\"{n}/layer.tar\"")).collect();
        tar.put("config.json", &self.config());
        for (n, layer) in self.layers.iter().enumerate() {
            tar.put(&format!("{n}/layer.tar"), layer);
        }
        let (tag, names) = (self.tag.unwrap_or("fuzz.example/a:1"), names.join(","));
        let saved = format!("[{{\"Config\":\"config.json\",\"RepoTags\":[\"{tag}\"],\"Layers\":[{names}]}}]");
        tar.put("manifest.json", &self.manifest.apply(&saved));
        self.more.iter().for_each(|member| tar.add(member));
    }

    /// As an OCI layout, or a store.
    fn lay_out(&self, tar: &mut Tar) {
        let config = self.config();
        let layers: Vec<String> =
            self.layers.iter().map(|layer| descriptor("layer.v1.tar", layer, "")).collect();
        let (described, layers) = (descriptor("config.v1+json", &config, ""), layers.join(","));
        let manifest = format!("{{\"schemaVersion\":2,\"config\":{described},\"layers\":[{layers}]}}");
        let manifest = self.manifest.apply(&manifest);
        for content in self.layers.iter().copied().chain([&*config, &*manifest]) {
            tar.put(&blob(content), content);
        }
        let tag = self.tag.unwrap_or("fuzz.example/a:1");
        let name = format!(",\"annotations\":{{\"io.containerd.image.name\":\"{tag}\"}}");
        let entry = descriptor("manifest.v1+json", &manifest, &name);
        tar.put("oci-layout", b"{\"imageLayoutVersion\":\"1.0.0\"}");
        let index = format!("{{\"schemaVersion\":2,\"manifests\":[{entry}]}}");
        tar.put("index.json", &self.index.apply(&index));
        self.more.iter().for_each(|member| tar.add(member));
    }

    fn config(&self) -> Vec<u8> {
        let diffs: Vec<String> = self.layers.iter().map(|layer| format!("\"{}\"", digest(layer))).collect();
        let config = format!(
            "{{\"os\":\"linux\",\"architecture\":\"amd64\",\"rootfs\":{{\"diff_ids\":[{}]}}}}",
            diffs.join(",")
        );
        self.config.apply(&config)
    }
}

impl Patch<'_> {
    fn apply(&self, text: &str) -> Vec<u8> {
        let mut bytes = text.as_bytes().to_vec();
        if let Some((at, length, new)) = self.0 {
            let start = usize::from(at).min(bytes.len());
            let end = (start + usize::from(length)).min(bytes.len());
            bytes.splice(start..end, new.iter().copied());
        }
        bytes
    }
}

struct Tar(Builder<Vec<u8>>);

impl Tar {
    fn put(&mut self, name: &str, content: &[u8]) {
        let mut header = Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        let _ = self.0.append_data(&mut header, name, content);
    }

    /// Whatever its header says, its checksum is right.
    fn add(&mut self, member: &Member) {
        let mut header = Header::new_gnu();
        let name = member.name.text(member.content);
        let fit = |bytes: &[u8], field: &mut [u8]| {
            let length = bytes.len().min(field.len());
            field[..length].copy_from_slice(&bytes[..length]);
        };
        fit(name.as_bytes(), &mut header.as_old_mut().name);
        fit(member.link.as_bytes(), &mut header.as_old_mut().linkname);
        header.set_entry_type(member.kind.map_or(EntryType::Regular, EntryType::new));
        header.set_mode(member.mode.into());
        header.set_size(member.length.unwrap_or(member.content.len() as u64));
        header.set_cksum();
        let _ = self.0.append(&header, member.content);
    }
}

fn descriptor(kind: &str, content: &[u8], more: &str) -> String {
    let (digest, size) = (digest(content), content.len());
    format!(
        "{{\"mediaType\":\"application/vnd.oci.image.{kind}\",\"digest\":\"{digest}\",\"size\":{size}{more}}}"
    )
}

fn digest(content: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, content)
}

fn blob(content: &[u8]) -> String {
    format!("blobs/sha256/{}", digest(content).hex())
}

impl Name<'_> {
    fn text(&self, content: &[u8]) -> String {
        match self {
            Self::Blob => blob(content),
            Self::Manifest => "manifest.json".to_owned(),
            Self::Index => "index.json".to_owned(),
            Self::Layout => "oci-layout".to_owned(),
            Self::Other(text) => (*text).to_owned(),
        }
    }
}
