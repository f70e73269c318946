//! What crosses the network: encodes requests, and decodes answers and rejections.
//!
//! There are two wire encodings with the same content ([`Wire`]). The content of requests is defined once, in
//! [`encode`], and so is that of answers, in `decode`; `json` and `cbor` only know the syntax of values. Only the many
//! records of a page have a second implementation, a fast path for their usual form (`usual`). [`model`] defines what a
//! rejection means.
//!
//! Both encodings are decoded by the same rules:
//!
//! - A member that is null is absent. Unknown members are skipped with all their contents. If a member occurs twice,
//!   the last one counts.
//! - If a member has a type other than in the service's model, or a required member is missing, the answer is
//!   [`Unintelligible`], and the error names the path to the member. No body makes the reader panic.
//! - Everything has a maximum: the size of the body, the records of a page, the shards of a listing, the nesting.

mod answer;
mod cbor;
mod decode;
mod json;
pub mod model;
mod operation;
mod rejection;
mod request;
mod usual;

use alloc::string::String;

pub use self::answer::{ListedShard, Listing, Rejection, Summary, Unintelligible};
pub use self::model::{Class, classify, hint};
pub use self::operation::Operation;
pub use self::request::{Query, StartingPosition, StreamRef, Wire};
pub use crate::body::Body;
use crate::pages::page::Page;

/// Encodes a request.
pub fn encode(query: &Query<'_>, wire: Wire) -> Body {
    match wire {
        Wire::Json => {
            let mut writer = json::Writer::default();
            query.write(&mut writer);
            Body::Json(writer.finish())
        }
        Wire::Cbor => {
            let mut writer = cbor::Writer::default();
            query.write(&mut writer);
            Body::Cbor(writer.finish())
        }
    }
}

/// Decodes the answer to `DescribeStreamSummary`.
pub fn decode_summary(body: &Body) -> Result<Summary, Unintelligible> {
    decode::within_bounds(body)?;
    Ok(match body {
        Body::Json(text) => decode::summary(&mut json::Reader::new(text)),
        Body::Cbor(bytes) => decode::summary(&mut cbor::Reader::new(bytes)),
    }?)
}

/// Decodes the answer to `ListShards`.
pub fn decode_listing(body: &Body) -> Result<Listing, Unintelligible> {
    decode::within_bounds(body)?;
    Ok(match body {
        Body::Json(text) => decode::listing(&mut json::Reader::new(text)),
        Body::Cbor(bytes) => decode::listing(&mut cbor::Reader::new(bytes)),
    }?)
}

/// Decodes the answer to `GetShardIterator`.
pub fn decode_iterator(body: &Body) -> Result<String, Unintelligible> {
    decode::within_bounds(body)?;
    Ok(match body {
        Body::Json(text) => decode::iterator(&mut json::Reader::new(text)),
        Body::Cbor(bytes) => decode::iterator(&mut cbor::Reader::new(bytes)),
    }?)
}

/// Decodes the answer to `GetRecords`. The page keeps the body.
pub fn decode_page(body: Body) -> Result<Page, Unintelligible> {
    decode::within_bounds(&body)?;
    let layout = match &body {
        Body::Json(text) => decode::page(text.as_bytes(), &mut json::Reader::new(text)),
        Body::Cbor(bytes) => decode::page(bytes, &mut cbor::Reader::new(bytes)),
    }?;
    Ok(Page::new(body, layout))
}

/// Decodes an answer of any status other than 200. Never fails: an HTML page from a proxy and an empty body are
/// rejections, too.
pub fn decode_rejection(status: u16, body: &Body) -> Rejection {
    let details = match (decode::within_bounds(body), body) {
        (Err(_), _) => None,
        (Ok(()), Body::Json(text)) => decode::rejection(&mut json::Reader::new(text)).ok(),
        (Ok(()), Body::Cbor(bytes)) => decode::rejection(&mut cbor::Reader::new(bytes)).ok(),
    };
    rejection::of(status, details.unwrap_or_default(), body)
}
