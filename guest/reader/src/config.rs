//! The configuration as given, and as checked.
//!
//! A [`Config`] becomes a [`Plan`] once, in [`Plan::new`]. Past that, no function asks whether a field is sane.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use core::time::Duration;

use crate::envelope::Payload;
use crate::error::FieldError;
use crate::identifier::{is_name, stream_of};
use crate::message_id::MessageId;
use crate::pace::Pace;
use crate::printable::printable;
use crate::time::Timestamp;
use crate::wire::{StreamRef, Wire};

/// Which stream to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The name of a stream in the account of the host's credentials.
    Name(String),
    /// The ARN of a stream, which may belong to another account.
    Arn(String),
}

/// Where the first run begins; later runs go by the checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The oldest record that the stream still holds.
    TrimHorizon,
    /// What arrives from now on.
    Latest,
    /// The first record at or after this time.
    AtTimestamp(Timestamp),
}

/// When the reader is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// When every shard is no further than this behind its tip as it was at the opening, or closed.
    CaughtUp(Duration),
    /// When every shard is delivered up to this time of arrival.
    Time(Timestamp),
    /// Never, short of `stop` or `limits.max-messages`.
    Stopped,
}

/// What follows from a gap: records that were not read have left the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnGap {
    /// It is told, and reading goes on from what is left.
    Continue,
    /// It is told, and the reader ends, with the checkpoint before the gap.
    Fail,
}

/// What to do where the stream was deleted and made again since the last run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recreated {
    /// Read nothing.
    Refuse,
    /// Read the new stream from its oldest record. What was left of the old one is a gap.
    Follow,
}

/// Bounds on the work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Finish once this many messages are delivered, exactly.
    pub max_messages: Option<u64>,
    /// Records asked for in a page: 1 to 10,000.
    pub page_records: u32,
    /// Requests out at a time.
    pub requests: u32,
    /// Pages asked for or not yet delivered at a time, over all shards. Fewer where they are so large that all of them
    /// would pass 48 MiB.
    pub batches: u32,
    /// Bytes of the lines of a batch: a batch of more has one message. What does not fit of a page makes further batches.
    pub batch_bytes: u32,
    /// The share of the service's limits on reads of a shard that may be used, in percent: 1 to 100. None: no pace.
    pub pace: Option<u8>,
    /// Time between two listings of the shards.
    pub list_interval: Duration,
    /// Time after which a request counts as failed.
    pub request_timeout: Duration,
    /// First pause after a failure.
    pub backoff_first: Duration,
    /// Greatest pause after a failure.
    pub backoff_max: Duration,
    /// The number of consecutive failures on one shard, or on listing, that end the reader. Four are enough while no
    /// response of any kind has come, and where responses contradict themselves or the service's model. `None`: try
    /// forever.
    pub failures: Option<u32>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_messages: None,
            // The most that the service gives, and its own default: fewest calls for a backlog.
            page_records: 10_000,
            requests: 32,
            // Of small pages; of large ones there are fewer, for their memory's sake.
            batches: 12,
            // A full page of plain records, 10 MiB of data in base64 of which each byte may become six, and 10,000
            // envelopes: such a page is one batch, whatever it holds, and need not be measured. Only aggregates, of which
            // a page can have gigabytes, are taken in parts.
            batch_bytes: 96 << 20,
            pace: Some(100),
            // Children are found where their parents end; a listing is only the net below that.
            list_interval: Duration::from_secs(60),
            // Longer than the service takes for 10 MiB on a slow line, shorter than a user's patience.
            request_timeout: Duration::from_secs(30),
            backoff_first: Duration::from_millis(250),
            // The service's longest penalty, after a page of 10 MiB, is 5 s.
            backoff_max: Duration::from_secs(10),
            // With the pauses above: about a minute of trouble.
            failures: Some(12),
        }
    }
}

/// What to read and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Which stream.
    pub source: Source,
    /// Where the first run begins.
    pub start: Start,
    /// When the reader is done.
    pub until: Until,
    /// How the data of a message appears in a line.
    pub payload: Payload,
    /// How `_kinesis_msg_id` is made.
    pub message_id: MessageId,
    /// The encoding asked of Kinesis.
    pub wire: Wire,
    /// Make messages of the user records in what the Kinesis Producer Library aggregated.
    pub deaggregate: bool,
    /// What follows from a gap.
    pub on_gap: OnGap,
    /// What to do where the stream was made anew.
    pub recreated: Recreated,
    /// Bounds on the work.
    pub limits: Limits,
}

impl Config {
    /// Everything from the oldest record to the tip, as dlt's source renders it.
    pub fn new(source: Source) -> Config {
        Config {
            source,
            start: Start::TrimHorizon,
            until: Until::CaughtUp(Duration::ZERO),
            payload: Payload::Merged,
            message_id: MessageId::Sha256,
            wire: Wire::Json,
            // A payload that is an aggregate by chance, checksum and all, is none that a producer writes.
            deaggregate: true,
            // What is lost does not come back by not reading the rest.
            on_gap: OnGap::Continue,
            // Two streams in one place are for a person to decide.
            recreated: Recreated::Refuse,
            limits: Limits::default(),
        }
    }
}

/// A configuration that can be worked by.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) source: Source,
    /// The stream's name, also where the source is an ARN.
    pub(crate) name: String,
    pub(crate) start: Start,
    pub(crate) until: Until,
    pub(crate) payload: Payload,
    pub(crate) message_id: MessageId,
    pub(crate) wire: Wire,
    pub(crate) deaggregate: bool,
    pub(crate) on_gap: OnGap,
    pub(crate) recreated: Recreated,
    pub(crate) limits: Limits,
    pub(crate) pace: Pace,
}

