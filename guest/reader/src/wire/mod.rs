//! What crosses the network: requests written, answers and rejections read.
//!
//! Two encodings say the same things ([`Wire`]). What a request holds is written down once, in [`encode`]; what an
//! answer holds once, in `decode`; `json` and `cbor` know only how values look. Only for the records of a page, which are
//! many, there is a second way beside it: `usual` reads those in their usual form. [`model`] says what a rejection means.
//!
//! Rules for reading, the same in both encodings:
//!
//! - A member that is null is absent. A member that is unknown is passed over, with all that is in it. Of a member that
//!   stands twice the last counts.
//! - A member of another type than the service's model gives it makes the answer [`Unintelligible`], with the path to
//!   it in the words. So does one that the reader cannot do without. Nothing in a body makes the reader panic.
//! - Everything is bounded: the body, the records of a page, the shards of a listing, the nesting.

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

/// The encoding asked of Kinesis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// `application/x-amz-json-1.1`.
    Json,
    /// `application/x-amz-cbor-1.1`.
    Cbor,
}

/// The body of a request or a response, and by its case the content type.
#[derive(Clone, PartialEq, Eq)]
pub enum Body {
    /// `application/x-amz-json-1.1`.
    Json(String),
    /// `application/x-amz-cbor-1.1`.
    Cbor(Vec<u8>),
}

/// The operations of Kinesis that the reader uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Asks for the stream's ARN and the time of its creation.
    DescribeStreamSummary,
    /// Asks for the shards.
    ListShards,
    /// Asks for a place in a shard to read from.
    GetShardIterator,
    /// Asks for a page of records.
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

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query<'a> {
    /// About the stream itself.
    DescribeStreamSummary {
        /// The stream.
        stream: StreamRef<'a>,
    },
    /// For the first page of the shards, expired ones left out.
    ListShards {
        /// The stream.
        stream: StreamRef<'a>,
    },
    /// For a further page of the shards. The token stands for the stream: "You can't specify this parameter [the
    /// name] if you specify the NextToken parameter."
    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ListShards.html>
    ListShardsNext {
        /// From the page before.
        token: &'a str,
    },
    /// For an iterator.
    GetShardIterator {
        /// The stream.
        stream: StreamRef<'a>,
        /// The shard's identifier.
        shard: &'a str,
        /// Where to begin.
        position: StartingPosition<'a>,
    },
    /// For records.
    GetRecords {
        /// The stream's ARN, where it is known.
        arn: Option<&'a str>,
        /// From `GetShardIterator` or the page before.
        iterator: &'a str,
        /// The most records to give: 1 to 10,000.
        limit: u32,
    },
}

/// A place in a shard to begin at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartingPosition<'a> {
    /// The oldest record the shard still holds.
    TrimHorizon,
    /// What arrives from now on.
    Latest,
    /// The first record at or after this time, in milliseconds since the Unix epoch.
    AtTimestamp(u64),
    /// The record with this sequence number.
    AtSequence(&'a str),
    /// The record that follows this sequence number.
    AfterSequence(&'a str),
}

/// What `DescribeStreamSummary` answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The stream's name.
    pub name: String,
    /// The stream's ARN.
    pub arn: String,
    /// When it was made, in milliseconds since the Unix epoch: tells streams of one name apart.
    pub created: Option<u64>,
    /// How long records are kept.
    pub retention_hours: Option<u32>,
    /// `ACTIVE` and the like. It decides nothing: a stream can be read in states other than that.
    pub status: Option<String>,
}

/// What `ListShards` answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// A page of the shards, in no order to be relied on.
    pub shards: Vec<ListedShard>,
    /// What to ask the next page with. None: this was the last.
    pub next_token: Option<String>,
}

