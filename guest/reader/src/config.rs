//! The configuration, as given and as validated.
//!
//! A [`Config`] is validated once, in [`Plan::new`]. Code that has a [`Plan`] does not check its fields again.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use core::time::Duration;

use crate::error::FieldError;
use crate::identifier::{is_name, stream_of};
use crate::machine::pace::Pace;
use crate::printable::printable;
use crate::render::envelope::Payload;
use crate::render::message_id::MessageId;
use crate::time::Timestamp;
use crate::wire::{StreamRef, Wire};

/// The stream to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The name of a stream in the account of the host's credentials.
    Name(String),
    /// The ARN of a stream, which may belong to another account.
    Arn(String),
}

/// Where the first run begins. Later runs continue from the checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The oldest record that the stream still holds.
    TrimHorizon,
    /// Records that arrive from now on.
    Latest,
    /// The first record that arrived at this time or later.
    AtTimestamp(Timestamp),
}

/// When the reader finishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// When every shard is at most this far behind where its tip was when the reader was opened, or is closed and
    /// delivered to its end.
    CaughtUp(Duration),
    /// When every shard is delivered up to, but not including, its first message that arrived at this time or later.
    Time(Timestamp),
    /// Never, except by `stop` or `limits.max-messages`.
    Stopped,
}

/// What to do about a gap: records that left the stream before they were read. Every gap is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnGap {
    /// Continue with what is left.
    Continue,
    /// Finish, and leave the checkpoint before the gap.
    Fail,
}

/// What to do if the stream was deleted and created again since the last run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recreated {
    /// Finish before anything is read.
    Refuse,
    /// Read the new stream from its oldest record. Each shard of the old one that was not read to its end is a gap.
    Follow,
}

/// Bounds on the reader's work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Finish after exactly this many messages.
    pub max_messages: Option<u64>,
    /// The maximum number of records in a page: 1 to 10,000.
    pub page_records: u32,
    /// The maximum number of requests in flight.
    pub requests: u32,
    /// The maximum number of pages that are requested or not yet delivered, over all shards. If pages are so large that
    /// this many would take more than 48 MiB, there are fewer.
    pub batches: u32,
    /// The maximum size of a batch's lines in bytes. A batch that exceeds it has a single message. The rest of a page
    /// follows in further batches.
    pub batch_bytes: u32,
    /// The share of the service's limits on reading a shard that may be used, in percent: 1 to 100. `None` disables
    /// pacing.
    pub pace: Option<u8>,
    /// The time between two requests to a shard at its tip.
    pub idle_interval: Duration,
    /// The time between two listings of the shards.
    pub list_interval: Duration,
    /// The time after which an unanswered request counts as failed.
    pub request_timeout: Duration,
    /// The first pause after a failure.
    pub backoff_first: Duration,
    /// The longest pause after a failure.
    pub backoff_max: Duration,
    /// The number of consecutive failures, on one shard or on listing shards, that ends the reader. Four are enough as
    /// long as there has been no response at all, and if responses contradict themselves or the service's model.
    /// `None`: retry forever.
    pub failures: Option<u32>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_messages: None,
            // The service's maximum and its own default. It takes the fewest calls to work off a backlog.
            page_records: 10_000,
            requests: 32,
            // This applies to small pages. Large pages are limited further, by their size.
            batches: 12,
            // Enough for a full page of plain records: 10 MiB of data in base64, each byte of which may become six, and
            // 10,000 envelopes. Such a page always fits into one batch and need not be measured. Only aggregated
            // records, whose lines can take gigabytes per page, are split.
            batch_bytes: 96 << 20,
            // The rest is for the other consumers of the shard.
            pace: Some(80),
            // What AWS recommends: "poll each shard one time per second per application".
            idle_interval: Duration::from_secs(1),
            // Children are normally found when their parents end; listings only catch what that misses.
            list_interval: Duration::from_secs(60),
            // Longer than the service takes to send 10 MiB on a slow line, shorter than a user's patience.
            request_timeout: Duration::from_secs(30),
            backoff_first: Duration::from_millis(250),
            // Twice the service's longest penalty, which is 5 s after a page of 10 MiB.
            backoff_max: Duration::from_secs(10),
            // With the pauses above, about a minute of failures.
            failures: Some(12),
        }
    }
}

/// What to read, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The stream to read.
    pub source: Source,
    /// Where the first run begins.
    pub start: Start,
    /// When the reader finishes.
    pub until: Until,
    /// How the data of a message appears in its line.
    pub payload: Payload,
    /// How `_kinesis_msg_id` is computed.
    pub message_id: MessageId,
    /// The wire encoding of requests and responses.
    pub wire: Wire,
    /// Whether to split the aggregated records of the Kinesis Producer Library into messages, one per user record.
    pub deaggregate: bool,
    /// What to do about a gap.
    pub on_gap: OnGap,
    /// What to do if the stream was recreated.
    pub recreated: Recreated,
    /// Bounds on the reader's work.
    pub limits: Limits,
}