impl Plan {
    pub(crate) fn new(config: Config) -> Result<Plan, FieldError> {
        let Config { source, start, until, payload, message_id, wire, deaggregate, on_gap, recreated, limits } = config;
        let name = match &source {
            Source::Name(name) => name.clone(),
            Source::Arn(arn) => stream_of(arn)
                .ok_or_else(|| field("source", format!("no ARN of a Kinesis stream: \"{arn}\"")))?
                .to_owned(),
        };
        if !is_name(&name) {
            return Err(field("source", format!("no name of a stream, 1 to 128 of [a-zA-Z0-9_.-]: \"{name}\"")));
        }
        if let (Start::AtTimestamp(from), Until::Time(to)) = (start, until)
            && to < from
        {
            return Err(field("until", format!("ends before the start: {} < {}", to.0, from.0)));
        }
        let whole = |path: &str, value: u64, least: u64, most: u64| {
            if (least..=most).contains(&value) {
                Ok(())
            } else {
                Err(field(path, format!("not from {least} to {most}: {value}")))
            }
        };
        let ms = |length: Duration| u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
        const DAY: u64 = 24 * 60 * 60 * 1000;
        whole("limits.page-records", limits.page_records.into(), 1, 10_000)?;
        whole("limits.requests", limits.requests.into(), 1, 100_000)?;
        whole("limits.batches", limits.batches.into(), 1, 100_000)?;
        whole("limits.batch-bytes", limits.batch_bytes.into(), 1, u64::from(u32::MAX))?;
        whole("limits.list-interval", ms(limits.list_interval), 1_000, DAY)?;
        whole("limits.request-timeout", ms(limits.request_timeout), 1, DAY)?;
        whole("limits.backoff-first", ms(limits.backoff_first), 1, DAY)?;
        whole("limits.backoff-max", ms(limits.backoff_max), ms(limits.backoff_first), DAY)?;
        if let Some(messages) = limits.max_messages {
            whole("limits.max-messages", messages, 1, u64::MAX)?;
        }
        if let Some(share) = limits.pace {
            whole("limits.pace", share.into(), 1, 100)?;
        }
        if let Some(failures) = limits.failures {
            whole("limits.failures", failures.into(), 1, u64::from(u32::MAX))?;
        }
        let pace = Pace::new(limits.pace);
        Ok(Plan { source, name, start, until, payload, message_id, wire, deaggregate, on_gap, recreated, limits, pace })
    }

    /// The stream as requests name it.
    pub(crate) fn stream(&self) -> StreamRef<'_> {
        match &self.source {
            Source::Name(name) => StreamRef::Name(name),
            Source::Arn(arn) => StreamRef::Arn(arn),
        }
    }

    /// The ARN, if that is how the stream was given.
    pub(crate) fn arn(&self) -> Option<&str> {
        match &self.source {
            Source::Name(_) => None,
            Source::Arn(arn) => Some(arn),
        }
    }
}

fn field(path: &str, message: String) -> FieldError {
    FieldError { field: path.to_owned(), message: printable(&message).into_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(change: impl FnOnce(&mut Config)) -> Result<Plan, FieldError> {
        let mut config = Config::new(Source::Name("orders".to_owned()));
        change(&mut config);
        Plan::new(config)
    }

    #[test]
    fn what_cannot_be_is_named_by_its_field() {
        let refused = |change: fn(&mut Config)| config(change).expect_err("it cannot be").field;
        assert_eq!(refused(|c| c.source = Source::Name("a b".to_owned())), "source");
        assert_eq!(refused(|c| c.source = Source::Name(String::new())), "source");
        let told = config(|c| c.source = Source::Name("\u{1b}[2J".repeat(500))).expect_err("it cannot be").message;
        assert!(told.contains(r#": "\u{1b}[2J\u{1b}"#) && told.ends_with(" characters more)"), "{told}");
        assert_eq!(refused(|c| c.source = Source::Arn("arn:aws:sqs:eu-west-1:000000000000:x".to_owned())), "source");
        assert_eq!(refused(|c| c.limits.page_records = 0), "limits.page-records");
        assert_eq!(refused(|c| c.limits.page_records = 10_001), "limits.page-records");
        assert_eq!(refused(|c| c.limits.pace = Some(0)), "limits.pace");
        assert_eq!(refused(|c| c.limits.pace = Some(101)), "limits.pace");
        assert_eq!(refused(|c| c.limits.batches = 0), "limits.batches");
        assert_eq!(refused(|c| c.limits.batch_bytes = 0), "limits.batch-bytes");
        assert_eq!(refused(|c| c.limits.max_messages = Some(0)), "limits.max-messages");
        assert_eq!(
            refused(|c| {
                c.start = Start::AtTimestamp(Timestamp(2));
                c.until = Until::Time(Timestamp(1));
            }),
            "until"
        );
    }

    #[test]
    fn an_arn_names_its_stream() {
        let arn = "arn:aws-cn:kinesis:cn-north-1:123456789012:stream/a.b-c_1";
        let plan = config(|c| c.source = Source::Arn(arn.to_owned())).expect("a good ARN");
        assert_eq!(plan.name, "a.b-c_1");
        assert_eq!(plan.arn(), Some(arn));
    }
}
