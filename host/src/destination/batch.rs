//! What a driver and a destination exchange: batches of messages, and what was written of them.

use super::error::{BatchError, Error};

/// A batch, whose messages are rendered on demand.
pub trait Batch {
    /// The shard that all the messages are from.
    fn shard(&self) -> &str;

    /// The number of messages, which is at least one.
    fn count(&self) -> u32;

    /// Lines from message `skip` on, as many as fit in `size` bytes, but at least one if any is left.
    fn lines(&mut self, skip: u32, size: u32) -> Result<Lines, BatchError>;

    /// Lines of the invalid records from message `skip` on, as many as fit in `size` bytes, but at least one if any is
    /// left.
    fn invalid_lines(&mut self, skip: u32, size: u32) -> Result<InvalidLines, BatchError>;

    /// Messages from message `skip` on, as many as fit in `size` bytes of text and data, but at least one if any is
    /// left.
    fn messages(&mut self, skip: u32, size: u32) -> Result<Vec<Message>, BatchError>;
}

/// Some lines of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// Newline-delimited JSON, whole lines.
    pub text: String,
    /// The number of lines in `text`.
    pub count: u32,
    /// The number of lines in `text` that are of invalid records.
    pub invalid: u32,
}

/// Some lines of the invalid records in a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InvalidLines {
    /// Newline-delimited JSON, whole lines, each with its reason as `_kinesis_reason`.
    pub text: String,
    /// The number of lines in `text`.
    pub count: u32,
    /// The message to continue with, as the next `skip`.
    pub next: u32,
}

/// A message and its envelope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Identifies the message, and is the same each time it is read.
    pub id: String,
    /// The sequence number of its record.
    pub sequence: String,
    /// The index within an aggregated record. `None` if it was not aggregated.
    pub subsequence: Option<u32>,
    /// `None` if the stream distributes records by itself.
    pub partition_key: Option<String>,
    /// The arrival time, in milliseconds since the Unix epoch.
    pub arrived: u64,
    /// The payload.
    pub data: Vec<u8>,
}

/// What was written of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The number of messages in the batch.
    pub messages: u64,
    /// The number of bytes in the lines or rows. The size of a transaction is bounded by these, and not by the bytes in
    /// the stream.
    pub bytes: u64,
    /// The number of messages from invalid records.
    pub invalid: u64,
    /// The number of messages that were not there before.
    pub new: u64,
}

/// Stores messages.
pub trait Destination: Send {
    /// Returns the checkpoint that covers the committed messages, if there is one.
    fn checkpoint(&mut self) -> Result<Option<String>, Error>;

    /// Accepts a batch. Its messages are not durable before [`commit`](Self::commit).
    fn write(&mut self, batch: &mut dyn Batch) -> Result<Written, Error>;

    /// Makes everything written so far durable, together with `checkpoint`.
    fn commit(&mut self, checkpoint: &str) -> Result<(), Error>;

    /// Commits like [`commit`](Self::commit), but is given a checkpoint with only those positions that changed since
    /// the last commit. Returns false without doing anything if the destination needs the whole checkpoint.
    ///
    /// This is for destinations that store each position separately, so that the cost of a commit does not grow with
    /// the number of shards.
    fn commit_changes(&mut self, changes: &str) -> Result<bool, Error> {
        let _ = changes;
        Ok(false)
    }
}