/// A shard in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedShard {
    /// Its identifier.
    pub id: String,
    /// The shards it was made of: none, one after a split, two after a merge. They may be expired.
    pub parents: Vec<String>,
    /// Whether it takes no more records.
    pub closed: bool,
    /// Where its sequence numbers begin.
    pub starting: Option<Sequence>,
    /// Where they end, of a closed shard. Its last record may lie before.
    pub ending: Option<Sequence>,
    /// Its hash keys.
    pub hash_range: Option<HashRange>,
}

/// An error that Kinesis answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The HTTP status.
    pub status: u16,
    /// The error's name, as in `ProvisionedThroughputExceededException`; made of the status where none was given.
    pub code: String,
    /// What the service says: one line, of bounded length.
    pub message: String,
}

/// An answer that Kinesis does not give, and where it departs from one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unintelligible {
    /// What is wrong, and where.
    pub why: String,
    /// It is an answer in form, with a value that the service's model forbids. It was not cut off on the way, and did not
    /// come from a server of another kind.
    pub is_forbidden: bool,
}

/// Writes a request.
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

/// Reads the answer to `DescribeStreamSummary`.
pub fn decode_summary(body: &Body) -> Result<Summary, Unintelligible> {
    decode::within_bounds(body)?;
    Ok(match body {
        Body::Json(text) => decode::summary(&mut json::Reader::new(text)),
        Body::Cbor(bytes) => decode::summary(&mut cbor::Reader::new(bytes)),
    }?)
}

/// Reads the answer to `ListShards`.
pub fn decode_listing(body: &Body) -> Result<Listing, Unintelligible> {
    decode::within_bounds(body)?;
    Ok(match body {
        Body::Json(text) => decode::listing(&mut json::Reader::new(text)),
        Body::Cbor(bytes) => decode::listing(&mut cbor::Reader::new(bytes)),
    }?)
}

/// Reads the answer to `GetShardIterator`.
pub fn decode_iterator(body: &Body) -> Result<String, Unintelligible> {
    decode::within_bounds(body)?;
    Ok(match body {
        Body::Json(text) => decode::iterator(&mut json::Reader::new(text)),
        Body::Cbor(bytes) => decode::iterator(&mut cbor::Reader::new(bytes)),
    }?)
}

/// Reads the answer to `GetRecords`, and keeps its body.
pub fn decode_page(body: Body) -> Result<Page, Unintelligible> {
    decode::within_bounds(&body)?;
    let layout = match &body {
        Body::Json(text) => decode::page(text.as_bytes(), &mut json::Reader::new(text)),
        Body::Cbor(bytes) => decode::page(bytes, &mut cbor::Reader::new(bytes)),
    }?;
    Ok(Page::new(body, layout))
}

/// Reads an answer of another status than 200. What it says is taken as far as it can be made out: a proxy's page of
/// HTML and an empty body are rejections too.
pub fn decode_rejection(status: u16, body: &Body) -> Rejection {
    let said = match (decode::within_bounds(body), body) {
        (Err(_), _) => None,
        (Ok(()), Body::Json(text)) => decode::rejection(&mut json::Reader::new(text)).ok(),
        (Ok(()), Body::Cbor(bytes)) => decode::rejection(&mut cbor::Reader::new(bytes)).ok(),
    };
    rejection::of(status, said.unwrap_or_default(), body)
}

impl Operation {
    /// The operation's name.
    pub fn name(self) -> &'static str {
        match self {
            Operation::DescribeStreamSummary => "DescribeStreamSummary",
            Operation::ListShards => "ListShards",
            Operation::GetShardIterator => "GetShardIterator",
            Operation::GetRecords => "GetRecords",
        }
    }

    /// The value of the header `X-Amz-Target`.
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
    /// The operation that is asked.
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

/// Writes the members of one object, the body of a request.
trait Write {
    fn text(&mut self, key: &str, value: &str);
    fn count(&mut self, key: &str, value: u32);
    fn time(&mut self, key: &str, value_ms: u64);
}

impl Body {
    /// The bytes to send.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Body::Json(text) => text.as_bytes(),
            Body::Cbor(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Body {
    // Bodies hold other people's data, and up to megabytes of it: a log gets the size.
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
