//! The bodies of requests and responses.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// The body of a request or response. Its variant is the content type.
#[derive(Clone, PartialEq, Eq)]
pub enum Body {
    /// `application/x-amz-json-1.1`.
    Json(String),
    /// `application/x-amz-cbor-1.1`.
    Cbor(Vec<u8>),
}

impl Body {
    /// Returns the body as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Body::Json(text) => text.as_bytes(),
            Body::Cbor(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Body {
    // Bodies can be large and contain customer data, so logs only get their size.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Body::Json(text) => write!(f, "Json({} bytes)", text.len()),
            Body::Cbor(bytes) => write!(f, "Cbor({} bytes)", bytes.len()),
        }
    }
}
