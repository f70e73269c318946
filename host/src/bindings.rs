//! The WIT's types and functions in Rust, as wasmtime generates them.

#![allow(missing_docs, reason = "the documentation is in the WIT")]

wasmtime::component::bindgen!({ path: "component/reader.wit", world: "reader" });

/// The interface `reading`, as the WIT defines it.
pub use exports::kinesis::reader::reading as wit;
