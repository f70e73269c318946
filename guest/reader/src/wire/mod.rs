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

mod cbor;
mod decode;
mod json;
pub mod model;
mod rejection;
mod usual;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

pub use self::model::{Class, classify, hint};
use crate::hash_key::HashRange;
use crate::page::Page;
use crate::sequence::Sequence;

/// The wire encoding of requests and responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// `application/x-amz-json-1.1`.
    Json,
    /// `application/x-amz-cbor-1.1`.
    Cbor,
}

/// The body of a request or response. Its variant is the content type.
#[derive(Clone, PartialEq, Eq)]
pub enum Body {
    /// `application/x-amz-json-1.1`.
    Json(String),
    /// `application/x-amz-cbor-1.1`.
    Cbor(Vec<u8>),
}

/// The Kinesis operations that the reader uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Returns the stream's ARN and creation time.
    DescribeStreamSummary,
    /// Returns the shards, page by page.
    ListShards,
    /// Returns a shard iterator for a position in a shard.
    GetShardIterator,
    /// Returns a page of records.
    GetRecords,
}

/// How a request names its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamRef<'a> {
    /// By name, in the account of the credentials.
    Name(&'a str),
    /// By ARN. "When invoking this API, you must use either the StreamARN or the StreamName parameter, or both. It is
    /// recommended that you use the StreamARN input parameter when you invoke this API."
    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ListShards.html>
    Arn(&'a str),
}

/// The content of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query<'a> {
    /// Requests a description of the stream.
    DescribeStreamSummary {
        /// The stream.
        stream: StreamRef<'a>,
    },
    /// Requests the first page of the shards, without expired ones.
    ListShards {
        /// The stream.
        stream: StreamRef<'a>,
    },
    /// Requests a further page of the shards. The token stands for the stream: "You can't specify this parameter [the
    /// name] if you specify the NextToken parameter."
    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ListShards.html>
    ListShardsNext {
        /// The token from the page before.
        token: &'a str,
    },
    /// Requests a shard iterator.
    GetShardIterator {
        /// The stream.
        stream: StreamRef<'a>,
        /// The shard id.
        shard: &'a str,
        /// Where to begin.
        position: StartingPosition<'a>,
    },
    /// Requests a page of records.
    GetRecords {
        /// The stream's ARN, if known.
        arn: Option<&'a str>,
        /// The shard iterator from `GetShardIterator` or from the page before.
        iterator: &'a str,
        /// The maximum number of records: 1 to 10,000.
        limit: u32,
    },
}

/// Where a shard iterator begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartingPosition<'a> {
    /// The oldest record that the shard still holds.
    TrimHorizon,
    /// Records that arrive from now on.
    Latest,
    /// The first record at or after this time, in milliseconds since the Unix epoch.
    AtTimestamp(u64),
    /// The record with this sequence number.
    AtSequence(&'a str),
    /// The record after the one with this sequence number.
    AfterSequence(&'a str),
}

/// The answer to `DescribeStreamSummary`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The stream's name.
    pub name: String,
    /// The stream's ARN.
    pub arn: String,
    /// When it was created, in milliseconds since the Unix epoch. This distinguishes streams of the same name.
    pub created: Option<u64>,
    /// How long records are kept.
    pub retention_hours: Option<u32>,
    /// The stream's status, such as `ACTIVE`. The reader ignores it, as a stream can be read in other states, too.
    pub status: Option<String>,
}

/// The answer to `ListShards`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// A page of the shards. Their order is unspecified.
    pub shards: Vec<ListedShard>,
    /// The token for the next page, or `None` if this was the last.
    pub next_token: Option<String>,
}

/// A shard in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedShard {
    /// The shard id.
    pub id: String,
    /// The shards that it came from: one for a split, two for a merge, none otherwise. They may have expired.
    pub parents: Vec<String>,
    /// Whether it takes no more records.
    pub closed: bool,
    /// The first sequence number of its range.
    pub starting: Option<Sequence>,
    /// The last sequence number of its range, if it is closed. Its last record may have a smaller one.
    pub ending: Option<Sequence>,
    /// Its hash key range.
    pub hash_range: Option<HashRange>,
}

