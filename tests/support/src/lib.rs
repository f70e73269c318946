//! Emulators of Kinesis and records to fill them with, for the demo and for tests.
#![allow(missing_docs, reason = "only the project's own tests read this crate")]

pub mod aggregate;
pub mod emulator;
