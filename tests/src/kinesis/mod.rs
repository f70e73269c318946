//! A model of Kinesis: a seeded machine without clock or I/O.
//!
//! It takes requests at a given time and gives the answer that the service would give, within the
//! liberties that its [`Quirks`] allow. Beside each answer stand the [`Facts`]: what the answer means, for the oracle,
//! which is not to learn it from the text that the reader sees.

mod body;
mod list;
pub mod quirks;
mod quota;
mod read;
mod rejection;
mod request;
pub mod stream;
#[cfg(test)]
mod tests;
pub mod wrong;

use std::collections::BTreeMap;

pub use quirks::Quirks;
pub use rejection::Refusal;
pub use stream::Stream;

use kinesis_reader_machine::wire::Body;
use serde_json::Value;

use crate::chance::Chance;
use body::Writer;
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
    pub body: Body,
    pub facts: Facts,
}

/// What an answer means.
#[derive(Clone, Debug)]
pub enum Facts {
    /// The stream was described.
    Described,
    /// A page of a listing. `again`: an earlier page showed one of its shards already. `wrong`: the listing cannot be used,
    /// because its token leads to this page, or a shard is its own ancestor. `lacks`: it names a parent that no listing
    /// shows.
    Listed { shards: Vec<Listed>, first: bool, last: bool, again: bool, wrong: bool, lacks: bool },
    /// An iterator. `clamped`: the place asked for has left the stream, and the service says nothing of it.
    Sought { shard: usize, asked: Asked, position: usize, clamped: bool },
    /// A page of records, from one position up to another.
    Read(Page),
    /// A response of status 200 that Kinesis never gives.
    Garbled,
    /// A refusal.
    Refused(Refusal),
}

/// Where an iterator was asked to point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Oldest,
    Latest,
    /// At a time of arrival.
    Time(u64),
    /// At the record of this number in its shard.
    At(usize),
    /// After the one before it.
    After(usize),
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
    /// It has a next iterator.
    pub goes_on: bool,
    /// The shard has no more than this.
    pub end: bool,
    pub children: Vec<usize>,
}

/// How far the time of a signature may be from the service's own.
pub const SIGNATURE_MS: u64 = 5 * 60_000;

/// The service, with one stream.
pub struct Kinesis {
    pub quirks: Quirks,
    pub stream: Stream,
    chance: Chance,
    iterators: Vec<Iterator>,
    tokens: Vec<Token>,
    quotas: BTreeMap<usize, Quota>,
    /// Listings show no moment before this one: between two runs there is time enough for what the first one saw.
    pub settled: u64,
}