/// An error response from Kinesis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The HTTP status.
    pub status: u16,
    /// The name of the error, such as `ProvisionedThroughputExceededException`, or `Http` and the status if it has
    /// none.
    pub code: String,
    /// The service's message, as one line of limited length.
    pub message: String,
}

/// The error for an answer that is not one that Kinesis sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unintelligible {
    /// What is wrong with it, and where.
    pub why: String,
    /// Whether the answer is well-formed, but has a value that the service's model forbids. In that case it was not
    /// truncated, and does not come from a different kind of server.
    pub is_forbidden: bool,
}

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

impl Operation {
    /// Returns the name of the operation.
    pub fn name(self) -> &'static str {
        match self {
            Operation::DescribeStreamSummary => "DescribeStreamSummary",
            Operation::ListShards => "ListShards",
            Operation::GetShardIterator => "GetShardIterator",
            Operation::GetRecords => "GetRecords",
        }
    }

    /// Returns the value of the `X-Amz-Target` header.
    pub fn target(self) -> &'static str {
        match self {
            Operation::DescribeStreamSummary => "Kinesis_20131202.DescribeStreamSummary",
            Operation::ListShards => "Kinesis_20131202.ListShards",
            Operation::GetShardIterator => "Kinesis_20131202.GetShardIterator",
            Operation::GetRecords => "Kinesis_20131202.GetRecords",
        }
    }
}

impl Query<'_> {
    /// Returns the operation of the request.
    pub fn operation(&self) -> Operation {
        match self {
            Query::DescribeStreamSummary { .. } => Operation::DescribeStreamSummary,
            Query::ListShards { .. } | Query::ListShardsNext { .. } => Operation::ListShards,
            Query::GetShardIterator { .. } => Operation::GetShardIterator,
            Query::GetRecords { .. } => Operation::GetRecords,
        }
    }

    fn write(&self, to: &mut impl Write) {
        match *self {
            Query::DescribeStreamSummary { stream } | Query::ListShards { stream } => stream.write(to),
            Query::ListShardsNext { token } => to.text("NextToken", token),
            Query::GetShardIterator { stream, shard, position } => {
                stream.write(to);
                to.text("ShardId", shard);
                position.write(to);
            }
            Query::GetRecords { arn, iterator, limit } => {
                if let Some(arn) = arn {
                    to.text("StreamARN", arn);
                }
                to.text("ShardIterator", iterator);
                to.count("Limit", limit);
            }
        }
    }
}

impl StreamRef<'_> {
    fn write(self, to: &mut impl Write) {
        match self {
            StreamRef::Name(name) => to.text("StreamName", name),
            StreamRef::Arn(arn) => to.text("StreamARN", arn),
        }
    }
}

impl StartingPosition<'_> {
    fn write(self, to: &mut impl Write) {
        to.text(
            "ShardIteratorType",
            match self {
                StartingPosition::TrimHorizon => "TRIM_HORIZON",
                StartingPosition::Latest => "LATEST",
                StartingPosition::AtTimestamp(_) => "AT_TIMESTAMP",
                StartingPosition::AtSequence(_) => "AT_SEQUENCE_NUMBER",
                StartingPosition::AfterSequence(_) => "AFTER_SEQUENCE_NUMBER",
            },
        );
        match self {
            StartingPosition::TrimHorizon | StartingPosition::Latest => {}
            StartingPosition::AtTimestamp(time_ms) => to.time("Timestamp", time_ms),
            StartingPosition::AtSequence(sequence) | StartingPosition::AfterSequence(sequence) => {
                to.text("StartingSequenceNumber", sequence);
            }
        }
    }
}

/// Writes the members of a single object, the body of a request.
trait Write {
    fn text(&mut self, key: &str, value: &str);
    fn count(&mut self, key: &str, value: u32);
    fn time(&mut self, key: &str, value_ms: u64);
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

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for Unintelligible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.is_empty() { f.write_str(&self.code) } else { write!(f, "{}: {}", self.code, self.message) }
    }
}

impl core::error::Error for Unintelligible {}
