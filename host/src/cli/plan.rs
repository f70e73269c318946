//! What to do: flags and environment, checked and resolved once.
//!
//! Nothing past this file reads a flag or the environment, except that aws-config looks up whatever these settings
//! leave out, as every AWS tool does.

mod error;
mod stream;
mod time;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::args::{self, Args, Command, RecordingPayload};
use crate::recording;
use crate::transport::Settings;

pub use super::args::{MessageId, OnGap, Payload, Recreated, Wire};
pub use error::Error;
pub use stream::Source;

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// Read a stream.
    Read(Box<Plan>),
    /// List the shards of a stream.
    Shards(Box<ShardsPlan>),
    /// Show the contents of a database.
    Show(ShowPlan),
    /// Replay a recording.
    Replay(ReplayPlan),
}

/// How to read a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The stream.
    pub source: Source,
    /// Where the first run begins.
    pub start: Start,
    /// When to stop.
    pub until: Until,
    /// Limits on the work.
    pub limits: Limits,
    /// Wire encoding.
    pub wire: Wire,
    /// The form of a message's data.
    pub payload: Payload,
    /// Whether to split aggregated records of the Kinesis Producer Library into messages.
    pub deaggregate: bool,
    /// A file to which messages whose data did not match `payload` are written too.
    pub invalid_records: Option<PathBuf>,
    /// What to do about a gap.
    pub on_gap: OnGap,
    /// What to do about a recreated stream.
    pub recreated: Recreated,
    /// How identifiers are made.
    pub message_id: MessageId,
    /// Where messages go.
    pub destination: Destination,
    /// Where the checkpoint is kept.
    pub state: StateAt,
    /// How to reach Kinesis.
    pub aws: Settings,
    /// Where to write the outcome.
    pub report: Option<PathBuf>,
    /// Where to write a recording, and what it contains of the messages.
    pub recording: Option<(PathBuf, recording::Payload)>,
    /// The files that AWS settings and credentials are read from, with the variables that name them.
    pub settings_files: Vec<(&'static str, PathBuf)>,
}

/// How to list the shards of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardsPlan {
    /// The stream.
    pub source: Source,
    /// The destination of its messages.
    pub destination: Destination,
    /// Where its checkpoint is kept.
    pub state: StateAt,
    /// How to reach Kinesis.
    pub aws: Settings,
}

/// How to show a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShowPlan {
    /// The database's file.
    pub database: PathBuf,
}

/// How to replay a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayPlan {
    /// The recording's file.
    pub recording: PathBuf,
    /// Whether to print only the last line.
    pub quiet: bool,
}

/// Where the first run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the oldest record.
    TrimHorizon,
    /// At the tip. Holds the current time, in milliseconds since the Unix epoch.
    Latest(u64),
    /// At the first record that arrived at this time or later, in milliseconds since the Unix epoch.
    At(u64),
}

/// When to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// When no shard is further behind than this.
    CaughtUp(Duration),
    /// When every shard is delivered up to this time of arrival, in milliseconds since the Unix epoch.
    Time(u64),
    /// When interrupted.
    Stopped,
}

/// Limits on the work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// The number of messages after which to stop. `None` for no limit.
    pub max_messages: Option<u64>,
    /// The number of records to request at a time. `None` for the reader's default.
    pub page_records: Option<u32>,
    /// The percentage of Kinesis's limits to use, from 1 to 100. `None` for no pace.
    pub pace: Option<u8>,
    /// The time between two requests to a shard at its tip. `None` for the reader's default.
    pub idle_interval: Option<Duration>,
}

/// Where messages go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A table in this database.
    Sqlite(PathBuf),
    /// Lines in this file.
    Ndjson(PathBuf),
    /// Lines on stdout.
    Stdout,
}

/// Where the checkpoint is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateAt {
    /// In the database, with the messages.
    Destination,
    /// In this file.
    File(PathBuf),
    /// Nowhere: every run begins at the start.
    Nowhere,
}

/// What a plan depends on besides the flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// The current time, in milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// `AWS_CA_BUNDLE`.
    pub ca_bundle: Option<OsString>,
    /// The files that AWS settings and credentials are read from, with the variables that name them.
    pub settings_files: Vec<(&'static str, PathBuf)>,
}

