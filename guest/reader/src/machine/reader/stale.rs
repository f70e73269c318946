//! Listings that are out of date.

use crate::time::Instant;

/// Consecutive listings that lack a shard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stale {
    pub(super) listings: u32,
    pub(super) since: Instant,
}
