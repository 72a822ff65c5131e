//! `hubcap pull`: fills the store without any Docker.

use std::process::ExitCode;
use std::time::Instant;

use hubcap_cache::prefetch::{Bytes, End, Event, Image};

use crate::args::Pull;
use crate::fill::fill;
use crate::settings::Config;
use crate::show::transfers::Transfers;

/// Pulls every image; one that fails does not keep the others from being pulled.
pub(crate) fn run(config: &Config, flags: &Pull) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let (mut total, mut failed) = (Bytes::default(), 0);
    let mut transfers = Transfers::new();
    fill(config, &flags.images, &flags.platform, |event| {
        transfers.show(&event);
        match event {
            Event::Image(Image { name, end: End::Stored { digest, bytes, notes } }) => {
                total += bytes;
                println!("{name}  {digest}  {}", amounts(bytes));
                for note in notes {
                    println!("{name}  note: {note}");
                }
            }
            Event::Image(Image { name, end: End::Failed { why } }) => {
                failed += 1;
                println!("{name}  failed: {why}");
            }
            Event::Receiving { .. } | Event::Received { .. } => {}
        }
    })?;
    println!("total: {}, in {:.1} s", amounts(total), started.elapsed().as_secs_f64());
    if failed > 0 {
        eprintln!("hubcap: {failed} of {} images could not be pulled", flags.images.len());
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn amounts(Bytes { fetched, stored }: Bytes) -> String {
    format!("fetched {fetched} bytes, {stored} bytes already in the store")
}
