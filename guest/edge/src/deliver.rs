//! A batch on its way to the sink.

use crate::answer::NDJSON;
use crate::fetch::{Exchange, Request};
use crate::reading::{Batch, Message};
use crate::settings::Sink;

/// How much of a batch is rendered at a time, in bytes.
pub(crate) const PIECE: u32 = 256 << 10;

/// How much of a refusal is told, in characters. It may go into a header, so it is ASCII.
const EXCERPT: usize = 200;

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

/// Posts a batch as NDJSON. 2xx means that it is safe.
pub(crate) fn push(batch: &Batch, sink: &Sink, label: &Label<'_>, deadline: u64) -> Delivery {
    let (shard, count) = (batch.shard(), batch.count());
    let end = |at: u32| batch.messages(at, 1).pop().map(place).unwrap_or_default();
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
    if let Some(authorization) = &sink.authorization {
        headers.push(("authorization", authorization.clone()));
    }
    let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value.into_bytes())).collect();
    let request = Request { url: &sink.url, headers, deadline };
    let answer = match Exchange::start(request, pieces(batch)).and_then(Exchange::wait) {
        Ok(answer) => answer,
        Err(failure) => return Delivery::Failed(format!("the sink gives no answer: {}", failure.why())),
    };
    let text = String::from_utf8_lossy(&answer.body);
    let excerpt: String = text.chars().take(EXCERPT).filter(|c| c.is_ascii_graphic() || *c == ' ').collect();
    let words = format!("the sink answers {}: {excerpt}", answer.status);
    match answer.status {
        200..=299 => Delivery::Safe,
        // Those say that it is not about the batch: credentials, a place that is not there yet, or too much at once.
        401 | 403 | 404 | 407 | 408 | 421 | 425 | 429 => Delivery::Failed(words),
        400..=499 => Delivery::Refused(words),
        _ => Delivery::Failed(words),
    }
}

/// Names a message in its shard: the sequence number, and the place within an aggregated record if there is one.
fn place(message: Message) -> String {
    match message.subsequence {
        Some(sub) => format!("{}.{sub}", message.sequence),
        None => message.sequence,
    }
}

/// The lines of a batch, some at a time.
pub(crate) fn pieces(batch: &Batch) -> impl Iterator<Item = Vec<u8>> {
    let count = batch.count();
    let mut skip = 0;
    std::iter::from_fn(move || {
        if skip >= count {
            return None;
        }
        let lines = batch.lines(skip, PIECE);
        skip += lines.count.max(1);
        Some(lines.text.into_bytes())
    })
}
