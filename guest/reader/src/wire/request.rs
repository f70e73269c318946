//! Requests: what they contain, in either encoding.

use super::operation::Operation;

/// The wire encoding of requests and responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// `application/x-amz-json-1.1`.
    Json,
    /// `application/x-amz-cbor-1.1`.
    Cbor,
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

    pub(super) fn write(&self, to: &mut impl Write) {
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
pub(super) trait Write {
    fn text(&mut self, key: &str, value: &str);
    fn count(&mut self, key: &str, value: u32);
    fn time(&mut self, key: &str, value_ms: u64);
}