impl Kinesis {
    pub fn new(quirks: Quirks, stream: Stream, chance: Chance) -> Kinesis {
        Kinesis {
            quirks,
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
        let retention = self.quirks.retention_ms;
        self.stream = Stream::new(&old.name, old.incarnation + 1, shards, self.quirks.sequences, retention, now);
        self.quotas.clear();
    }

    /// Answers a request. An error is a request that no reader may make, and why.
    pub fn call(&mut self, target: &str, body: &Body, now: u64) -> Result<Answer, String> {
        let operation = match target.strip_prefix("Kinesis_20131202.") {
            Some("DescribeStreamSummary") => Operation::DescribeStreamSummary,
            Some("ListShards") => Operation::ListShards,
            Some("GetShardIterator") => Operation::GetShardIterator,
            Some("GetRecords") => Operation::GetRecords,
            _ => return Err(format!("no such operation: {target}")),
        };
        self.stream.age(now);
        let asked = body::parse(body)?;
        let mut writer = Writer::new(matches!(body, Body::Cbor(_)), self.quirks.times, self.quirks.explicit_nulls);
        let result = match operation {
            Operation::DescribeStreamSummary => self.describe(asked, &mut writer)?,
            Operation::ListShards => self.list(asked, now, &mut writer)?,
            Operation::GetShardIterator => self.seek(asked, now, &mut writer)?,
            Operation::GetRecords => self.read(asked, now, &mut writer)?,
        };
        Ok(match result {
            Ok(facts) => Answer { status: 200, body: writer.finish(), facts },
            Err(rejection) => Answer {
                status: rejection.status,
                facts: Facts::Refused(rejection.refusal),
                body: rejection.body(self.quirks.odd_errors, writer),
            },
        })
    }

    /// What the service says to a signature of this time, if it does not accept it: "Signature expired […] - 5 min."
    pub fn refuse_signature(&self, signed: u64, body: &Body, now: u64) -> Option<Answer> {
        if !self.quirks.checks_signatures || signed.abs_diff(now) <= SIGNATURE_MS {
            return None;
        }
        let message = match signed < now {
            true => "Signature expired: 20251123T120000Z is now earlier than 20251123T120500Z (… - 5 min.)",
            false => "Signature not yet current: 20251123T120500Z is still later than 20251123T120000Z (… + 5 min.)",
        };
        let rejection = Rejection::new(Refusal::Clock, "InvalidSignatureException", message);
        let writer = Writer::new(matches!(body, Body::Cbor(_)), self.quirks.times, self.quirks.explicit_nulls);
        let body = rejection.body(self.quirks.odd_errors, writer);
        Some(Answer { status: rejection.status, facts: Facts::Refused(rejection.refusal), body })
    }

    fn describe(&mut self, asked: Value, writer: &mut Writer) -> Result<Served, request::Forbidden> {
        let asked: request::DescribeStreamSummary = request::parse(asked)?;
        self.names(asked.stream_name.as_deref(), asked.stream_arn.as_deref())?;
        if let Some(rejection) = self.groundless(Operation::DescribeStreamSummary) {
            return Ok(Err(rejection));
        }
        if self.quirks.describe_denied {
            let operation = Operation::DescribeStreamSummary;
            return Ok(Err(Rejection::groundless(Refusal::Denied, operation, &mut self.chance)));
        }
        let stream = &self.stream;
        // "GetRecords […] works in the state UPDATING", and may work in DELETING: the state decides nothing.
        let status = self.chance.of(&["ACTIVE", "UPDATING", "CREATING", "DELETING"]);
        writer.object(|outer| {
            outer.member("StreamDescriptionSummary", |summary| {
                summary.text("StreamName", &stream.name);
                summary.text("StreamARN", &stream.arn);
                summary.text("StreamStatus", status);
                summary.number("RetentionPeriodHours", 24);
                summary.time("StreamCreationTimestamp", stream.created);
                summary.array("EnhancedMonitoring", &[] as &[u8], |_, _| ());
                summary.number("OpenShardCount", stream.open().len() as u64);
                summary.number("ConsumerCount", 0);
            });
        });
        Ok(Ok(Facts::Described))
    }

    /// The stream must be named, in one way or in two that agree, and by its ARN where that is needed.
    fn names(&self, name: Option<&str>, arn: Option<&str>) -> Result<(), request::Forbidden> {
        request::names(&self.stream, name, arn)?;
        match arn {
            None if self.quirks.arn_only => Err("no StreamARN, and the stream is of another account".to_owned()),
            None | Some(_) => Ok(()),
        }
    }

    /// A refusal that has no ground in the request, if one is due.
    fn groundless(&mut self, operation: Operation) -> Option<Rejection> {
        let errors = self.quirks.errors;
        let refusal = if self.chance.percent(errors.throttled) {
            Refusal::Throttled
        } else if self.chance.percent(errors.transient) {
            Refusal::Transient
        } else if operation == Operation::GetRecords && self.chance.percent(errors.iterator_expired) {
            Refusal::Expired
        } else if self.chance.percent(errors.credentials) {
            Refusal::Credentials
        } else if operation != Operation::DescribeStreamSummary && self.chance.percent(errors.fatal) {
            Refusal::Fatal
        } else {
            return None;
        };
        Some(Rejection::groundless(refusal, operation, &mut self.chance))
    }
}

/// An answer, or a refusal that the service may give to a request that is in order.
type Served = Result<Facts, Rejection>;
