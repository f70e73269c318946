//! The server of the benchmark, which sends pages prepared beforehand in JSON and CBOR.
//!
//! All shards hold the same records. Iterators contain their shard and page in plain text, so that requests can be
//! answered without parsing them and the server costs next to nothing.

mod pages;
mod serve;

pub use pages::{Form, Pages, Wire};
pub use serve::{STREAM, Server};
