//! The one engine that fetches a content from a source: it resumes a connection that breaks, uses more connections where
//! an origin limits each, and keeps to the limits of all of them.
//!
//! - [`source`]: what the engine asks of a source; the registry's blob and a store's archive are sources.
//! - [`watch`], [`pace`]: how fast an origin is, and whether it crawls.
//! - [`resume`]: a content's bytes in order, over as many connections as break.
//! - [`ending`]: where a content ends whose length nobody tells.
//! - [`parallel`]: several connections at once. [`queue`] has the parts that they fetch.
//! - [`in_order`]: a content in order, in parts from its start on, in bounded memory.
//! - [`limit`]: how many connections there may be.
//!
//! A source that several places have (a bucket, another job's cache) becomes a [`Source`](source::Source) of its own, or one
//! more origin of a source. The engine asks one origin after the other; to ask several at once would be a decision above it.

mod ending;
pub(crate) mod in_order;
pub(crate) mod limit;
pub(crate) mod pace;
pub(crate) mod parallel;
mod queue;
pub(crate) mod resume;
pub(crate) mod source;
#[cfg(test)]
mod tests;
mod watch;
