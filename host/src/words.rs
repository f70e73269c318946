//! How the reader's values are displayed: operations, shard states, gaps, and requests that failed.

use std::error::Error;
use std::fmt::{self, Write as _};

use crate::bindings::wit;
use crate::terminal::Clean;

impl fmt::Display for wit::Operation {
    /// The name of the operation in the Kinesis API.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            wit::Operation::DescribeStreamSummary => "DescribeStreamSummary",
            wit::Operation::ListShards => "ListShards",
            wit::Operation::GetShardIterator => "GetShardIterator",
            wit::Operation::GetRecords => "GetRecords",
        })
    }
}

impl fmt::Display for wit::ShardState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            wit::ShardState::Blocked => "blocked",
            wit::ShardState::Seeking => "seeking",
            wit::ShardState::Sought => "sought",
            wit::ShardState::Ready => "ready",
            wit::ShardState::Reading => "reading",
            wit::ShardState::Delivering => "delivering",
            wit::ShardState::Ending => "ending",
            wit::ShardState::CaughtUp => "caught-up",
            wit::ShardState::Drained => "drained",
            wit::ShardState::Failed => "failed",
        })
    }
}

impl fmt::Display for wit::Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = Clean(f);
        let wit::Gap { shard, after, ahead } = self;
        if let Some(ahead) = ahead {
            return write!(
                f,
                "the checkpoint of {shard} is in the future, at {}: records that arrived since may be unread",
                Timestamp(*ahead)
            );
        }
        write!(f, "records of {shard} have left the stream and may be unread: ")?;
        match after {
            Some(after) => write!(f, "all after {after}"),
            None => f.write_str("all of them"),
        }
    }
}

impl fmt::Display for wit::ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = Clean(f);
        let wit::ServiceError { operation, shard, cause, attempts } = self;
        match cause {
            wit::Cause::Recreated(stream) => {
                return write!(
                    f,
                    "the stream was deleted and recreated; the checkpoint belongs to the earlier one: {stream}"
                );
            }
            wit::Cause::Gap(gap) => return write!(f, "{gap}"),
            wit::Cause::Rejected(_) | wit::Cause::Unintelligible(_) | wit::Cause::Failure(_) | wit::Cause::Timeout => {}
        }
        write!(f, "{operation}")?;
        if let Some(shard) = shard {
            write!(f, " of {shard}")?;
        }
        match cause {
            wit::Cause::Rejected(wit::Rejection { status: _, code, message, aws_request_id, hint: _ }) => {
                write!(f, " was refused: {code}")?;
                if !message.is_empty() {
                    write!(f, ": {message}")?;
                }
                if let Some(aws_request_id) = aws_request_id {
                    write!(f, " (request {aws_request_id})")?;
                }
            }
            wit::Cause::Unintelligible(why) => write!(f, " got an invalid response: {why}")?,
            wit::Cause::Failure(wit::Failure::Transient(why) | wit::Failure::Permanent(why)) => {
                write!(f, " got no response: {why}")?;
            }
            wit::Cause::Timeout => f.write_str(" got no response in time")?,
            wit::Cause::Recreated(_) | wit::Cause::Gap(_) => {}
        }
        if *attempts > 1 {
            write!(f, ", after {attempts} tries")?;
        }
        Ok(())
    }
}

impl Error for wit::ServiceError {}

/// Displays a time in milliseconds since the Unix epoch as RFC 3339, unless it is out of range.
pub(crate) struct Timestamp(pub(crate) u64);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match i64::try_from(self.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()) {
            Some(time) => time.fmt(f),
            None => write!(f, "{} ms since 1970", self.0),
        }
    }
}
