//! An answer that keeps the memory budget's room for it until it has gone out.

use bytes::Bytes;

struct Held<T, M> {
    text: T,
    _memory: M,
}

impl<T: AsRef<[u8]>, M> AsRef<[u8]> for Held<T, M> {
    fn as_ref(&self) -> &[u8] {
        self.text.as_ref()
    }
}

/// The answer's bytes; `memory` is dropped with the last of them.
pub(crate) fn held<T, M>(text: T, memory: M) -> Bytes
where
    T: AsRef<[u8]> + Send + 'static,
    M: Send + 'static,
{
    Bytes::from_owner(Held { text, _memory: memory })
}
