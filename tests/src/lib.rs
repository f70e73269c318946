//! Planted faults, which the tests must catch. What tests share otherwise is in `simulation` and `test-support`.
#![allow(missing_docs, reason = "only the project's own tests read this crate")]

pub mod mutants;
