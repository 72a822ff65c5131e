//! `hubcap ls`: what is in the store, read from its layout alone, so it works beside a running daemon.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use hubcap_oci::{Descriptor, Reference};
use hubcap_store::{Layout, StoredImage};
use serde::Serialize;

use crate::show::progress::bytes;
use crate::show::strangers::json_text;

#[derive(Serialize)]
struct Row {
    image: String,
    #[serde(flatten)]
    descriptor: Descriptor,
    platforms: Vec<String>,
    bytes: u64,
    complete: bool,
}

pub(crate) fn run(store: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let rows: Vec<Row> = Layout::at(store).images()?.into_iter().map(row).collect();
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", json_text(&rows)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    if rows.is_empty() {
        writeln!(out, "no images in {}", store.display())?;
        return Ok(ExitCode::SUCCESS);
    }
    let width = rows.iter().map(|row| row.image.len()).max().unwrap_or(0).max(5);
    writeln!(out, "{:width$}  {:19}  {:>10}  PLATFORMS", "IMAGE", "DIGEST", "SIZE")?;
    for row in rows {
        let digest: String = row.descriptor.digest.to_string().chars().take(19).collect();
        let platforms = if row.platforms.is_empty() { "-".into() } else { row.platforms.join(" ") };
        let note = if row.complete { "" } else { " (incomplete)" };
        writeln!(out, "{:width$}  {digest}  {:>10}  {platforms}{note}", row.image, bytes(row.bytes))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn row(image: StoredImage) -> Row {
    let StoredImage { target, tag, descriptor, platforms, size, complete } = image;
    let reference = tag.map_or(Reference::Digest(descriptor.digest), Reference::Tag);
    let image = hubcap_oci::ImageRef { registry: target.registry, repository: target.repository, reference };
    let platforms = platforms.iter().map(ToString::to_string).collect();
    Row { image: image.to_string(), descriptor, platforms, bytes: size, complete }
}
