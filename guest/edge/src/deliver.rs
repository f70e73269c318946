//! A batch on its way to the sink.

use crate::answer::NDJSON;
use crate::fetch::{Exchange, Failure, Limit, Request, Response};
use crate::reading::{Batch, Message};
use crate::settings::Sink;

/// How much of a batch is rendered at a time, in bytes.
pub(crate) const PIECE: u32 = 256 << 10;

/// How much of a refusal is read, in bytes, and told, in characters.
const EXCERPT: usize = 4096;
const EXCERPT_SHOWN: usize = 200;

/// The longest text in a header, in bytes. An identifier of a shard has 128 at most, a sequence number as many.
const HEADER_MAX: usize = 1024;

/// What came of it.
pub(crate) enum Delivery {
    /// The sink has it.
    Safe,
    /// The sink will not have it, whenever it comes.
    Refused(String),
    /// The sink does not have it, or did not say so.
    Failed(String),
}

/// What a sink is told beside the lines.
pub(crate) struct Label<'a> {
    pub(crate) stream: &'a str,
    /// Of the lease: a sink may refuse what comes with a lower one than it has seen.
    pub(crate) epoch: u64,
    /// Why it goes to the dead letters.
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
    let end = |at: u32| batch.messages(at, 1).pop().map(position).unwrap_or_default();
    let (first, last) = (end(0), end(count.saturating_sub(1)));
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
        headers.into_iter().map(|(name, value)| (name.to_owned(), plain(&value).into_bytes())).collect();
    if let Some(authorization) = &sink.authorization {
        headers.push(("authorization".to_owned(), authorization.clone().into_bytes()));
    }
    Exchange::start(Request { url: &sink.url, headers, deadline, limit: Limit::Excerpt(EXCERPT) }, lines)
}

/// What the answer to a batch means: 2xx that it is safe.
pub(crate) fn judge(answer: Result<Response, Failure>) -> Delivery {
    let answer = match answer {
        Ok(answer) => answer,
        Err(failure) => return Delivery::Failed(format!("the sink gives no answer: {}", failure.why())),
    };
    let text = String::from_utf8_lossy(&answer.body);
    let excerpt: String = text.trim_end().chars().take(EXCERPT_SHOWN).collect();
    let words = format!("the sink answers {}: {excerpt}", answer.status);
    match answer.status {
        200..=299 => Delivery::Safe,
        // Those say that it is not about the batch: credentials, a place that is not there yet, or too much at once.
        401 | 403 | 404 | 407 | 408 | 421 | 425 | 429 => Delivery::Failed(words),
        400..=499 => Delivery::Refused(words),
        _ => Delivery::Failed(words),
    }
}

/// Names a message in its shard: the sequence number, and the position within an aggregated record if there is one.
fn position(message: Message) -> String {
    match message.subsequence {
        Some(sub) => format!("{}.{sub}", message.sequence),
        None => message.sequence,
    }
}

/// Text fit for a header. A header that the host does not take would hold the batch up for ever.
fn plain(text: &str) -> String {
    text.chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' }).take(HEADER_MAX).collect()
}

/// The lines of a batch, some at a time.
pub(crate) struct Lines<'a> {
    batch: &'a Batch,
    count: u32,
    skip: u32,
    /// How many bytes were given.
    pub(crate) bytes: u64,
}

impl<'a> Lines<'a> {
    pub(crate) fn of(batch: &'a Batch) -> Lines<'a> {
        Lines { batch, count: batch.count(), skip: 0, bytes: 0 }
    }

    /// Whether all were given.
    pub(crate) fn is_whole(&self) -> bool {
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
        // At least one is given. If none were, those that are left would be missing.
        if lines.count == 0 {
            return None;
        }
        self.skip = self.skip.saturating_add(lines.count);
        self.bytes = self.bytes.saturating_add(lines.text.len() as u64);
        Some(lines.text.into_bytes())
    }
}

/// How long deliveries take, by those that were made.
#[derive(Default)]
pub(crate) struct Experience {
    /// The longest took so many milliseconds.
    longest: u64,
    /// The largest had so many bytes.
    largest: u64,
}

/// How many times as long as the longest a larger batch is taken to need at most. More would keep one of four megabytes
/// waiting for ever after some of a hundred bytes.
const LARGER_MAX: u64 = 2;

impl Experience {
    /// How long a delivery of so many bytes takes, in milliseconds, as far as one can tell: nothing is known of the first.
    pub(crate) fn expected(&self, bytes: u64) -> u64 {
        self.longest.saturating_mul((bytes / self.largest.max(1)).clamp(1, LARGER_MAX))
    }

    pub(crate) fn took(&mut self, time: u64, bytes: u64) {
        self.longest = self.longest.max(time);
        self.largest = self.largest.max(bytes);
    }
}
