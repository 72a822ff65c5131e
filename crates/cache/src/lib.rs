//! The decisions: hit, follow, miss, revalidated, stale, offline or bypass
