//! A reader of one Amazon Kinesis data stream, as a state machine without I/O.
//!
//! It has no clock, no randomness, no network and no storage: it says what it wants done and is told what happened. The
//! driver owns the sockets, the credentials, the clock and the place where checkpoints are stored.
//!
//! # The loop
//!
//! After each input (a `handle_*` call or [`Reader::stop`]), call [`Reader::poll_action`] until it returns
//! [`Action::Wait`] or [`Action::Finish`]:
//!
//! ```
//! use kinesis_reader_machine::{Action, Config, Instant, Reader, Source, Timestamp};
//!
//! let config = Config::new(Source::Name("orders".into()));
//! let mut reader = Reader::open(config, None, 42, Instant(0), Timestamp(1_763_900_000_000)).unwrap();
//! match reader.poll_action() {
//!     Action::Send(request) => assert_eq!(request.operation.target(), "Kinesis_20131202.DescribeStreamSummary"),
//!     Action::Deliver(batch) => { /* write batch.lines(..), call handle_delivered, save checkpoint() */ }
//!     Action::Notice(notice) => { /* show it to the operator */ }
//!     Action::Wait(wait) => { /* wait for an answer or until wait.until, then call handle_timeout */ }
//!     Action::Finish(outcome) => { /* done */ }
//! }
//! ```
//!
//! # Guarantees
//!
//! - At least once, in order: the messages of a shard are delivered in the order of their sequence numbers, and a shard
//!   is not read until all its parents have been delivered to their end.
//! - Each shard has at most one outstanding batch. The shard's next page is requested after that batch is delivered.
//! - A checkpoint never covers a message that was not reported as delivered, and has a position for every shard seen.
//! - The same inputs at the same times with the same seed give the same outputs.
//! - No input makes it panic.
#![no_std]
#![forbid(unsafe_code)]
// These lints cover what panics in every build. Overflow does not panic in release builds; the fuzz targets are built
// with overflow checks to find it.
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

mod machine;
mod pages;
mod render;
// The wire encodings, pages and envelopes are public for tests and benchmarks alone.
#[doc(hidden)]
pub mod wire;

mod action;
mod body;
mod checkpoint;
mod config;
mod error;
mod gap;
mod identifier;
mod ids;
mod printable;
mod time;

pub use action::{Action, Notice, Outcome, Request, Response, ShardState, ShardStatus, Totals, Wait, WaitReason};
pub use checkpoint::{Checkpoint, CheckpointError, Identity, MessagePosition, Position, merge_checkpoints};
pub use config::{Config, Limits, OnGap, Recreated, Source, Start, Until};
pub use error::{Cause, Failure, FieldError, Misuse, OpenError, ServiceError};
pub use gap::Gap;
pub use ids::{BatchId, RequestId};
pub use machine::reader::Reader;
pub use pages::hash_key::HashRange;
pub use printable::printable;
pub use render::batch::{Batch, InvalidLines, Lines, Message};
pub use render::envelope::Payload;
pub use render::message_id::MessageId;
pub use time::{Instant, Timestamp};
pub use wire::{Body, Operation, Rejection, Wire};
#[doc(hidden)]
pub use {pages::page, pages::sequence, render::envelope};
