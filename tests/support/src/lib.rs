//! Emulators of Kinesis, for the demo and for tests, and what tests of the real program share.
//!
//! [`emulator`], [`proxy`] and [`hostile`] are servers, [`program`] runs the program against them, and [`soak`] kills it
//! again and again.
#![allow(missing_docs, reason = "only the project's own tests read this crate")]

pub mod emulator;
pub mod hostile;
pub mod program;
pub mod proxy;
pub mod soak;
