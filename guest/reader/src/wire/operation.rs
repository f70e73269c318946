//! The operations of Kinesis that the reader uses.

use core::fmt;

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

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
