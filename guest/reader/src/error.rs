//! Errors, by who is at fault.
//!
//! - [`OpenError`]: the arguments with which the reader was opened.
//! - [`Misuse`]: the driver. The call changes nothing.
//! - [`ServiceError`]: Kinesis or the network. The reader retries, or ends the run.

use alloc::string::String;
use core::fmt;

use crate::checkpoint::CheckpointError;
use crate::gap::Gap;
use crate::ids::{BatchId, RequestId};
use crate::wire::{Operation, Rejection};

/// Why a reader could not be opened. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// A field of the config has an invalid value.
    Config(FieldError),
    /// The checkpoint cannot be used.
    Checkpoint(CheckpointError),
}

/// An invalid field, by its path in the config, such as `limits.page-records`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The path.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

/// The host broke the contract. The call changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misuse {
    /// The reader never sent such a request.
    UnknownRequest(RequestId),
    /// The reader never handed out such a batch, or it was already reported as delivered.
    UnknownBatch(BatchId),
}

/// Why there is no HTTP response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A retry may help: no connection, a reset, a timeout, an unknown host.
    Transient(String),
    /// A retry will not help: no credentials, an invalid endpoint.
    Permanent(String),
}

/// A failed request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceError {
    /// The operation that was requested.
    pub operation: Operation,
    /// The shard that the request was about.
    pub shard: Option<String>,
    /// Why it failed.
    pub cause: Cause,
    /// The number of attempts so far.
    pub attempts: u32,
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Kinesis rejected it.
    Rejected {
        /// The error response.
        rejection: Rejection,
        /// The `x-amzn-requestid` header.
        aws_request_id: Option<String>,
    },
    /// The response is not one that Kinesis sends. The text says what is wrong with it.
    Unintelligible(String),
    /// The host reported a failure.
    Failure(Failure),
    /// The request's deadline passed.
    Timeout,
    /// The stream is not the checkpoint's, which the text describes, but was created later under the same name.
    Recreated(String),
    /// Records left the stream before they were read, and `on_gap` is `Fail`.
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

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Misuse::UnknownRequest(id) => write!(f, "unknown request: {}", id.0),
            Misuse::UnknownBatch(id) => write!(f, "unknown batch, or one that was already delivered: {}", id.0),
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
impl core::error::Error for Misuse {}
