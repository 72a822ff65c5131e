//! The disk's side of a fill: what the network brings is written in runs.

use hubcap_store::Ingest;
use hubcap_upstream::Piece;

use super::coalesce::Coalescer;
use super::stall::Counted;

/// How much is written at once at most, in bytes.
pub(super) const RUN: u64 = 512 << 10;

/// Writes pieces to an ingest, and commits it after [`Piece::End`]. A channel that closes without one is a broken fetch:
/// nothing is committed. `link` says before the commit whose the content is.
///
/// # Errors
/// The store's.
pub(super) fn write(
    mut ingest: Ingest,
    mut pieces: Counted,
    mut coalescer: Coalescer,
    link: impl FnOnce(&mut Ingest),
) -> Result<(), hubcap_store::Error> {
    let mut next = pieces.next();
    while let Some(piece) = next {
        let Piece::Chunk { offset, bytes } = piece else {
            link(&mut ingest);
            return ingest.commit().map(drop);
        };
        if offset != ingest.written() {
            if let Some((offset, run)) = coalescer.add(offset, bytes) {
                ingest.write_at(offset, &run)?;
            }
            next = pieces.next();
            continue;
        }
        let mut end = offset + bytes.len() as u64;
        let mut run = vec![bytes];
        // What has come meanwhile, and follows.
        next = loop {
            match pieces.next_if_here() {
                Some(Piece::Chunk { offset: follows, bytes }) if follows == end && end - offset < RUN => {
                    end += bytes.len() as u64;
                    run.push(bytes);
                }
                other => break other,
            }
        };
        ingest.write_at(offset, &run)?;
        drop(run);
        while let Some(run) = coalescer.take(ingest.written()) {
            ingest.write_at(ingest.written(), &run)?;
        }
        if next.is_none() {
            next = pieces.next();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use hubcap_oci::{Algorithm, Digest};
    use hubcap_store::{Error, Options, Store};
    use tokio::sync::mpsc;

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
        let written = write(ingest, Counted::new(receiver).0, Coalescer::new(4), |_| {});
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
