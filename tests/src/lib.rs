//! The reader under simulation, and what the tests share.
//!
//! Three things are kept apart: what should be (the [`kinesis`] model's stream), what is (the reader, driven by the
//! [`environment`]), and how they are compared (the [`oracle`]). All of it is a function of one seed, and [`sim`] plays many.
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
