//! Gaps: records that left the stream before they were read.

use alloc::borrow::ToOwned;
use alloc::string::String;

use crate::checkpoint::Position;
use crate::time::Timestamp;

/// A gap in a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The shard ID.
    pub shard: String,
    /// The sequence number of the last message delivered before the gap, if there was one.
    pub after: Option<String>,
    /// The checkpoint's position in the shard, if that was a time in the future.
    pub ahead: Option<Timestamp>,
}

impl Gap {
    /// Returns the gap after a position whose next records have left the stream.
    pub(crate) fn behind(shard: &str, position: &Position) -> Gap {
        let after = position.after().map(|sequence| sequence.as_str().to_owned());
        Gap { shard: shard.to_owned(), after, ahead: None }
    }
}
