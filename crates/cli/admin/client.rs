//! The commands' side of the admin socket.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use hubcap_cache::prefetch::Image;
use hubcap_oci::{ImageRef, Platform};

use super::{Progress, Question, Status, path};

const PATIENCE: Duration = Duration::from_secs(5);

/// How the daemon of this state directory is.
///
/// # Errors
/// When none answers.
pub(crate) fn status(state: &Path) -> anyhow::Result<Status> {
    let mut lines = ask(state, &Question::Status, Some(PATIENCE))?;
    let line = lines.next().context("the daemon says nothing")??;
    serde_json::from_str(&line).context("the daemon is of another version; stop it, and start this one")
}

/// Has the daemon fill its store; `told` gets each image when it is done.
///
/// # Errors
/// When none answers, or it ends in the midst of it.
pub(crate) fn pull(
    state: &Path,
    images: &[ImageRef],
    platforms: &[Platform],
    mut told: impl FnMut(Image),
) -> anyhow::Result<()> {
    let images = images.iter().map(ToString::to_string).collect();
    let platforms = platforms.iter().map(ToString::to_string).collect();
    for line in ask(state, &Question::Pull { images, platforms }, None)? {
        match serde_json::from_str(&line?)? {
            Progress::Image(image) => told(image),
            Progress::Done(_) => return Ok(()),
        }
    }
    anyhow::bail!("the daemon ended before the pull was done")
}

fn ask(
    state: &Path,
    question: &Question,
    patience: Option<Duration>,
) -> anyhow::Result<impl Iterator<Item = std::io::Result<String>>> {
    let path = path(state);
    let mut stream =
        UnixStream::connect(&path).with_context(|| format!("no daemon answers on {}", path.display()))?;
    stream.set_read_timeout(patience)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    writeln!(stream, "{}", serde_json::to_string(question)?)?;
    Ok(BufReader::new(stream).lines())
}
