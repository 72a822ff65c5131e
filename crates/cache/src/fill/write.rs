//! The disk's side of a fill: what the network brings is written in runs.

use hubcap_store::Ingest;
use hubcap_upstream::Piece;
use tokio::sync::mpsc;

use super::coalesce::Coalescer;

/// How much is written at once at most, in bytes.
pub(super) const RUN: u64 = 512 << 10;

/// Writes pieces to an ingest, and commits it after [`Piece::End`]. A channel that closes without one is a broken fetch:
/// nothing is committed. The link comes before the commit, because a reader that sees the content's end relies on it.
///
/// # Errors
/// The store's.
pub(super) fn write(
    mut ingest: Ingest,
    mut pieces: mpsc::Receiver<Piece>,
    mut coalescer: Coalescer,
    link: impl FnOnce(),
) -> Result<(), hubcap_store::Error> {
    let mut next = pieces.blocking_recv();
    while let Some(piece) = next {
        let Piece::Chunk { offset, bytes } = piece else {
            link();
            return ingest.commit().map(drop);
        };
        if offset != ingest.written() {
            if let Some((offset, run)) = coalescer.add(offset, bytes) {
                ingest.write_at(offset, &run)?;
            }
            next = pieces.blocking_recv();
            continue;
        }
        let mut end = offset + bytes.len() as u64;
        let mut run = vec![bytes];
        // What has come meanwhile, and follows.
        next = loop {
            match pieces.try_recv() {
                Ok(Piece::Chunk { offset: follows, bytes }) if follows == end && end - offset < RUN => {
                    end += bytes.len() as u64;
                    run.push(bytes);
                }
                Ok(other) => break Some(other),
                Err(_) => break None,
            }
        };
        ingest.write_at(offset, &run)?;
        drop(run);
        while let Some(run) = coalescer.take(ingest.written()) {
            ingest.write_at(ingest.written(), &run)?;
        }
        if next.is_none() {
            next = pieces.blocking_recv();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use hubcap_oci::{Algorithm, Digest};
    use hubcap_store::{Error, Options, Store};

    use super::*;

    const CONTENT: &[u8] = b"0123456789";

    fn chunk(offset: usize, length: usize) -> Piece {
        Piece::Chunk { offset: offset as u64, bytes: Bytes::from_static(&CONTENT[offset..offset + length]) }
    }

    /// What becomes of these pieces, and whether the store has the content then.
    fn write_all(pieces: Vec<Piece>) -> (Result<(), Error>, bool) {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path(), Options::default()).expect("a store");
        let digest = Digest::of(Algorithm::Sha256, CONTENT);
        let ingest = store.ingest(digest, Some(CONTENT.len() as u64)).expect("an ingest");
        let (sender, receiver) = mpsc::channel(pieces.len().max(1));
        for piece in pieces {
            sender.try_send(piece).expect("room");
        }
        drop(sender);
        let written = write(ingest, receiver, Coalescer::new(4), || {});
        (written, store.has(&digest))
    }

    #[test]
    fn pieces_in_any_order_become_the_content() {
        let pieces = vec![chunk(6, 2), chunk(0, 3), chunk(8, 2), chunk(3, 3), Piece::End];
        assert!(matches!(write_all(pieces), (Ok(()), true)));
    }

    #[test]
    fn pieces_without_an_end_become_nothing() {
        assert!(matches!(write_all(vec![chunk(0, 10)]), (Ok(()), false)));
    }

    #[test]
    fn an_end_before_all_pieces_is_not_the_content() {
        let (written, has) = write_all(vec![chunk(0, 3), chunk(6, 4), Piece::End]);
        assert!(matches!(written, Err(Error::DigestMismatch { .. })) && !has);
    }
}
