//! A server that only replays pages, which are rendered in JSON and CBOR before it starts.
//!
//! All shards hold the same records. Iterators contain their shard and page in plain text, so that requests can be
//! answered without parsing them and the server costs next to nothing.

mod pages;
mod serve;

pub use pages::{Form, Pages, Wire};
pub use serve::{STREAM, Server};
