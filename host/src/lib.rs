//! Reads Amazon Kinesis streams through a component that does no I/O of its own.
//!
//! The component, a state machine in WebAssembly, decides what to request, which messages to deliver and when to wait.
//! This crate does what it asks: it sends requests to Kinesis, stores messages and checkpoints, and reports what
//! happens. The program `kinesis-reader` is a command line above it.
//!
//! [`drive`] connects the parts, which do not depend on each other:
//!
//! - [`component`] runs the reader in a sandbox.
//! - [`transport`] signs requests and sends them.
//! - [`destination`] stores messages, and [`state`] a checkpoint that is kept apart from them.
//! - [`recording`] records a run, and [`replay`] repeats it.
//!
//! # Example
//!
//! This program prints the new messages of a stream, and continues there the next time:
//!
//! ```no_run
//! use std::{error::Error, future::pending, io::stdout, path::Path, sync::Arc};
//!
//! use kinesis_reader::component::{Bounds, COMPONENT, Sandbox, wit};
//! use kinesis_reader::destination::{Destination, NdjsonStream};
//! use kinesis_reader::drive::{self, Clock, Log};
//! use kinesis_reader::state::FileState;
//! use kinesis_reader::transport::{Kinesis, Settings};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn Error>> {
//!     // Messages go to stdout, and the checkpoint into a file.
//!     let state = FileState::open(Path::new("orders.state"))?;
//!     let mut lines = NdjsonStream::new(stdout(), Some(Box::new(state)));
//!
//!     // The reader continues at that checkpoint, and finishes when it is caught up to within a second.
//!     let mut component = Sandbox::new(Bounds::default(), None)?.load(COMPONENT)?;
//!     let mut config = component.defaults(&wit::Source::Name("orders".to_owned()))?;
//!     config.until = wit::Until::CaughtUp(1000);
//!     let clock = Clock::start();
//!     let saved = lines.checkpoint()?;
//!     let reader = component.open(&config, saved.as_deref(), drive::seed(), clock.now(), drive::present())?;
//!
//!     // Region, endpoint and credentials are looked up as by the AWS command line.
//!     let kinesis = Arc::new(Kinesis::connect(&Settings::default()).await?);
//!     let summary = drive::drive(reader, kinesis, &mut lines, &mut Log, clock, pending()).await?;
//!     summary.ok()?;
//!     eprintln!("{} messages", summary.totals.messages);
//!     Ok(())
//! }
//! ```
//!
//! `examples/destination.rs` has a custom [`Destination`](destination::Destination), an
//! [`Observer`](drive::Observer) and an interrupt.

// All output for people goes through `terminal`, which cleans it and never fails.
#![deny(clippy::print_stderr, clippy::print_stdout)]

pub mod cli;

pub mod component;
pub mod destination;
pub mod drive;
pub mod recording;
pub mod replay;
pub mod state;
pub mod transport;

mod bindings;
mod files;
mod random;
pub mod terminal;
mod words;
