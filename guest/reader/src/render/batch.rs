//! The messages of one page of one shard, or of part of a page, kept as they arrived and rendered on demand.
//!
//! The lines of a page can take many times the space of the page itself: an aggregated record of 1 MiB has room for a
//! hundred thousand messages, each of which gets an envelope and a copy of its partition key. The size of a batch is
//! therefore limited by its lines, and a page that is too large for one batch becomes several ([`fitting`]).

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::iter;
use core::time::Duration;

use base64_simd::STANDARD;
use kinesis_reader_json as json;

use crate::checkpoint::{self, Identity, Position};
use crate::ids::BatchId;
use crate::pages::messages::Messages;
use crate::pages::page::Data;
use crate::render::envelope::{self, Envelope, Rendered};
use crate::time::Timestamp;

/// Messages from one page of one shard: at least one, in order.
#[must_use = "a batch that is dropped is not delivered, so its shard is not read any further"]
pub struct Batch {
    pub(crate) id: BatchId,
    pub(crate) shard: Arc<str>,
    pub(crate) stream: Arc<Identity>,
    pub(crate) envelope: Arc<Envelope>,
    pub(crate) messages: Messages,
    pub(crate) behind: Duration,
    /// The shard's position once the batch is delivered.
    pub(crate) to: Position,
}

/// Some lines of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lines {
    /// Newline-delimited JSON.
    pub text: String,
    /// The number of lines in the text.
    pub count: u32,
    /// How many of them have data that is not in the requested form.
    pub invalid: u32,
}

/// Some lines of a batch whose data is not in the requested form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidLines {
    /// Newline-delimited JSON, with the reason in each line as `_kinesis_reason`.
    pub text: String,
    /// The number of lines in the text.
    pub count: u32,
    /// The index of the message to continue at.
    pub next: u32,
}

/// A message and its envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The message id, as in its line.
    pub id: String,
    /// The sequence number of its record.
    pub sequence: String,
    /// The index within an aggregated record, or `None` if the record was not aggregated.
    pub subsequence: Option<u32>,
    /// `None` if the stream distributes records without partition keys.
    pub partition_key: Option<String>,
    /// The approximate time when Kinesis received the record.
    pub arrived: Timestamp,
    /// The payload.
    pub data: Vec<u8>,
}

impl Batch {
    /// Returns the id to pass to [`handle_delivered`](crate::Reader::handle_delivered).
    pub fn id(&self) -> BatchId {
        self.id
    }

    /// Returns the shard that all messages come from.
    pub fn shard(&self) -> &str {
        &self.shard
    }

    /// Returns the number of messages, after deaggregation.
    pub fn count(&self) -> u32 {
        self.messages.count()
    }

    /// Returns the size of the messages' data in bytes.
    pub fn size(&self) -> u64 {
        self.messages.size()
    }

    /// Returns how far the end of the batch is behind the tip of the shard.
    pub fn behind(&self) -> Duration {
        self.behind
    }

    /// Returns a checkpoint of this shard alone, as it is once this batch is delivered.
    pub fn checkpoint(&self) -> String {
        checkpoint::write(&self.stream, &mut iter::once((&*self.shard, &self.to)))
    }

    /// Returns the messages from index `skip` on, as newline-delimited JSON: as many whole lines as fit into `size`
    /// bytes, but at least one if any are left.
    pub fn lines(&self, skip: u32, size: u32) -> Lines {
        let max = size as usize;
        let mut text = Vec::with_capacity(max.min(RESERVED_MAX));
        let mut lines = self.envelope.lines();
        let (mut count, mut invalid) = (0, 0);
        for message in self.messages.from(skip) {
            let before = text.len();
            let rendered = lines.write(&message, &mut text);
            if count > 0 && text.len() > max {
                text.truncate(before);
                break;
            }
            count += 1;
            invalid += match rendered {
                Rendered::AsAsked => 0,
                Rendered::Invalid => 1,
            };
            if text.len() >= max {
                break;
            }
        }
        Lines { text: into_text(text), count, invalid }
    }

    /// Returns the lines of only those messages, from index `skip` on, whose data is not in the requested form, each
    /// with the reason: as many as fit into `size` bytes, but at least one if any are left.
    pub fn invalid_lines(&self, skip: u32, size: u32) -> InvalidLines {
        let max = size as usize;
        let mut text = Vec::new();
        let mut lines = self.envelope.lines();
        let (mut count, mut next) = (0, skip.min(self.count()));
        for message in self.messages.from(skip) {
            let before = text.len();
            match lines.write(&message, &mut text) {
                Rendered::AsAsked => text.truncate(before),
                Rendered::Invalid => {
                    // Reopen the line to append a member. Lines of invalid data always have a member before it.
                    text.truncate(text.len().saturating_sub(b"}\n".len()));
                    text.extend_from_slice(b",\"_kinesis_reason\":\"");
                    text.extend_from_slice(reason(message.data).as_bytes());
                    text.extend_from_slice(b"\"}\n");
                    if count > 0 && text.len() > max {
                        text.truncate(before);
                        break;
                    }
                    count += 1;
                }
            }
            next += 1;
        }
        InvalidLines { text: into_text(text), count, next }
    }

    /// Returns the messages from index `skip` on: as many as fit into `size` bytes of ids, sequence numbers, partition
    /// keys and data, but at least one if any are left.
    pub fn messages(&self, skip: u32, size: u32) -> Vec<Message> {
        let mut left = u64::from(size);
        let mut messages = Vec::new();
        for message in self.messages.from(skip) {
            let key = message.partition_key.map_or(0, str::len);
            let id = self.envelope.message_id(message.sequence, message.subsequence);
            let texts = (id.len() + message.sequence.len() + key) as u64;
            // Check before decoding. Invalid base64 is longer than its computed size, so it is checked again below.
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

/// Returns how many messages, from the first on, have lines that together fit into `max` bytes, but at least one if
/// there are any.
pub(crate) fn fitting(messages: &Messages, envelope: &Envelope, max: u64) -> u32 {
    if certainly_fit(messages, envelope, max) {
        return messages.count();
    }
    let mut lines = envelope.lines();
    let (mut line, mut left, mut count) = (Vec::new(), max, 0);
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

/// Whether the lines of all messages fit, judging by upper bounds of their size. This avoids rendering nearly every
/// page just to measure it.
fn certainly_fit(messages: &Messages, envelope: &Envelope, max: u64) -> bool {
    if let Some(bytes) = messages.plain_size() {
        return envelope.lines_max(u64::from(messages.count()), bytes) <= max;
    }
    let mut left = max;
    messages.from(0).all(|message| match left.checked_sub(envelope.line_max(&message)) {
        Some(less) => {
            left = less;
            true
        }
        None => false,
    })
}

/// Returns why data is not in the requested form. Only computed for invalid data, to keep the common path fast.
fn reason(data: Data<'_>) -> &'static str {
    match data {
        Data::Base64(text) if STANDARD.check(text.as_bytes()).is_err() => "not base64",
        Data::Base64(_) | Data::Raw(_) if String::from_utf8(envelope::bytes(data)).is_err() => "not UTF-8",
        Data::Base64(_) | Data::Raw(_) => "not JSON",
    }
}

/// Lines are always UTF-8, so the lossy conversion is unreachable; it avoids a panic.
fn into_text(lines: Vec<u8>) -> String {
    json::text_of(lines).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// The maximum number of bytes reserved before any line is written.
const RESERVED_MAX: usize = 4 << 20;

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
