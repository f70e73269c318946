//! The command line.

pub mod args;
pub mod error;
pub mod files;
pub mod plan;
pub mod report;
pub mod run;
pub mod shards;
pub mod show;
pub(crate) mod stdout;
