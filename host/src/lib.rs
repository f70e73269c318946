//! Reads Amazon Kinesis streams through a component that does no I/O of its own.
//!
//! The component decides, and this crate does what it asks: it sends requests to Kinesis, stores messages and
//! checkpoints, and reports what happens. The modules do not depend on each other: [`drive`] connects them, and
//! [`cli::run`] chooses which.

// All output for people goes through `terminal`, which cleans it and never fails.
#![deny(clippy::print_stderr, clippy::print_stdout)]

pub mod cli;

pub mod drive;

pub mod component;
pub mod destination;
pub mod recording;
pub mod state;
pub mod transport;

pub mod files;
pub mod replay;
pub mod terminal;
