//! Buffers that one thread fills, that others read at the same time, and that come back when all have read them.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Bytes of a buffer.
const SIZE: usize = 1 << 20;
/// Buffers of one layer, so that a layer needs 8 MiB however large it is.
const COUNT: usize = 8;

/// A filled buffer. The last one who drops it gives its memory back to the [`Pool`].
#[derive(Debug)]
pub(crate) struct Chunk {
    bytes: Vec<u8>,
    home: SyncSender<Vec<u8>>,
}

/// The buffers that are not in use.
pub(crate) struct Pool {
    free: Receiver<Vec<u8>>,
    home: SyncSender<Vec<u8>>,
}

/// The chunks that come from another thread, as one stream.
pub(crate) struct Stream {
    chunks: Receiver<io::Result<Arc<Chunk>>>,
    current: Option<Arc<Chunk>>,
    position: usize,
}

impl Chunk {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // There is room for all of them; it fails only when nobody fills buffers any more.
        let _ = self.home.try_send(std::mem::take(&mut self.bytes));
    }
}

impl Pool {
    pub(crate) fn new() -> Self {
        let (home, free) = sync_channel(COUNT);
        for _ in 0..COUNT {
            let _ = home.try_send(Vec::new());
        }
        Self { free, home }
    }

    /// Waits for a free buffer and fills it from `source`; none at the end.
    pub(crate) fn fill(&self, source: &mut impl Read) -> io::Result<Option<Arc<Chunk>>> {
        // This pool has a sender itself, so a buffer comes.
        let mut bytes = self.free.recv().map_err(io::Error::other)?;
        bytes.resize(SIZE, 0);
        let mut chunk = Chunk { bytes, home: self.home.clone() };
        let mut filled = 0;
        while filled < SIZE {
            match source.read(&mut chunk.bytes[filled..]) {
                Ok(0) => break,
                Ok(length) => filled += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        chunk.bytes.truncate(filled);
        Ok((filled > 0).then(|| Arc::new(chunk)))
    }
}

impl Stream {
    pub(crate) const fn new(chunks: Receiver<io::Result<Arc<Chunk>>>) -> Self {
        Self { chunks, current: None, position: 0 }
    }
}

impl BufRead for Stream {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.current.as_ref().is_none_or(|chunk| self.position == chunk.bytes.len()) {
            self.current = None;
            self.position = 0;
            match self.chunks.recv() {
                Ok(chunk) => self.current = Some(chunk?),
                Err(_) => return Ok(&[]),
            }
        }
        Ok(self.current.as_ref().map_or(&[], |chunk| &chunk.bytes[self.position..]))
    }

    fn consume(&mut self, length: usize) {
        self.position += length;
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.read(buffer)?;
        self.consume(length);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_has_the_bytes_of_its_source() {
        let bytes: Vec<u8> = (0..3 * SIZE as u32 / 4 + 7).flat_map(u32::to_le_bytes).collect();
        let pool = Pool::new();
        let (sender, receiver) = sync_channel(COUNT);
        let mut source = &bytes[..];
        while let Some(chunk) = pool.fill(&mut source).expect("filled") {
            sender.send(Ok(chunk)).expect("taken");
        }
        drop(sender);
        let mut read = Vec::new();
        Stream::new(receiver).read_to_end(&mut read).expect("read");
        assert!(read == bytes);
    }

    #[test]
    fn a_dropped_chunk_comes_back() {
        let pool = Pool::new();
        let endless = &mut std::io::repeat(7);
        for _ in 0..3 * COUNT {
            let chunk = pool.fill(endless).expect("filled").expect("not the end");
            assert_eq!(chunk.bytes().len(), SIZE);
        }
    }
}