impl Config {
    /// Returns a configuration that reads everything from the oldest record to the tip, and merges payloads as dlt's
    /// Kinesis source does.
    pub fn new(source: Source) -> Config {
        Config {
            source,
            start: Start::TrimHorizon,
            until: Until::CaughtUp(Duration::ZERO),
            payload: Payload::Merged,
            message_id: MessageId::Sha256,
            wire: Wire::Json,
            // No other payload will look like an aggregated record by chance, as it would need a matching checksum.
            deaggregate: true,
            // Refusing to read the rest does not bring back what was lost.
            on_gap: OnGap::Continue,
            // Whether to mix the messages of two streams is for the operator to decide.
            recreated: Recreated::Refuse,
            limits: Limits::default(),
        }
    }
}

/// A valid configuration.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) source: Source,
    /// The stream's name, even if the source is an ARN.
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
                .ok_or_else(|| invalid("source", format!("not the ARN of a Kinesis stream: \"{arn}\"")))?
                .to_owned(),
        };
        if !is_name(&name) {
            let message = format!("not a stream name, which has 1 to 128 of [a-zA-Z0-9_.-]: \"{name}\"");
            return Err(invalid("source", message));
        }
        if let (Start::AtTimestamp(from), Until::Time(to)) = (start, until)
            && to < from
        {
            return Err(invalid("until", format!("ends before the start: {} < {}", to.0, from.0)));
        }
        let check = |path: &str, value: u64, min: u64, max: u64| {
            if (min..=max).contains(&value) {
                Ok(())
            } else {
                Err(invalid(path, format!("not between {min} and {max}: {value}")))
            }
        };
        let ms = |length: Duration| u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
        const DAY: u64 = 24 * 60 * 60 * 1000;
        /// Well below the five minutes that a shard iterator lives.
        const IDLE_INTERVAL_MAX_MS: u64 = 4 * 60 * 1000;
        check("limits.page-records", limits.page_records.into(), 1, 10_000)?;
        check("limits.requests", limits.requests.into(), 1, 100_000)?;
        check("limits.batches", limits.batches.into(), 1, 100_000)?;
        check("limits.batch-bytes", limits.batch_bytes.into(), 1, u64::from(u32::MAX))?;
        check("limits.idle-interval", ms(limits.idle_interval), 0, IDLE_INTERVAL_MAX_MS)?;
        check("limits.list-interval", ms(limits.list_interval), 1_000, DAY)?;
        check("limits.request-timeout", ms(limits.request_timeout), 1, DAY)?;
        check("limits.backoff-first", ms(limits.backoff_first), 1, DAY)?;
        check("limits.backoff-max", ms(limits.backoff_max), ms(limits.backoff_first), DAY)?;
        if let Some(messages) = limits.max_messages {
            check("limits.max-messages", messages, 1, u64::MAX)?;
        }
        if let Some(share) = limits.pace {
            check("limits.pace", share.into(), 1, 100)?;
        }
        if let Some(failures) = limits.failures {
            check("limits.failures", failures.into(), 1, u64::from(u32::MAX))?;
        }
        let pace = Pace::new(limits.pace, limits.idle_interval);
        Ok(Plan { source, name, start, until, payload, message_id, wire, deaggregate, on_gap, recreated, limits, pace })
    }

    /// Returns the stream as requests name it.
    pub(crate) fn stream(&self) -> StreamRef<'_> {
        match &self.source {
            Source::Name(name) => StreamRef::Name(name),
            Source::Arn(arn) => StreamRef::Arn(arn),
        }
    }

    /// Returns the ARN, if that is how the stream was given.
    pub(crate) fn arn(&self) -> Option<&str> {
        match &self.source {
            Source::Name(_) => None,
            Source::Arn(arn) => Some(arn),
        }
    }
}

fn invalid(path: &str, message: String) -> FieldError {
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
    fn an_invalid_value_is_reported_with_its_field() {
        let invalid_field = |change: fn(&mut Config)| config(change).expect_err("invalid").field;
        assert_eq!(invalid_field(|c| c.source = Source::Name("a b".to_owned())), "source");
        assert_eq!(invalid_field(|c| c.source = Source::Name(String::new())), "source");
        let message = config(|c| c.source = Source::Name("\u{1b}[2J".repeat(500))).expect_err("invalid").message;
        assert!(message.contains(r#": "\u{1b}[2J\u{1b}"#) && message.ends_with(" characters more)"), "{message}");
        assert_eq!(
            invalid_field(|c| c.source = Source::Arn("arn:aws:sqs:eu-west-1:000000000000:x".to_owned())),
            "source"
        );
        assert_eq!(invalid_field(|c| c.limits.page_records = 0), "limits.page-records");
        assert_eq!(invalid_field(|c| c.limits.page_records = 10_001), "limits.page-records");
        assert_eq!(invalid_field(|c| c.limits.pace = Some(0)), "limits.pace");
        assert_eq!(invalid_field(|c| c.limits.pace = Some(101)), "limits.pace");
        assert_eq!(invalid_field(|c| c.limits.idle_interval = Duration::from_secs(241)), "limits.idle-interval");
        assert_eq!(invalid_field(|c| c.limits.batches = 0), "limits.batches");
        assert_eq!(invalid_field(|c| c.limits.batch_bytes = 0), "limits.batch-bytes");
        assert_eq!(invalid_field(|c| c.limits.max_messages = Some(0)), "limits.max-messages");
        assert_eq!(
            invalid_field(|c| {
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
