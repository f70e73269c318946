//! A reader of one Amazon Kinesis data stream, as a state machine without I/O.
//!
//! It has no clock, no randomness, no network and no storage: it says what it wants done, and is told what happened.
//! Who drives it owns the sockets, the credentials, the clock and the place where checkpoints are kept.
//!
//! # The loop
//!
//! Feed one input (a `handle_*` or [`Reader::stop`]), then call [`Reader::poll_action`] until it answers
//! [`Action::Wait`] or [`Action::Finish`]:
//!
//! ```
//! use kinesis_reader_machine::{Action, Config, Instant, Reader, Source, Timestamp};
//!
//! let config = Config::new(Source::Name("orders".into()));
//! let mut reader = Reader::open(config, None, 42, Instant(0), Timestamp(1_763_900_000_000)).unwrap();
//! match reader.poll_action() {
//!     Action::Send(request) => assert_eq!(request.operation.target(), "Kinesis_20131202.DescribeStreamSummary"),
//!     Action::Deliver(batch) => { /* make batch.lines(..) safe, then handle_delivered, then keep checkpoint() */ }
//!     Action::Notice(notice) => { /* tell the operator */ }
//!     Action::Wait(wait) => { /* until an answer comes or wait.until; then handle_timeout */ }
//!     Action::Finish(outcome) => { /* done */ }
//! }
//! ```
//!
//! # What is promised
//!
//! - At least once, in order: the messages of a shard are delivered in the order of their sequence numbers, and a shard
//!   is not read before its parents are delivered to the end.
//! - One batch of a shard is out at a time, and the next page of that shard is asked for after it is reported.
//! - A checkpoint never names a message that was not reported as delivered, and has a place for every shard seen.
//! - Equal inputs at equal times with an equal seed give equal outputs.
//! - Nothing that comes from outside makes it panic.
#![no_std]
#![forbid(unsafe_code)]
// What can panic whatever the build. Overflow cannot in the release build, and the fuzz targets are built to see it.
#![cfg_attr(
    not(test),
    deny(
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::todo,
        clippy::unimplemented,
        clippy::unreachable,
        clippy::unwrap_used,
    )
)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod action;
mod config;
mod error;
mod reader;

mod discovery;
mod lineage;
mod listing;
mod shard;
mod tip;

mod batch;
mod checkpoint;
pub mod envelope;
mod message_id;

mod hash_key;
mod identifier;
mod kpl;
mod messages;
pub mod page;

mod backoff;
mod clock;
mod digits;
mod pace;
mod printable;
mod rng;
pub mod sequence;
mod stamp;
mod time;
pub mod wire;

pub use action::{
    Action, BatchId, Gap, Notice, Outcome, Request, RequestId, Response, ShardState, ShardStatus, Totals, Wait,
    WaitReason,
};
pub use batch::{Batch, InvalidLines, Lines, Message};
pub use checkpoint::{Checkpoint, Identity, MessagePosition, Position, merge_checkpoints};
pub use config::{Config, Limits, OnGap, Recreated, Source, Start, Until};
pub use envelope::Payload;
pub use error::{Cause, CheckpointError, Failure, FieldError, Misuse, OpenError, ServiceError};
pub use hash_key::HashRange;
pub use message_id::MessageId;
pub use printable::printable;
pub use reader::Reader;
pub use time::{Instant, Timestamp};
