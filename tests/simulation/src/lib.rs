//! The simulation of the reader: the machine in virtual time, against a model of Kinesis.
//!
//! It keeps three things apart: the truth (the stream in the [`kinesis`] model), the system under test (the reader,
//! driven by the [`environment`]), and the comparison of the two (the [`oracle`]). A run is a function of one seed, and
//! [`sim`] plays many of them.
//!
//! Other tests use [`aggregate`], [`chance`] and the [`kinesis`] model too.
#![allow(missing_docs, reason = "only the project's own tests read this crate")]

pub mod aggregate;
pub mod chance;
pub mod environment;
pub mod kinesis;
pub mod oracle;
pub mod scenario;
pub mod shrink;
pub mod sim;
pub mod writer;
