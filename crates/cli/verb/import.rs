//! `hubcap import`: images out of files into the store.

use std::process::ExitCode;

use crate::args::Import;
use crate::compose;
use crate::settings::Config;
use crate::show::progress::Progress;
use crate::show::strangers::say;
use crate::show::strangers::visible;

/// Imports every file; one that fails does not keep the others from being imported.
pub(crate) fn run(config: &Config, flags: &Import) -> anyhow::Result<ExitCode> {
    if flags.tag.is_some() && flags.files.len() > 1 {
        anyhow::bail!("--tag can name only one image, and {} files are given", flags.files.len());
    }
    let store = compose::store(config)?;
    let progress = Progress::new();
    let mut failed = 0;
    for file in &flags.files {
        let bar = progress.bar("reading", fs_err::metadata(file).map_or(0, |metadata| metadata.len()));
        let imported = store.import(file, flags.tag.as_ref(), &|read| bar.inc(read));
        bar.finish_and_clear();
        match imported {
            Ok(images) => {
                for image in images {
                    let tag = image.tag.map(|tag| format!(":{tag}")).unwrap_or_default();
                    say!("{}{tag}  {}", image.target, image.digest);
                }
            }
            Err(error) => {
                failed += 1;
                eprintln!("hubcap: {}", visible(&error.to_string()));
            }
        }
    }
    store.close();
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
