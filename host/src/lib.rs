//! Reads Amazon Kinesis streams through a component that does no I/O of its own.
//!
//! The component decides; this crate does: it carries requests to Kinesis, keeps messages and checkpoints,
//! and tells what happens. The rooms know nothing of each other.

pub mod args;
pub mod plan;
pub mod destination;
pub mod state;
pub mod show;
pub mod transport;
