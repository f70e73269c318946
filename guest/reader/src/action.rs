//! What the reader asks of its host and reports to it.
//!
//! There is one output type, [`Action`], returned by one function, so a driver cannot forget to drain a queue.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::checkpoint::Position;
use crate::error::ServiceError;
use crate::gap::Gap;
use crate::ids::RequestId;
use crate::render::batch::Batch;
use crate::time::{Instant, Timestamp};
use crate::wire::{Body, Operation};

/// What the host should do next.
#[derive(Debug)]
#[must_use = "each action is returned once"]
pub enum Action {
    /// Send this request.
    Send(Request),
    /// Deliver these messages, then call [`handle_delivered`](crate::Reader::handle_delivered).
    Deliver(Batch),
    /// Report this to the operator.
    Notice(Notice),
    /// Wait for an answer or for some time to pass.
    Wait(Wait),
    /// The reader is done. From now on this is the only action.
    Finish(Outcome),
}

/// A request to `POST` to `/` of the stream's endpoint, signed with Signature Version 4 for the service `kinesis`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// To be passed back with the answer.
    pub id: RequestId,
    /// The operation, whose `target` goes into the `X-Amz-Target` header.
    pub operation: Operation,
    /// The shard that the request is about, for logs and metrics.
    pub shard: Option<String>,
    /// The body. Its variant is the content type.
    pub body: Body,
    /// When the reader gives up on the request. A later answer is accepted and ignored.
    pub deadline: Instant,
}

/// An HTTP response of any status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The body. A body of any other content type goes into [`Body::Json`], with invalid UTF-8 replaced.
    pub body: Body,
    /// The `x-amzn-requestid` header.
    pub aws_request_id: Option<String>,
    /// The `Date` header. It only counts if it agrees with `signed`.
    pub date: Option<Timestamp>,
    /// The calendar time that the request was signed with, or `None` if the host does not know. In that case its
    /// calendar, as passed to [`open`](crate::Reader::open), is used instead.
    pub signed: Option<Timestamp>,
}

/// How long to wait, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// When to call [`handle_timeout`](crate::Reader::handle_timeout), or `None` if only another input can help.
    pub until: Option<Instant>,
    /// What the reader is waiting for.
    pub reason: WaitReason,
}

/// What the reader is waiting for; if for several things, the one that is due first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitReason {
    /// The response to a request.
    Response,
    /// The delivery of a batch by the host: there is no room for more batches, or nothing else is left to do.
    Delivery,
    /// The pace of reading.
    Pace,
    /// The end of a pause after a failure.
    Backoff,
    /// The next listing of the shards.
    Listing,
}

/// Something that the operator should know and that is not an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Records of a shard may have left the stream before they were read.
    Gap(Gap),
    /// A request failed and will be retried.
    Retry(ServiceError),
    /// A shard was found, or reached a state that is final for this run.
    Shard(ShardStatus),
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every shard met `until`.
    Reached,
    /// Every shard is closed and delivered to its end, and there are no others.
    Exhausted,
    /// `limits.max-messages` were delivered.
    Limited,
    /// `stop` was called.
    Stopped,
    /// Reading cannot continue. The checkpoint is still valid.
    Failed(ServiceError),
}

/// What the reader is doing with a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ShardState {
    /// Waiting until its parents are delivered to their end.
    Blocked,
    /// In need of a shard iterator.
    Seeking,
    /// Waiting for a shard iterator that was requested.
    Sought,
    /// Ready to request a page as soon as the pace and the limits allow.
    Ready,
    /// Waiting for a page that was requested.
    Reading,
    /// Waiting for the host to deliver a batch.
    Delivering,
    /// Without a next shard iterator. The next listing shows whether the shard is closed.
    Ending,
    /// Done: `until` is met.
    CaughtUp,
    /// Done: closed and delivered to its end.
    Drained,
    /// Given up on.
    Failed,
}

/// What the reader knows about a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardStatus {
    /// The shard ID.
    pub shard: String,
    /// The shards that it came from: one for a split, two for a merge, none otherwise.
    pub parents: Vec<String>,
    /// Whether a listing shows it as closed, so that it takes no more records.
    pub closed: bool,
    /// What the reader is doing with it.
    pub state: ShardState,
    /// How far it is delivered.
    pub position: Position,
    /// How far it was behind its tip when last read.
    pub behind: Option<Duration>,
}

/// What the reader has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Messages delivered.
    pub messages: u64,
    /// Bytes of data in them.
    pub bytes: u64,
    /// User records dropped because their hash key does not belong to the shard of their aggregated record.
    pub dropped: u64,
    /// Pages with records.
    pub pages: u64,
    /// Pages without records.
    pub empty_pages: u64,
    /// Requests sent.
    pub requests: u64,
    /// Requests that were throttled.
    pub throttled: u64,
    /// Requests that failed in another way and were retried.
    pub retried: u64,
}
