//! What the reader wants of its host, and what it tells.
//!
//! All output is one sum type, [`Action`], from one function, so that a driver cannot forget a queue.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::batch::Batch;
use crate::checkpoint::Position;
use crate::error::ServiceError;
use crate::time::{Instant, Timestamp};
use crate::wire::{Body, Operation};

/// Names a request for the life of its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Names a batch for the life of its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub u64);

/// What the reader wants of the host.
#[derive(Debug)]
pub enum Action {
    /// Send this request.
    Send(Request),
    /// Make these messages safe.
    Deliver(Batch),
    /// Know this.
    Notice(Notice),
    /// Come back later.
    Wait(Wait),
    /// The reader is done. From here on there is nothing else.
    Finish(Outcome),
}

/// A request to `POST` to `/` of the stream's endpoint, signed for the service `kinesis`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// To be given back with the answer.
    pub id: RequestId,
    /// What is asked; its `target` goes into the header `X-Amz-Target`.
    pub operation: Operation,
    /// The shard it is about, for logs and metrics.
    pub shard: Option<String>,
    /// The body, and by its case the content type.
    pub body: Body,
    /// When the reader gives the request up.
    pub deadline: Instant,
}

/// An HTTP response of any status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Body,
    /// The header `x-amzn-requestid`.
    pub aws_request_id: Option<String>,
    /// The header `Date`. It is believed where it agrees with `signed`.
    pub date: Option<Timestamp>,
    /// The calendar time that the request was signed with. None: the host cannot tell, and its calendar counts.
    pub signed: Option<Timestamp>,
}

/// How long to wait, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// When to call `handle_timeout`. None: only an input helps.
    pub until: Option<Instant>,
    /// What the wait is for.
    pub reason: WaitReason,
}

/// What a wait is for; the nearest thing, if there are several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitReason {
    /// A request is out.
    Response,
    /// All room for batches is taken, or only deliveries are left to be reported.
    Delivery,
    /// The pace of reads.
    Pace,
    /// A pause after a failure.
    Backoff,
    /// The next listing of the shards.
    Listing,
}

/// Something an operator should know and that is not an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Records of a shard may have left the stream unread.
    Gap(Gap),
    /// A request failed and will be tried again.
    Retry(ServiceError),
    /// A shard was found, or reached its end.
    Shard(ShardStatus),
}

/// A gap in a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The shard.
    pub shard: String,
    /// The last message delivered before the gap. None: none was.
    pub after: Option<String>,
    /// The position that the checkpoint had in the shard, where that was a time yet to come.
    pub ahead: Option<Timestamp>,
}

impl Gap {
    /// What follows a position has left the stream.
    pub(crate) fn behind(shard: &str, position: &Position) -> Gap {
        let after = position.after().map(|sequence| sequence.as_str().to_owned());
        Gap { shard: shard.to_owned(), after, ahead: None }
    }
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// `until` was met in every shard.
    Reached,
    /// Every shard is closed and delivered, and there are no more.
    Exhausted,
    /// `limits.max-messages` was met.
    Limited,
    /// `stop` was called.
    Stopped,
    /// Reading cannot go on. The checkpoint is still good.
    Failed(ServiceError),
}

/// Where a shard is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ShardState {
    /// A parent is not yet delivered to the end.
    Blocked,
    /// Needs an iterator.
    Seeking,
    /// An iterator was asked for.
    Sought,
    /// Has an iterator and may be read once the pace allows.
    Ready,
    /// A page was asked for.
    Reading,
    /// A batch is with the host.
    Delivering,
    /// Has no iterator any more; the next listing tells whether it is closed.
    Ending,
    /// `until` is met for this shard.
    CaughtUp,
    /// Closed and delivered to the end.
    Drained,
    /// Given up.
    Failed,
}

/// A shard as the reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardStatus {
    /// The shard.
    pub shard: String,
    /// The shards it was made of: none, one by a split, two by a merge.
    pub parents: Vec<String>,
    /// A listing shows it as closed: it takes no more records.
    pub closed: bool,
    /// Where it is in its life.
    pub state: ShardState,
    /// How far it is delivered.
    pub position: Position,
    /// How far behind the tip it was when last read.
    pub behind: Option<Duration>,
}

/// Counts since the opening.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Messages delivered.
    pub messages: u64,
    /// Bytes of data in them.
    pub bytes: u64,
    /// Messages passed over: user records in aggregates whose hash key is not of their shard.
    pub dropped: u64,
    /// Pages that held records.
    pub pages: u64,
    /// Pages that held none.
    pub empty_pages: u64,
    /// Requests given out.
    pub requests: u64,
    /// Requests that were throttled.
    pub throttled: u64,
    /// Requests that failed otherwise and were tried again.
    pub retried: u64,
}
