//! One layer: a thread inflates it, one hashes it, and the caller's writes it, over the same buffers.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, Builder};

use sha2::{Digest as _, Sha256};

use crate::chunks::{Chunk, Pool, Stream};
use crate::error::Error;
use crate::inflate;
use crate::tar::Archive;
use crate::write::Writer;
use crate::write::target::Target;

pub use crate::inflate::Packing;

/// Chunks that wait for a thread, at most; the pool has fewer.
const WAITING: usize = 16;

/// A layer.
#[derive(Debug)]
pub struct Layer {
    /// Its blob, as a registry has it.
    pub blob: File,
    /// What its media type says of its packing.
    pub packing: Packing,
}

/// What was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// The SHA-256 of all inflated bytes, those behind the archive's end too: the DiffID.
    pub digest: [u8; 32],
    /// The bytes that it is of.
    pub size: u64,
}

/// Writes a layer into its target. Stops soon with an error when `canceled` becomes true.
///
/// [`Error::Unsupported`] says that nothing was written. After another error, what was written stays: the target is half a
/// layer, and no good.
pub fn apply(layer: Layer, target: &Target, canceled: &AtomicBool) -> Result<Applied, Error> {
    let writer = Writer::open(target)?;
    let cannot_start =
        |error: io::Error| Error::Unsupported(format!("its beginning cannot be read: {error}"));
    let mut source = inflate::open(layer.blob, layer.packing).map_err(cannot_start)?;
    let pool = Pool::new();
    let first = pool.fill(&mut source).map_err(cannot_start)?;
    let written = thread::scope(|scope| {
        let (to_writer, chunks) = sync_channel(WAITING);
        let (to_hasher, hashed) = sync_channel(WAITING);
        let inflater = Inflater { pool, source, canceled, to_writer, to_hasher };
        let spawn = |name: &str| Builder::new().name(name.into());
        let hasher = spawn("hash").spawn_scoped(scope, move || hash(hashed)).map_err(Error::Read)?;
        spawn("inflate").spawn_scoped(scope, move || inflater.run(first)).map_err(Error::Read)?;
        write(writer, chunks, target.sync)?;
        hasher.join().map_err(|_| Error::Read(io::Error::other("the hashing thread has ended")))
    });
    if canceled.load(Ordering::Relaxed) { Err(Error::Canceled) } else { written }
}

struct Inflater<'a> {
    pool: Pool,
    source: Box<dyn Read + Send>,
    canceled: &'a AtomicBool,
    to_writer: SyncSender<io::Result<Arc<Chunk>>>,
    to_hasher: SyncSender<Arc<Chunk>>,
}

impl Inflater<'_> {
    /// Inflates to the end, or until the writer has gone.
    fn run(mut self, first: Option<Arc<Chunk>>) {
        let mut next = Ok(first);
        while let Some(chunk) = next.transpose() {
            if let Ok(chunk) = &chunk {
                // The hasher stays until it has all.
                let _ = self.to_hasher.send(chunk.clone());
            }
            let failed = chunk.is_err();
            if self.to_writer.send(chunk).is_err() || failed {
                return;
            }
            next = if self.canceled.load(Ordering::Relaxed) {
                Err(io::Error::other("canceled"))
            } else {
                self.pool.fill(&mut self.source)
            };
        }
    }
}

fn write(mut writer: Writer, chunks: Receiver<io::Result<Arc<Chunk>>>, sync: bool) -> Result<(), Error> {
    let mut archive = Archive::new(Stream::new(chunks));
    while let Some(entry) = archive.next()? {
        writer.write(&entry, &mut archive)?;
    }
    // All of it has to be inflated and hashed, and without an error.
    archive.drain()?;
    writer.finish()?;
    if sync {
        writer.sync()?;
    }
    Ok(())
}

fn hash(chunks: Receiver<Arc<Chunk>>) -> Applied {
    let mut hasher = Sha256::new();
    let mut size = 0;
    for chunk in chunks {
        hasher.update(chunk.bytes());
        size += chunk.bytes().len() as u64;
    }
    Applied { digest: hasher.finalize().into(), size }
}
