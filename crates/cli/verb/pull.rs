//! `hubcap pull`: fills the store without any Docker.

use std::process::ExitCode;
use std::time::Instant;

use hubcap_cache::prefetch::{Bytes, End, Event, Image};
use hubcap_oci::ImageRef;

use crate::args::Pull;
use crate::fill::fill;
use crate::settings::Config;
use crate::show::strangers::say;
use crate::show::strangers::visible;
use crate::show::transfers::Transfers;

/// The exit code where a name is misspelled, as for other slips of the command line.
const MISSPELLED: u8 = 2;

/// Pulls every image; one that fails, or whose name is misspelled, does not keep the others from being pulled.
pub(crate) fn run(config: &Config, flags: &Pull) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let (mut total, mut failed) = (Bytes::default(), 0);
    let mut images = Vec::new();
    for name in &flags.images {
        match name.parse::<ImageRef>() {
            Ok(image) => images.push(image),
            Err(why) => {
                failed += 1;
                eprintln!("{}", visible(&format!("{name}  failed: {why}")));
            }
        }
    }
    if images.is_empty() {
        return Ok(ExitCode::from(MISSPELLED));
    }
    let mut transfers = Transfers::new();
    fill(config, &images, &flags.platform, |event| {
        transfers.show(&event);
        match event {
            Event::Image(Image { name, end: End::Stored { digest, bytes, notes } }) => {
                total += bytes;
                say!("{name}  {digest}  {}", amounts(bytes));
                for note in notes {
                    say!("{name}  note: {note}");
                }
            }
            Event::Image(Image { name, end: End::Failed { why } }) => {
                failed += 1;
                say!("{name}  failed: {why}");
            }
            Event::Receiving { .. } | Event::Received { .. } => {}
        }
    })?;
    say!("total: {}, in {:.1} s", amounts(total), started.elapsed().as_secs_f64());
    if failed > 0 {
        eprintln!("hubcap: {failed} of {} images could not be pulled", flags.images.len());
        let is_misspelled = images.len() < flags.images.len();
        return Ok(if is_misspelled { ExitCode::from(MISSPELLED) } else { ExitCode::FAILURE });
    }
    Ok(ExitCode::SUCCESS)
}

fn amounts(Bytes { fetched, stored }: Bytes) -> String {
    format!("fetched {fetched} bytes, {stored} bytes already in the store")
}
