//! A model of Kinesis: a seeded machine without clock or I/O.
//!
//! It takes requests as JSON text at a given time and gives the answer that the service would give, within the
//! liberties that its [`Habits`] allow. Beside each answer stand the [`Facts`]: what the answer means, for the oracle,
//! which is not to learn it from the text that the reader sees.

pub mod habits;
mod json;
mod list;
mod quota;
mod read;
mod rejection;
mod request;
pub mod stream;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use habits::Habits;
pub use rejection::Refusal;
pub use stream::Stream;

use crate::chance::Chance;
use list::Token;
use quota::Quota;
use read::Iterator;
use rejection::Rejection;

/// The operations that a reader needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    DescribeStreamSummary,
    ListShards,
    GetShardIterator,
    GetRecords,
}

/// An answer of the service.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
    pub facts: Facts,
}

/// What an answer means.
#[derive(Clone, Debug)]
pub enum Facts {
    /// The stream was described.
    Described,
    /// A page of a listing.
    Listed { shards: Vec<Listed>, first: bool, last: bool },
    /// An iterator. `clamped`: the place asked for has left the stream, and the service says nothing of it.
    Sought { shard: usize, iterator: String, position: usize, latest: bool, clamped: bool },
    /// A page of records, from one position up to another.
    Read(Page),
    /// A refusal.
    Refused(Refusal),
}

/// A shard in a listing.
#[derive(Clone, Copy, Debug)]
pub struct Listed {
    pub shard: usize,
    pub open: bool,
}

/// A page of records.
#[derive(Clone, Debug)]
pub struct Page {
    pub shard: usize,
    /// Where the iterator stood. Records between it and `from` left the stream while it was in hand.
    pub asked: usize,
    pub from: usize,
    pub to: usize,
    pub bytes: u64,
    pub next: Option<String>,
    /// The shard has no more than this.
    pub end: bool,
    pub children: Vec<usize>,
}

/// The service, with one stream.
pub struct Kinesis {
    pub habits: Habits,
    pub stream: Stream,
    chance: Chance,
    iterators: Vec<Iterator>,
    tokens: Vec<Token>,
    quotas: BTreeMap<usize, Quota>,
    /// Listings show no moment before this one: between two runs there is time enough for what the first one saw.
    pub settled: u64,
}

impl Kinesis {
    pub fn new(habits: Habits, stream: Stream, chance: Chance) -> Kinesis {
        Kinesis {
            habits,
            stream,
            chance,
            iterators: Vec::new(),
            tokens: Vec::new(),
            quotas: BTreeMap::new(),
            settled: 0,
        }
    }

    /// Deletes the stream and makes another of the same name.
    pub fn recreate(&mut self, shards: u32, now: u64) {
        let old = &self.stream;
        let retention = self.habits.retention_ms;
        self.stream = Stream::new(&old.name, old.incarnation + 1, shards, self.habits.sequences, retention, now);
        self.quotas.clear();
    }

    /// Answers a request. An error is a request that no reader may make, and why.
    pub fn call(&mut self, target: &str, body: &str, now: u64) -> Result<Answer, String> {
        let operation = match target.strip_prefix("Kinesis_20131202.") {
            Some("DescribeStreamSummary") => Operation::DescribeStreamSummary,
            Some("ListShards") => Operation::ListShards,
            Some("GetShardIterator") => Operation::GetShardIterator,
            Some("GetRecords") => Operation::GetRecords,
            _ => return Err(format!("no such operation: {target}")),
        };
        self.stream.age(now);
        let result = match operation {
            Operation::DescribeStreamSummary => self.describe(body)?,
            Operation::ListShards => self.list(body, now)?,
            Operation::GetShardIterator => self.seek(body, now)?,
            Operation::GetRecords => self.read(body, now)?,
        };
        Ok(match result {
            Ok((body, facts)) => Answer { status: 200, body, facts },
            Err(rejection) => Answer {
                status: rejection.status,
                body: rejection.body(self.habits.odd_errors),
                facts: Facts::Refused(rejection.refusal),
            },
        })
    }

    fn describe(&mut self, body: &str) -> Result<Served, request::Forbidden> {
        let asked: request::DescribeStreamSummary = request::parse(body)?;
        request::names(&self.stream, asked.stream_name.as_deref(), asked.stream_arn.as_deref())?;
        if let Some(rejection) = self.groundless(Operation::DescribeStreamSummary) {
            return Ok(Err(rejection));
        }
        if self.habits.describe_denied {
            let operation = Operation::DescribeStreamSummary;
            return Ok(Err(Rejection::groundless(Refusal::Denied, operation, &mut self.chance)));
        }
        let stream = &self.stream;
        let summary = json::Object::new()
            .text("StreamName", &stream.name)
            .text("StreamARN", &stream.arn)
            .text("StreamStatus", self.chance.of(&["ACTIVE", "UPDATING"]))
            .raw("RetentionPeriodHours", "24")
            .raw("StreamCreationTimestamp", &self.time(stream.created))
            .raw("EnhancedMonitoring", "[]")
            .raw("OpenShardCount", &stream.open().len().to_string())
            .raw("ConsumerCount", "0")
            .end();
        Ok(Ok((json::Object::new().raw("StreamDescriptionSummary", &summary).end(), Facts::Described)))
    }

    /// A refusal that has no ground in the request, if one is due.
    fn groundless(&mut self, operation: Operation) -> Option<Rejection> {
        let errors = self.habits.errors;
        let refusal = if self.chance.percent(errors.throttled) {
            Refusal::Throttled
        } else if self.chance.percent(errors.transient) {
            Refusal::Transient
        } else if operation == Operation::GetRecords && self.chance.percent(errors.iterator_expired) {
            Refusal::Expired
        } else if operation != Operation::DescribeStreamSummary && self.chance.percent(errors.fatal) {
            Refusal::Fatal
        } else {
            return None;
        };
        Some(Rejection::groundless(refusal, operation, &mut self.chance))
    }

    /// A time as the service writes it: seconds since the epoch.
    fn time(&self, ms: u64) -> String {
        match self.habits.times {
            habits::Times::Plain => format!("{}.{:03}", ms / 1000, ms % 1000),
            habits::Times::Scientific => format!("{:E}", ms as f64 / 1000.0),
            // As a number of seconds comes out that was held in 64 bits.
            habits::Times::Fine if ms.is_multiple_of(2) => format!("{}.{:03}0002", ms / 1000, ms % 1000),
            habits::Times::Fine => format!("{}.{:03}9998", (ms - 1) / 1000, (ms - 1) % 1000),
        }
    }
}

/// An answer, or a refusal that the service may give to a request that is in order.
type Served = Result<(String, Facts), Rejection>;
