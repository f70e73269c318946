//! How a drain ended, and what it did.

use crate::bindings::reading;

/// Why a drain ended.
pub(super) enum End {
    /// Every shard is read to its tip.
    CaughtUp,
    /// Every shard is closed and read to its end.
    Exhausted,
    Messages,
    Bytes,
    Requests,
    /// The time is up. If nothing was delivered, the text says why.
    Time(Option<String>),
    /// The time was up before anything that was read could be delivered.
    TooShort,
    /// The sink refuses a batch, and there is no address for dead letters.
    Blocked(String),
    /// The sink, or the address for dead letters, does not accept a batch now, or not in time.
    SinkFailed(String),
    /// Kinesis cannot be read any further.
    Failed(String),
    /// Another drain has taken the lease.
    LeaseLost,
    /// The store does not respond, or does not accept the value.
    StoreFailed(String),
}

/// What a drain did, for its report.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) messages: u64,
    /// The bytes of their lines.
    pub(super) bytes: u64,
    pub(super) batches: u64,
    pub(super) requests: u64,
    pub(super) dead_letters: u64,
    pub(super) gaps: Vec<reading::Gap>,
    pub(super) gaps_total: u64,
    pub(super) retries: u64,
}
