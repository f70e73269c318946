//! What the tests that span several crates share.
#![allow(missing_docs, reason = "only the project's own tests read this crate")]

pub mod mutants;
pub mod page_server;
