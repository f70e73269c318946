//! The messages of one page of one shard, or of a part of it, held as they came and rendered when asked.
//!
//! What a page is rendered to can be many times what it holds: an aggregate of 1 MiB has room for a hundred thousand
//! messages, each with an envelope and a key of its own. So a batch is bounded by its lines, and a page that is too much
//! for one becomes several ([`fitting`]).

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::iter;
use core::time::Duration;

use base64_simd::STANDARD;
use kinesis_reader_json as json;

use crate::action::BatchId;
use crate::checkpoint::{self, Identity, Position};
use crate::envelope::{self, Envelope, Rendered};
use crate::messages::Messages;
use crate::page::Data;
use crate::time::Timestamp;

/// The messages of one page of one shard, or of a part of it: at least one, in order.
pub struct Batch {
    pub(crate) id: BatchId,
    pub(crate) shard: Arc<str>,
    pub(crate) stream: Arc<Identity>,
    pub(crate) envelope: Arc<Envelope>,
    pub(crate) messages: Messages,
    pub(crate) behind: Duration,
    /// Where the shard's position is once the batch is safe.
    pub(crate) to: Position,
}

/// Some lines of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lines {
    /// Newline-delimited JSON.
    pub text: String,
    /// The number of lines in the text.
    pub count: u32,
    /// Of these, the lines whose data could not be put as asked.
    pub invalid: u32,
}

/// Some lines of the messages whose data could not be put as asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidLines {
    /// Newline-delimited JSON, with the reason in each line as `_kinesis_reason`.
    pub text: String,
    /// The number of lines in the text.
    pub count: u32,
    /// The number of the message to go on with.
    pub next: u32,
}

/// A message and its envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// As the configuration asks.
    pub id: String,
    /// The sequence number of its record.
    pub sequence: String,
    /// The position within an aggregated record. None: it was not aggregated.
    pub subsequence: Option<u32>,
    /// None: the stream distributes records by itself and names no key.
    pub partition_key: Option<String>,
    /// When Kinesis took it in, more or less.
    pub arrived: Timestamp,
    /// The payload.
    pub data: Vec<u8>,
}

impl Batch {
    /// The name to give to `handle_delivered`.
    pub fn id(&self) -> BatchId {
        self.id
    }

    /// The shard that all the messages are from.
    pub fn shard(&self) -> &str {
        &self.shard
    }

    /// The number of messages, those out of aggregates counted one by one.
    pub fn count(&self) -> u32 {
        self.messages.count()
    }

    /// The bytes of data in the messages.
    pub fn size(&self) -> u64 {
        self.messages.size()
    }

    /// How far the end of the batch is behind the tip of the shard.
    pub fn behind(&self) -> Duration {
        self.behind
    }

    /// The checkpoint of this shard alone as it is once this batch is safe.
    pub fn checkpoint(&self) -> String {
        checkpoint::write(&self.stream, &mut iter::once((&*self.shard, &self.to)))
    }

    /// The messages from number `skip` on: whole lines, at least one if there is one, else as many as fit in `size`
    /// bytes.
    pub fn lines(&self, skip: u32, size: u32) -> Lines {
        let most = size as usize;
        let mut text = Vec::with_capacity(most.min(MOST_RESERVED));
        let mut lines = self.envelope.lines();
        let (mut count, mut invalid) = (0, 0);
        for message in self.messages.from(skip) {
            let before = text.len();
            let rendered = lines.write(&message, &mut text);
            if count > 0 && text.len() > most {
                text.truncate(before);
                break;
            }
            count += 1;
            invalid += match rendered {
                Rendered::AsAsked => 0,
                Rendered::Invalid => 1,
            };
            if text.len() >= most {
                break;
            }
        }
        Lines { text: text_of(text), count, invalid }
    }