impl Environment {
    /// Reads the clock and the environment variables.
    pub fn read() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            now_ms: now.as_millis() as u64,
            ca_bundle: std::env::var_os("AWS_CA_BUNDLE"),
            settings_files: settings_files(),
        }
    }
}

impl Job {
    /// Checks and resolves the flags.
    pub fn new(args: Args, environment: &Environment) -> Result<Self, Error> {
        match args.command {
            Command::Read(read) => Plan::new(*read, environment).map(|plan| Self::Read(Box::new(plan))),
            Command::Shards(shards) => {
                let source = Source::parse(&shards.stream)?;
                let (destination, state) = destination_and_state(&shards.storage, &source)?;
                let aws = settings(shards.aws, &source, environment)?;
                Ok(Self::Shards(Box::new(ShardsPlan { source, destination, state, aws })))
            }
            Command::Show(show) => {
                // Accept what `--to` accepts.
                let database = match show.database.to_str().and_then(|path| path.strip_prefix("sqlite:")) {
                    Some(path) => PathBuf::from(path),
                    None => show.database,
                };
                Ok(Self::Show(ShowPlan { database }))
            }
            Command::Replay(args::Replay { recording, quiet }) => Ok(Self::Replay(ReplayPlan { recording, quiet })),
        }
    }
}

impl Plan {
    fn new(read: args::Read, environment: &Environment) -> Result<Self, Error> {
        let now_ms = environment.now_ms;
        let source = Source::parse(&read.stream)?;
        let start = start(&read.start, now_ms)?;
        let until = until(&read, now_ms)?;
        if let Until::Time(end) = until {
            let start_ms = match start {
                Start::TrimHorizon => 0,
                Start::Latest(time) | Start::At(time) => time,
            };
            if end <= start_ms {
                return Err(Error::EmptyRange { start: read.start, until: read.until });
            }
        }
        let (destination, state) = destination_and_state(&read.storage, &source)?;
        let aws = settings(read.aws, &source, environment)?;
        Ok(Self {
            source,
            start,
            until,
            limits: Limits {
                max_messages: read.max_messages,
                page_records: read.page_records,
                pace: pace(&read.pace)?,
                idle_interval: read.idle_interval.map(|text| duration("--idle-interval", &text)).transpose()?,
            },
            wire: read.wire,
            payload: read.payload,
            deaggregate: !read.no_deaggregate,
            invalid_records: read.invalid_records,
            on_gap: read.on_gap,
            recreated: read.recreated,
            message_id: read.message_id,
            destination,
            state,
            aws,
            report: read.report,
            recording: read.recording.map(|path| {
                let payload = match read.recording_payload {
                    RecordingPayload::Whole => recording::Payload::Whole,
                    RecordingPayload::None => recording::Payload::None,
                };
                (path, payload)
            }),
            settings_files: environment.settings_files.clone(),
        })
    }
}

fn settings_files() -> Vec<(&'static str, PathBuf)> {
    let named = |variable| std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from);
    let usual = |name| named("HOME").map(|home| home.join(".aws").join(name));
    let files = [
        ("AWS_CA_BUNDLE", None),
        ("AWS_CONFIG_FILE", usual("config")),
        ("AWS_SHARED_CREDENTIALS_FILE", usual("credentials")),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", None),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", None),
    ];
    files.into_iter().filter_map(|(variable, usual)| Some((variable, named(variable).or(usual)?))).collect()
}

fn start(text: &str, now_ms: u64) -> Result<Start, Error> {
    match keyword(text).as_str() {
        "trim-horizon" => Ok(Start::TrimHorizon),
        "latest" => Ok(Start::Latest(now_ms)),
        _ => {
            let bad = |why| Error::BadTime { flag: "--start", text: text.to_owned(), why };
            let point = time::point(text).unwrap_or_else(|| time::ago(text)).map_err(bad)?;
            let at = point.resolve(now_ms).map_err(bad)?;
            if at > now_ms {
                return Err(Error::StartInFuture(text.to_owned()));
            }
            Ok(Start::At(at))
        }
    }
}

