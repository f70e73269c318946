//! A model of Kinesis: a seeded state machine without a clock or I/O.
//!
//! It takes requests at a given time and answers them as the service would, with the variations that its [`Quirks`]
//! allow. Each answer comes with its [`Facts`], which tell the oracle what it means. So the oracle need not parse the
//! text that the reader sees.

mod body;
mod list;
pub mod misbehavior;
pub mod quirks;
mod quota;
mod read;
mod rejection;
mod request;
pub mod stream;
#[cfg(test)]
mod tests;

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
use read::ShardIterator;
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
    /// A description of the stream.
    Described,
    /// A page of a listing.
    ///
    /// - `repeats`: an earlier page had one of its shards already.
    /// - `unusable`: the listing must be discarded, because its token leads to this page or a shard is its own
    ///   ancestor.
    /// - `lacks_parent`: it names a parent that no listing shows.
    Listed {
        shards: Vec<Listed>,
        first: bool,
        last: bool,
        repeats: bool,
        unusable: bool,
        lacks_parent: bool,
    },
    /// A shard iterator. `clamped`: the requested position has left the stream, and the service does not say so.
    Iterator {
        shard: usize,
        requested: StartingPosition,
        position: usize,
        clamped: bool,
    },
    /// A page of records.
    Read(Page),
    /// An answer with status 200 that Kinesis never gives.
    Invalid,
    Refused(Refusal),
}

/// Where an iterator was requested to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartingPosition {
    Oldest,
    Latest,
    /// At an arrival time.
    Time(u64),
    /// At the record with this index in its shard.
    At(usize),
    /// After the record before the one with this index.
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
    /// Where the iterator pointed. Records between it and `from` have left the stream since.
    pub iterator_at: usize,
    pub from: usize,
    pub to: usize,
    pub bytes: u64,
    pub has_next: bool,
    /// Whether the page shows an open shard to be at its tip.
    pub tip: bool,
    /// Whether this is the true end of the shard.
    pub end: bool,
    pub children: Vec<usize>,
}

/// How far the time of a signature may be from the service's time.
pub const SIGNATURE_MS: u64 = 5 * 60_000;

/// The service, with one stream.
pub struct Kinesis {
    pub quirks: Quirks,
    pub stream: Stream,
    chance: Chance,
    iterators: Vec<ShardIterator>,
    tokens: Vec<Token>,
    quotas: BTreeMap<usize, Quota>,
    /// Listings never show the stream as it was before this time. It is set between two runs, so that the second one
    /// sees at least what the first one saw.
    pub no_staler_than: u64,
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
            no_staler_than: 0,
        }
    }

    /// Deletes the stream and creates another of the same name.
    pub fn recreate(&mut self, shards: u32, now: u64) {
        let old = &self.stream;
        let retention = self.quirks.retention_ms;
        self.stream = Stream::new(&old.name, old.incarnation + 1, shards, self.quirks.sequences, retention, now);
        self.quotas.clear();
    }

    /// Answers a request. An error says why no reader may ever make this request.
    pub fn call(&mut self, target: &str, body: &Body, now: u64) -> Result<Answer, String> {
        let operation = match target.strip_prefix("Kinesis_20131202.") {
            Some("DescribeStreamSummary") => Operation::DescribeStreamSummary,
            Some("ListShards") => Operation::ListShards,
            Some("GetShardIterator") => Operation::GetShardIterator,
            Some("GetRecords") => Operation::GetRecords,
            _ => return Err(format!("unknown operation: {target}")),
        };
        self.stream.age(now);
        let request = body::parse(body)?;
        let mut writer = Writer::new(matches!(body, Body::Cbor(_)), self.quirks.times, self.quirks.explicit_nulls);
        let result = match operation {
            Operation::DescribeStreamSummary => self.describe(request, &mut writer)?,
            Operation::ListShards => self.list(request, now, &mut writer)?,
            Operation::GetShardIterator => self.seek(request, now, &mut writer)?,
            Operation::GetRecords => self.read(request, now, &mut writer)?,
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

    /// Refuses a request whose signature is too old or too new, with AWS's words: "Signature expired […] - 5 min."
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

    fn describe(&mut self, request: Value, writer: &mut Writer) -> Result<Handled, request::Forbidden> {
        let request: request::DescribeStreamSummary = request::parse(request)?;
        self.check_stream(request.stream_name.as_deref(), request.stream_arn.as_deref())?;
        if let Some(rejection) = self.spurious_error(Operation::DescribeStreamSummary) {
            return Ok(Err(rejection));
        }
        if self.quirks.describe_denied {
            let operation = Operation::DescribeStreamSummary;
            return Ok(Err(Rejection::spurious(Refusal::Denied, operation, &mut self.chance)));
        }
        let stream = &self.stream;
        // "GetRecords […] works in the state UPDATING", and may work in DELETING. The reader must ignore the status.
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

    /// Checks that a request names the stream by its name, its ARN or both, and by its ARN if that is required.
    fn check_stream(&self, name: Option<&str>, arn: Option<&str>) -> Result<(), request::Forbidden> {
        request::check_stream_required(&self.stream, name, arn)?;
        match arn {
            None if self.quirks.arn_only => Err("no StreamARN for a stream of another account".to_owned()),
            None | Some(_) => Ok(()),
        }
    }

    /// Draws whether to refuse a valid request, and how.
    fn spurious_error(&mut self, operation: Operation) -> Option<Rejection> {
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
        Some(Rejection::spurious(refusal, operation, &mut self.chance))
    }
}

/// The answer to a request that a reader may make.
type Handled = Result<Facts, Rejection>;
