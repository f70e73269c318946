//! The simulation of the reader, and the parts that several tests share.
//!
//! The simulation keeps three things apart: the truth (the stream in the [`kinesis`] model), the system under test (the
//! reader, driven by the [`environment`]), and the comparison of the two (the [`oracle`]). A run is a function of one
//! seed, and [`sim`] plays many of them.
//!
//! [`proxy`], [`hostile`] and [`emulator`] are servers for tests of the real program, which [`program`] runs.
#![allow(missing_docs, reason = "only the project's own tests read this crate")]

pub mod aggregate;
pub mod chance;
pub mod edge;
pub mod emulator;
pub mod environment;
pub mod hostile;
pub mod kinesis;
pub mod mutants;
pub mod oracle;
pub mod page_server;
pub mod program;
pub mod proxy;
pub mod scenario;
pub mod shrink;
pub mod sim;
pub mod soak;
pub mod writer;