fn until(read: &args::Read, now_ms: u64) -> Result<Until, Error> {
    let text = if read.follow { "forever" } else { read.until.as_str() };
    let until = match keyword(text).as_str() {
        "caught-up" => Until::CaughtUp(match &read.behind {
            None => Duration::ZERO,
            Some(behind) => duration("--behind", behind)?,
        }),
        "forever" => Until::Stopped,
        // A duration alone is ambiguous here: that long ago, or for that long.
        _ => {
            let bad = |why| Error::BadTime { flag: "--until", text: text.to_owned(), why };
            let point = match time::point(text) {
                Some(point) => point,
                None if text.trim_end().ends_with("ago") => time::ago(text),
                None => Err("it is neither a keyword nor a time".to_owned()),
            };
            Until::Time(point.and_then(|point| point.resolve(now_ms)).map_err(bad)?)
        }
    };
    if read.behind.is_some() && !matches!(until, Until::CaughtUp(_)) {
        return Err(Error::BehindNotCaughtUp(text.to_owned()));
    }
    Ok(until)
}

fn duration(flag: &'static str, text: &str) -> Result<Duration, Error> {
    time::duration(text).map_err(|why| Error::BadDuration { flag, text: text.to_owned(), why })
}

fn pace(text: &str) -> Result<Option<u8>, Error> {
    if keyword(text) == "off" {
        return Ok(None);
    }
    let number = text.trim();
    let number = number.strip_suffix('%').unwrap_or(number);
    match number.parse() {
        Ok(percent @ 1..=100) => Ok(Some(percent)),
        _ => Err(Error::BadPace(text.to_owned())),
    }
}

fn destination_and_state(storage: &args::Storage, source: &Source) -> Result<(Destination, StateAt), Error> {
    let destination = destination(storage.to.as_deref(), source)?;
    let state = match (storage.state.as_deref(), &destination) {
        (Some(text), _) => match text.split_once(':') {
            Some(("file", path)) if !path.is_empty() => StateAt::File(path.into()),
            _ => return Err(Error::BadState(text.to_owned())),
        },
        (None, Destination::Sqlite(_)) => StateAt::Destination,
        (None, Destination::Ndjson(path)) => {
            let mut path = path.clone().into_os_string();
            path.push(".state");
            StateAt::File(path.into())
        }
        (None, Destination::Stdout) => StateAt::Nowhere,
    };
    Ok((destination, state))
}

fn destination(text: Option<&str>, source: &Source) -> Result<Destination, Error> {
    let text = text.unwrap_or("sqlite");
    let (kind, path) = text.split_once(':').unwrap_or((text, ""));
    let path = |ending| match path {
        "" => PathBuf::from(format!("{}.{ending}", source.stream())),
        path => Path::new(path).to_owned(),
    };
    match kind {
        "sqlite" if text == "sqlite:-" => Err(Error::BadDestination(text.to_owned())),
        "sqlite" => Ok(Destination::Sqlite(path("db"))),
        "ndjson" if text == "ndjson:-" => Ok(Destination::Stdout),
        "ndjson" => Ok(Destination::Ndjson(path("ndjson"))),
        _ => Err(Error::BadDestination(text.to_owned())),
    }
}

fn settings(aws: args::Aws, source: &Source, environment: &Environment) -> Result<Settings, Error> {
    let region = match (aws.region, source.region()) {
        (Some(region), Some(in_arn)) if region != in_arn => {
            return Err(Error::OtherRegion { region, in_arn: in_arn.to_owned() });
        }
        (Some(region), _) => Some(region),
        (None, in_arn) => in_arn.map(str::to_owned),
    };
    if let Some(role) = &aws.role_arn
        && !(role.starts_with("arn:") && role.contains(":iam::") && role.contains(":role/"))
    {
        return Err(Error::BadRole(role.clone()));
    }
    Ok(Settings {
        region,
        profile: aws.profile,
        role_arn: aws.role_arn,
        endpoint_url: aws.endpoint_url,
        ca_bundle: environment.ca_bundle.clone().filter(|path| !path.is_empty()).map(PathBuf::from),
    })
}

/// Normalizes a keyword, as AWS writes TRIM_HORIZON.
fn keyword(text: &str) -> String {
    text.trim().to_ascii_lowercase().replace('_', "-")
}

#[cfg(test)]
mod tests;
