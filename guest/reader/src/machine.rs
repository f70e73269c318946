//! The machine: what to request next, what each answer means, and when the reader is done.
//!
//! [`reader`] routes every input to the shard that it is about; [`shard`] is the table that decides. The other files
//! compute for them: the shards of the stream ([`discovery`], [`listing`], [`lineage`]), how far a shard is read
//! ([`tip`]), and when something may be done ([`pace`], [`backoff`], [`clock`]).

mod backoff;
mod clock;
mod discovery;
mod lineage;
mod listing;
pub(crate) mod pace;
pub(crate) mod reader;
mod rng;
mod shard;
mod tip;
