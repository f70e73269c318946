//! Posts batches to a sink, and judges its answers.

use crate::answer::NDJSON;
use crate::bindings::reading::{Batch, Message};
use crate::fetch::{Exchange, Failure, Limit, Request, Response};
use crate::settings::Sink;

/// How much of a batch is rendered at a time, in bytes.
pub(crate) const PIECE: u32 = 256 << 10;

/// How much of an error from the sink is read, in bytes, and how much of it is shown, in characters.
const EXCERPT: usize = 4096;
const EXCERPT_SHOWN: usize = 200;

/// The longest text in a header, in bytes. Shard identifiers have 128 bytes at most, and sequence numbers about as
/// many.
const HEADER_MAX: usize = 1024;

/// The result of posting a batch.
pub(crate) enum Delivery {
    Accepted,
    /// The sink will never accept the batch.
    Refused(String),
    /// The sink did not accept the batch, or we do not know whether it did.
    Failed(String),
}

/// What the headers of a batch say besides what it contains.
pub(crate) struct Label<'a> {
    pub(crate) stream: &'a str,
    /// The epoch of the lease. A sink may refuse batches of an epoch lower than the highest it has seen.
    pub(crate) epoch: u64,
    /// Why the batch is a dead letter.
    pub(crate) reason: Option<&'a str>,
}

/// Posts a batch as NDJSON.
pub(crate) fn post(
    batch: &Batch,
    lines: &mut Lines<'_>,
    sink: &Sink,
    label: &Label<'_>,
    deadline: u64,
) -> Result<Exchange, Failure> {
    let (shard, count) = (batch.shard(), batch.count());
    let message = |at: u32| batch.messages(at, 1).pop().map(position).unwrap_or_default();
    let (first, last) = (message(0), message(count.saturating_sub(1)));
    let mut headers = vec![
        ("content-type", NDJSON.to_owned()),
        ("idempotency-key", format!("{}/{shard}/{first}-{last}", label.stream)),
        ("x-kinesis-stream", label.stream.to_owned()),
        ("x-kinesis-shard", shard),
        ("x-kinesis-first", first),
        ("x-kinesis-last", last),
        ("x-kinesis-epoch", label.epoch.to_string()),
        ("x-kinesis-messages", count.to_string()),
    ];
    if let Some(reason) = label.reason {
        headers.push(("x-kinesis-reason", reason.to_owned()));
    }
    let mut headers: Vec<(String, Vec<u8>)> =
        headers.into_iter().map(|(name, value)| (name.to_owned(), header_text(&value).into_bytes())).collect();
    if let Some(authorization) = &sink.authorization {
        headers.push(("authorization".to_owned(), authorization.clone().into_bytes()));
    }
    Exchange::start(Request { url: &sink.url, headers, deadline, limit: Limit::Excerpt(EXCERPT) }, lines)
}

/// Decides what the sink's answer means. Only 2xx says that the sink has the batch.
pub(crate) fn classify(answer: Result<Response, Failure>) -> Delivery {
    let answer = match answer {
        Ok(answer) => answer,
        Err(failure) => return Delivery::Failed(format!("no answer from the sink: {}", failure.message())),
    };
    let text = String::from_utf8_lossy(&answer.body);
    let excerpt: String = text.trim_end().chars().take(EXCERPT_SHOWN).collect();
    let words = format!("the sink answered {}: {excerpt}", answer.status);
    match answer.status {
        200..=299 => Delivery::Accepted,
        // These are not about the batch but about credentials, a path that does not exist yet, or too many requests.
        401 | 403 | 404 | 407 | 408 | 421 | 425 | 429 => Delivery::Failed(words),
        400..=499 => Delivery::Refused(words),
        _ => Delivery::Failed(words),
    }
}

/// Identifies a message within its shard: its sequence number, and its subsequence number if it has one.
fn position(message: Message) -> String {
    match message.subsequence {
        Some(sub) => format!("{}.{sub}", message.sequence),
        None => message.sequence,
    }
}

/// Makes text fit for a header. A header that the host rejects would block the batch for ever.
fn header_text(text: &str) -> String {
    text.chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' }).take(HEADER_MAX).collect()
}

/// Renders the lines of a batch in pieces.
pub(crate) struct Lines<'a> {
    batch: &'a Batch,
    count: u32,
    /// The number of lines rendered so far.
    skip: u32,
    /// Their number of bytes.
    pub(crate) bytes: u64,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(batch: &'a Batch) -> Lines<'a> {
        Lines { batch, count: batch.count(), skip: 0, bytes: 0 }
    }

    /// Whether all lines have been rendered.
    pub(crate) fn is_complete(&self) -> bool {
        self.skip == self.count
    }
}

impl Iterator for Lines<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        if self.skip >= self.count {
            return None;
        }
        let lines = self.batch.lines(self.skip, PIECE);
        // The reader returns at least one line. If it did not, this would never end; `is_complete` notices.
        if lines.count == 0 {
            return None;
        }
        self.skip = self.skip.saturating_add(lines.count);
        self.bytes = self.bytes.saturating_add(lines.text.len() as u64);
        Some(lines.text.into_bytes())
    }
}

/// Estimates how long deliveries take from those made so far.
#[derive(Default)]
pub(crate) struct DeliveryTimes {
    /// The longest time, in milliseconds.
    longest: u64,
    /// The size of the largest batch, in bytes.
    largest: u64,
}

/// The most that a larger batch is expected to take, as a multiple of the longest time so far. With a higher factor, a
/// batch of four megabytes would wait for ever after one of a hundred bytes.
const LARGER_MAX: u64 = 2;

impl DeliveryTimes {
    /// The expected time to deliver this many bytes, in milliseconds: 0 for the first batch, of which nothing is known.
    pub(crate) fn expected(&self, bytes: u64) -> u64 {
        self.longest.saturating_mul((bytes / self.largest.max(1)).clamp(1, LARGER_MAX))
    }

    pub(crate) fn record(&mut self, time: u64, bytes: u64) {
        self.longest = self.longest.max(time);
        self.largest = self.largest.max(bytes);
    }
}