    /// Those of the messages from number `skip` on whose data cannot be put as asked: their lines with the reason, at
    /// least one if there is one, else as many as fit in `size` bytes.
    pub fn invalid_lines(&self, skip: u32, size: u32) -> InvalidLines {
        let most = size as usize;
        let mut text = Vec::new();
        let mut lines = self.envelope.lines();
        let (mut count, mut next) = (0, skip.min(self.count()));
        for message in self.messages.from(skip) {
            let before = text.len();
            match lines.write(&message, &mut text) {
                Rendered::AsAsked => text.truncate(before),
                Rendered::Invalid => {
                    // Before what closes the line, where such a line has a member.
                    text.truncate(text.len().saturating_sub(b"}\n".len()));
                    text.extend_from_slice(b",\"_kinesis_reason\":\"");
                    text.extend_from_slice(reason(message.data).as_bytes());
                    text.extend_from_slice(b"\"}\n");
                    if count > 0 && text.len() > most {
                        text.truncate(before);
                        break;
                    }
                    count += 1;
                }
            }
            next += 1;
        }
        InvalidLines { text: text_of(text), count, next }
    }

    /// The messages from number `skip` on: at least one if there is one, else as many as fit in `size` bytes, of
    /// identifiers, sequence numbers, partition keys and data.
    pub fn messages(&self, skip: u32, size: u32) -> Vec<Message> {
        let mut left = u64::from(size);
        let mut messages = Vec::new();
        for message in self.messages.from(skip) {
            let key = message.partition_key.map_or(0, str::len);
            let id = self.envelope.message_id(message.sequence, message.subsequence);
            let texts = (id.len() + message.sequence.len() + key) as u64;
            // Not decoded in vain. Text that is no base64 is longer than this says, and is looked at below.
            if !messages.is_empty() && texts + message.data.size() > left {
                break;
            }
            let message = Message {
                id,
                sequence: message.sequence.to_owned(),
                subsequence: message.subsequence,
                partition_key: message.partition_key.map(ToOwned::to_owned),
                arrived: Timestamp(message.arrived),
                data: envelope::bytes(message.data),
            };
            let bytes = texts + message.data.len() as u64;
            if !messages.is_empty() && bytes > left {
                break;
            }
            left = left.saturating_sub(bytes);
            messages.push(message);
            if left == 0 {
                break;
            }
        }
        messages
    }
}

/// How many of the messages, from the first on, have lines that fit in `most` bytes together: at least one if there is
/// one.
pub(crate) fn fitting(messages: &Messages, envelope: &Envelope, most: u64) -> u32 {
    if surely_fit(messages, envelope, most) {
        return messages.count();
    }
    let mut lines = envelope.lines();
    let (mut line, mut left, mut count) = (Vec::new(), most, 0);
    for message in messages.from(0) {
        line.clear();
        lines.write(&message, &mut line);
        let fits = line.len() as u64 <= left;
        if count > 0 && !fits {
            break;
        }
        left = left.saturating_sub(line.len() as u64);
        count += 1;
    }
    count
}

/// Whether that can be told without rendering them, which is so of nearly all pages.
fn surely_fit(messages: &Messages, envelope: &Envelope, most: u64) -> bool {
    if let Some(bytes) = messages.plain_size() {
        return envelope.lines_max(u64::from(messages.count()), bytes) <= most;
    }
    let mut left = most;
    messages.from(0).all(|message| match left.checked_sub(envelope.line_max(&message)) {
        Some(less) => {
            left = less;
            true
        }
        None => false,
    })
}

/// Why data cannot be put as asked: told of the few that cannot, so that the others need not be asked.
fn reason(data: Data<'_>) -> &'static str {
    match data {
        Data::Base64(text) if STANDARD.check(text.as_bytes()).is_err() => "not base64",
        Data::Base64(_) | Data::Raw(_) if String::from_utf8(envelope::bytes(data)).is_err() => "not UTF-8",
        Data::Base64(_) | Data::Raw(_) => "not JSON",
    }
}

/// Lines are text by construction; were one not, what can be read of it still comes through.
fn text_of(lines: Vec<u8>) -> String {
    json::text_of(lines).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// The most that is reserved for lines before any is written.
const MOST_RESERVED: usize = 4 << 20;

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("id", &self.id)
            .field("shard", &self.shard)
            .field("count", &self.count())
            .field("to", &self.to)
            .finish_non_exhaustive()
    }
}
