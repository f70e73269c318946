//! A server that only replays: the pages of a stream are rendered before it starts, in JSON and in CBOR.
//!
//! Every shard holds the same records. An iterator names its shard and page in plain text, so that a request is
//! understood without being parsed, and what a reader costs is all that is measured beside it.

mod pages;
mod serve;

pub use pages::{Form, Pages, Wire};
pub use serve::{STREAM, Server};
