//! Usage errors, and what to do about them.

use std::fmt::{self, Write as _};

use crate::terminal::{Clean, Given};

/// A usage error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// An invalid stream name.
    BadStream(String),
    /// An invalid stream ARN.
    BadArn {
        /// The ARN as given.
        arn: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An invalid duration.
    BadDuration {
        /// The flag.
        flag: &'static str,
        /// Its value.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// An invalid time.
    BadTime {
        /// The flag.
        flag: &'static str,
        /// Its value.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// A start in the future.
    StartInFuture(String),
    /// An end that is not after the start.
    EmptyRange {
        /// The start as given.
        start: String,
        /// The end as given.
        until: String,
    },
    /// `--behind` with an end other than `caught-up`. Holds the end as given.
    BehindNotCaughtUp(String),
    /// An invalid pace.
    BadPace(String),
    /// An invalid destination.
    BadDestination(String),
    /// An invalid location for the state.
    BadState(String),
    /// A region that differs from the one in the ARN.
    OtherRegion {
        /// The region as given.
        region: String,
        /// The region of the ARN.
        in_arn: String,
    },
    /// An invalid role ARN.
    BadRole(String),
}

impl Error {
    /// Always true, as a plan depends on nothing but the command line.
    pub fn is_usage_error(&self) -> bool {
        true
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::BadStream(_) => "a stream name has 1 to 128 characters: a-z, A-Z, 0-9, `_`, `.` and `-`",
            Self::BadArn { .. } => "a stream ARN looks like arn:aws:kinesis:us-east-1:123456789012:stream/orders",
            Self::BadDuration { .. } => "write 90s, 15m, 1h30m or PT1H",
            Self::BadTime { flag: "--until", .. } => {
                "write caught-up, forever, 2025-11-23T12:00:00Z, 2025-11-23, Unix seconds, or `1h ago`"
            }
            Self::BadTime { .. } => {
                "write trim-horizon, latest, 2025-11-23T12:00:00Z, 2025-11-23, Unix seconds, or a duration ago, as in 90s, 1h30m or 2d"
            }
            Self::StartInFuture(_) => "use latest to begin with new records",
            Self::EmptyRange { .. } => "choose an --until that is later than --start",
            Self::BehindNotCaughtUp(_) => {
                "--behind says what counts as caught up: leave it out, or use --until caught-up"
            }
            Self::BadPace(_) => "write a percentage from 1% to 100%, or off",
            Self::BadDestination(text) => {
                let is_path = !text.contains([':', '@']);
                return Some(match text.rsplit_once('.').map(|(_, ending)| ending) {
                    Some("db" | "sqlite" | "sqlite3") if is_path => format!("write sqlite:{text}"),
                    Some("ndjson" | "jsonl" | "json") if is_path => format!("write ndjson:{text}"),
                    _ => "write sqlite:PATH, ndjson:PATH, or ndjson:- for stdout".to_owned(),
                });
            }
            Self::BadState(_) => "write file:PATH",
            Self::OtherRegion { .. } => "leave out --region",
            Self::BadRole(_) => "a role ARN looks like arn:aws:iam::123456789012:role/reader",
        };
        Some(hint.to_owned())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = Clean(f);
        match self {
            Self::BadStream(text) => write!(f, "invalid stream name: {}", Given(text)),
            Self::BadArn { arn, why } => write!(f, "invalid stream ARN: {} ({why})", Given(arn)),
            Self::BadDuration { flag, text, why } => write!(f, "invalid duration for {flag}: {} ({why})", Given(text)),
            Self::BadTime { flag, text, why } => write!(f, "invalid time for {flag}: {} ({why})", Given(text)),
            Self::StartInFuture(text) => write!(f, "--start is in the future: {}", Given(text)),
            Self::EmptyRange { start, until } => {
                write!(f, "--until is not after --start: {} (--start is {})", Given(until), Given(start))
            }
            Self::BehindNotCaughtUp(until) => write!(f, "--behind has no effect with this end: {}", Given(until)),
            Self::BadPace(text) => write!(f, "invalid pace: {}", Given(text)),
            Self::BadDestination(text) => write!(f, "invalid destination for --to: {}", Given(text)),
            Self::BadState(text) => write!(f, "invalid location for --state: {}", Given(text)),
            Self::OtherRegion { region, in_arn } => {
                write!(f, "--region differs from the ARN's: {} (the ARN's is {in_arn})", Given(region))
            }
            Self::BadRole(text) => write!(f, "invalid role ARN: {}", Given(text)),
        }
    }
}

impl std::error::Error for Error {}
