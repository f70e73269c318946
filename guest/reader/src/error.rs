//! What can go wrong, by whose fault.
//!
//! What was given at the opening ([`OpenError`]), what the driver did ([`Misuse`], which changes nothing), and what
//! Kinesis or the network did ([`ServiceError`], which is a state with a next state).

use alloc::string::String;
use core::fmt;

use crate::action::{BatchId, Gap, RequestId};
use crate::wire::{Operation, Rejection};

/// Why a reader could not be opened. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// A field of the config has a value it cannot have.
    Config(FieldError),
    /// The checkpoint cannot be used.
    Checkpoint(CheckpointError),
}

/// A field at fault, by its path in the config, as in `limits.page-records`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The path.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

/// What is wrong with a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckpointError {
    /// It is not one, and why: it does not parse, or is of a later version.
    Malformed(String),
    /// It belongs to another stream, named here.
    Foreign(String),
}

/// The host broke the protocol. The reader is as it was before the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misuse {
    /// No such request was given out.
    UnknownRequest(RequestId),
    /// No such batch is out.
    UnknownBatch(BatchId),
}

/// Why there is no HTTP response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Trying again may help: no connection, a reset, a timeout, no name.
    Transient(String),
    /// Trying again will not help: no credentials, an endpoint that is none.
    Permanent(String),
}

/// A request that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceError {
    /// What was asked.
    pub operation: Operation,
    /// The shard it was about.
    pub shard: Option<String>,
    /// Why it did not succeed.
    pub cause: Cause,
    /// Tries made so far.
    pub attempts: u32,
}

/// Why a request did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Kinesis said no.
    Rejected {
        /// What it said.
        rejection: Rejection,
        /// The header `x-amzn-requestid`.
        aws_request_id: Option<String>,
    },
    /// A response that Kinesis does not send, and why it is none.
    Unintelligible(String),
    /// The host reported a failure.
    Failure(Failure),
    /// The request's deadline passed.
    Timeout,
    /// The stream is another than the checkpoint's, which is named here.
    Recreated(String),
    /// Records have left the stream unread, and that was to end the reader.
    Gap(Gap),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Config(FieldError { field, message }) => write!(f, "{field}: {message}"),
            OpenError::Checkpoint(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CheckpointError::Malformed(why) => write!(f, "the checkpoint cannot be read: {why}"),
            CheckpointError::Foreign(stream) => write!(f, "the checkpoint belongs to another stream: {stream}"),
        }
    }
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Misuse::UnknownRequest(id) => write!(f, "no such request was given out: {}", id.0),
            Misuse::UnknownBatch(id) => write!(f, "no such batch is out: {}", id.0),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Transient(what) | Failure::Permanent(what) => f.write_str(what),
        }
    }
}

impl core::error::Error for OpenError {}
impl core::error::Error for CheckpointError {}
impl core::error::Error for Misuse {}
