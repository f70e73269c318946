//! Answers: what they contain, in either encoding.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::pages::hash_key::HashRange;
use crate::pages::sequence::Sequence;

/// The answer to `DescribeStreamSummary`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The stream's name.
    pub name: String,
    /// The stream's ARN.
    pub arn: String,
    /// When it was created, in milliseconds since the Unix epoch. This distinguishes streams of the same name.
    pub created: Option<u64>,
    /// How long records are kept.
    pub retention_hours: Option<u32>,
    /// The stream's status, such as `ACTIVE`. The reader ignores it, as a stream can be read in other states, too.
    pub status: Option<String>,
}

/// The answer to `ListShards`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// A page of the shards. Their order is unspecified.
    pub shards: Vec<ListedShard>,
    /// The token for the next page, or `None` if this was the last.
    pub next_token: Option<String>,
}

/// A shard in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedShard {
    /// The shard id.
    pub id: String,
    /// The shards that it came from: one for a split, two for a merge, none otherwise. They may have expired.
    pub parents: Vec<String>,
    /// Whether it takes no more records.
    pub closed: bool,
    /// The first sequence number of its range.
    pub starting: Option<Sequence>,
    /// The last sequence number of its range, if it is closed. Its last record may have a smaller one.
    pub ending: Option<Sequence>,
    /// Its hash key range.
    pub hash_range: Option<HashRange>,
}

/// An error response from Kinesis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The HTTP status.
    pub status: u16,
    /// The name of the error, such as `ProvisionedThroughputExceededException`, or `Http` and the status if it has
    /// none.
    pub code: String,
    /// The service's message, as one line of limited length.
    pub message: String,
}

/// The error for an answer that is not one that Kinesis sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unintelligible {
    /// What is wrong with it, and where.
    pub why: String,
    /// Whether the answer is well-formed, but has a value that the service's model forbids. In that case it was not
    /// truncated, and does not come from a different kind of server.
    pub is_forbidden: bool,
}

impl fmt::Display for Unintelligible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.is_empty() { f.write_str(&self.code) } else { write!(f, "{}: {}", self.code, self.message) }
    }
}

impl core::error::Error for Unintelligible {}
