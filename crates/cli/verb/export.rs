//! `hubcap export`: writes an image to a file, for docker load and podman load.

use std::io::{BufWriter, IsTerminal as _, Write};
use std::path::Path;
use std::process::ExitCode;
use std::slice;

use anyhow::{Context as _, bail};
use fs_err as fs;
use hubcap_cache::prefetch::{End, Event, Image};
use hubcap_oci::{ImageRef, Platform};
use hubcap_store::{Availability, CompleteImage, Format, Layout};

use crate::args::Export;
use crate::fill::fill;
use crate::holder;
use crate::replace::{PRIVATE, PUBLIC, write_named};
use crate::settings::Config;
use crate::show::progress::{Progress, bytes};
use crate::show::strangers::say;
use crate::show::strangers::visible_lines;
use crate::show::transfers::Transfers;

/// Bytes that are written at once.
const BUFFER: usize = 256 << 10;

pub(crate) fn run(config: &Config, flags: &Export) -> anyhow::Result<ExitCode> {
    let platform = flags.platform.clone().unwrap_or_else(Platform::host);
    let format = flags.format.into();
    let image = complete(config, &flags.image, &platform, format)?;
    if format == Format::DockerArchive && image.has_zstd() {
        eprintln!(
            "hubcap: {} has layers in zstd, which docker load cannot read before Docker 23",
            flags.image
        );
    }
    if flags.output == Path::new("-") {
        let out = std::io::stdout();
        if out.is_terminal() {
            bail!("standard output is a terminal; choose a file with --output");
        }
        write(config, &image, format, out.lock())?;
        return Ok(ExitCode::SUCCESS);
    }
    let is_public = Layout::at(&config.store).guarded(&image, format).is_empty();
    let permissions = if is_public { PUBLIC } else { PRIVATE };
    write_named(&flags.output, permissions, |file| write(config, &image, format, file))?;
    let size = fs::metadata(&flags.output)?.len();
    say!("{}  {platform}  {} in {}", flags.image, bytes(size), flags.output.display());
    Ok(ExitCode::SUCCESS)
}

/// The image out of the store, after what is missing was fetched. Attestations that cannot be fetched are left out.
fn complete(
    config: &Config,
    name: &ImageRef,
    platform: &Platform,
    format: Format,
) -> anyhow::Result<CompleteImage> {
    match stored(config, name, platform, format)? {
        Availability::Complete(image) if format == Format::DockerArchive || !image.lacks_attestations() => {
            return Ok(*image);
        }
        Availability::Complete(_) => {
            if let Err(error) = fetch(config, name, platform) {
                let why = format!("hubcap: the attestations of {name} cannot be fetched: {error:#}");
                eprintln!("{}", visible_lines(&why));
            }
        }
        Availability::Missing(_) => {
            fetch(config, name, platform).with_context(|| format!("{name} cannot be fetched"))?;
        }
    }
    match stored(config, name, platform, format)? {
        Availability::Complete(image) => Ok(*image),
        Availability::Missing(why) => bail!("{name} is not complete in the store: {why}"),
    }
}

/// What the store has of the image. What not everybody may have, and its repository is not known to have, counts as missing: another
/// image has it.
fn stored(
    config: &Config,
    name: &ImageRef,
    platform: &Platform,
    format: Format,
) -> anyhow::Result<Availability> {
    let layout = Layout::at(&config.store);
    let found = layout.find(name, platform)?;
    let guarded = match &found {
        Availability::Complete(image) => layout.guarded(image, format),
        Availability::Missing(_) => Vec::new(),
    };
    if guarded.is_empty() {
        return Ok(found);
    }
    let missing = holder::missing(config, name, &guarded)?;
    Ok(missing.first().map_or(found, |one| {
        Availability::Missing(format!("{one} is not for everybody, and came of another repository"))
    }))
}

/// Fetches what is missing of the image.
fn fetch(config: &Config, name: &ImageRef, platform: &Platform) -> anyhow::Result<()> {
    let (mut transfers, mut failed) = (Transfers::new(), None);
    fill(config, slice::from_ref(name), slice::from_ref(platform), |event| {
        transfers.show(&event);
        if let Event::Image(Image { end: End::Failed { why }, .. }) = event {
            failed = Some(why);
        }
    })?;
    failed.map_or(Ok(()), |why| bail!(why))
}

fn write(config: &Config, image: &CompleteImage, format: Format, out: impl Write) -> anyhow::Result<()> {
    let progress = Progress::new();
    let bar = progress.bar("writing", image.size(format));
    let out = BufWriter::with_capacity(BUFFER, out);
    Layout::at(&config.store).export(image, format, out, |read| bar.inc(read))?;
    bar.finish_and_clear();
    Ok(())
}
