//! The benchmark of the program and its parts, and the server that it reads from.
#![allow(missing_docs, reason = "only the benchmark reads this crate")]

pub mod page_server;
