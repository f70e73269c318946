//! Everything that ends the program before its time, in words, and the exit codes.

use std::fmt::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::component::wit;
use crate::files::{self, OneFile};
use crate::terminal::Clean;
use crate::{component, destination, drive, plan, replay, state, transport};

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: it reached its end, or whoever read its output has gone.
    Reached,
    /// 1: it failed. What was made safe stays safe.
    Failed,
    /// 2: it was asked wrongly: a flag, a setting or a saved state. Nothing was read.
    Usage,
    /// 3: it reached its end, but records had left the stream unread.
    Gap,
    /// 130: it was interrupted, after what was under way had been made safe.
    Interrupted,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(match exit {
            Exit::Reached => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Gap => 3,
            Exit::Interrupted => 130,
        })
    }
}

/// Why the program could not do what it was asked.
#[derive(Debug)]
pub enum Error {
    /// What was asked cannot be meant.
    Plan(plan::Error),
    /// Kinesis cannot be asked.
    Transport(transport::Error),
    /// Messages or checkpoint cannot be kept.
    Destination(destination::Error),
    /// The component failed.
    Component(component::Error),
    /// Kinesis, or the way to it, ended the run.
    Service(Box<wit::ServiceError>),
    /// Nobody ever answered at the endpoint.
    Unreached {
        /// The endpoint.
        url: String,
        /// Its region.
        region: String,
        /// How the last try ended.
        why: String,
        /// The tries.
        attempts: u32,
    },
    /// The outcome cannot be written.
    Report {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A run cannot be kept.
    Recording {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A run cannot be played again.
    Replay {
        /// The file.
        path: PathBuf,
        /// Why.
        error: replay::Error,
    },
    /// One file would serve two purposes.
    OneFile(OneFile),
    /// The operating system does not give what is needed to run.
    System(std::io::Error),
}

impl Error {
    /// What a failure means over a transport on which no answer of any kind has come. None: it means what it says.
    pub(crate) fn unreached(error: &wit::ServiceError, kinesis: &transport::Kinesis) -> Option<Error> {
        let why = match &error.cause {
            _ if kinesis.has_answered() => return None,
            wit::Cause::Failure(wit::Failure::Transient(why)) => why.clone(),
            wit::Cause::Timeout => "no answer in time".to_owned(),
            wit::Cause::Failure(wit::Failure::Permanent(_))
            | wit::Cause::Rejected(_)
            | wit::Cause::Unintelligible(_)
            | wit::Cause::Recreated(_)
            | wit::Cause::Gap(_) => return None,
        };
        let endpoint = kinesis.endpoint();
        let (url, region) = (endpoint.to_string(), endpoint.region().to_owned());
        Some(Error::Unreached { url, region, why, attempts: error.attempts })
    }

    /// How the program ends with it.
    pub fn exit(&self) -> Exit {
        let asked = match self {
            Error::Plan(error) => error.is_usage_error(),
            Error::Transport(error) => error.is_usage_error(),
            Error::Destination(destination::Error::ClosedPipe) => return Exit::Reached,
            Error::Destination(error) => error.is_usage_error(),
            Error::Component(error) => error.is_usage_error(),
            Error::Service(error) => matches!(error.cause, wit::Cause::Recreated(_)),
            Error::Report { error, .. } | Error::Recording { error, .. } => files::wrong_with(error).is_some(),
            Error::OneFile(_) | Error::Replay { .. } => true,
            Error::Unreached { .. } | Error::System(_) => false,
        };
        if asked { Exit::Usage } else { Exit::Failed }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Plan(error) => error.hint(),
            Error::Transport(error) => error.hint(),
            Error::Destination(error) => error.hint(),
            Error::Component(error) => error.hint(),
            Error::Service(error) => service_hint(error),
            Error::Unreached { region, .. } => {
                Some(format!("look at the region ({region}), at --endpoint-url if there is one, and at the network"))
            }
            Error::Report { error, .. } | Error::Recording { error, .. } => match state::io_hint(error) {
                Some(hint) => Some(hint.to_owned()),
                None if files::wrong_with(error).is_some() => {
                    Some("give the path of a new file, or of an earlier report or recording".to_owned())
                }
                None => None,
            },
            Error::OneFile(_) => Some("give each a path of its own".to_owned()),
            Error::Replay { error, .. } => error.hint(),
            Error::System(_) => Some("check the limits of the process: ulimit -a".to_owned()),
        }
    }
}

fn service_hint(error: &wit::ServiceError) -> Option<String> {
    match &error.cause {
        wit::Cause::Rejected(rejection) => rejection.hint.clone(),
        wit::Cause::Failure(_) | wit::Cause::Timeout => {
            Some("look at the network, the region and --endpoint-url; run again to go on from here".to_owned())
        }
        wit::Cause::Recreated(_) => {
            Some("read the new one into another --to or --state, or go on with it here: --recreated follow".to_owned())
        }
        wit::Cause::Gap(_) => Some("to read on from what is left: --on-gap continue".to_owned()),
        wit::Cause::Unintelligible(_) => Some("look whether the endpoint is a Kinesis".to_owned()),
    }
}

/// An operation as Kinesis names it.
pub(crate) fn operation_name(operation: wit::Operation) -> &'static str {
    match operation {
        wit::Operation::DescribeStreamSummary => "DescribeStreamSummary",
        wit::Operation::ListShards => "ListShards",
        wit::Operation::GetShardIterator => "GetShardIterator",
        wit::Operation::GetRecords => "GetRecords",
    }
}

/// A request that did not succeed, in words.
pub struct InWords<'a>(pub &'a wit::ServiceError);

impl fmt::Display for InWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = Clean(f);
        let wit::ServiceError { operation, shard, cause, attempts } = self.0;
        let operation = operation_name(*operation);
        if let wit::Cause::Recreated(stream) = cause {
            return write!(f, "the stream was deleted and made again; the checkpoint is of the earlier one: {stream}");
        }
        if let wit::Cause::Gap(gap) = cause {
            return write!(f, "{}", Gap(gap));
        }
        f.write_str(operation)?;
        if let Some(shard) = shard {
            write!(f, " of {shard}")?;
        }
        match cause {
            wit::Cause::Rejected(wit::Rejection { status: _, code, message, aws_request_id, hint: _ }) => {
                write!(f, " was refused: {code}")?;
                if !message.is_empty() {
                    write!(f, ": {message}")?;
                }
                if let Some(aws_request_id) = aws_request_id {
                    write!(f, " (request {aws_request_id})")?;
                }
            }
            wit::Cause::Unintelligible(why) => write!(f, " has an answer that cannot be understood: {why}")?,
            wit::Cause::Failure(wit::Failure::Transient(why) | wit::Failure::Permanent(why)) => {
                write!(f, " has no answer: {why}")?;
            }
            wit::Cause::Timeout => f.write_str(" has no answer in time")?,
            wit::Cause::Recreated(_) | wit::Cause::Gap(_) => {}
        }
        if *attempts > 1 {
            write!(f, ", after {attempts} tries")?;
        }
        Ok(())
    }
}

/// A time in milliseconds since the Unix epoch, as RFC 3339 where that has a form for it.
pub struct InTime(pub u64);

impl fmt::Display for InTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match i64::try_from(self.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()) {
            Some(time) => time.fmt(f),
            None => write!(f, "{} ms since 1970", self.0),
        }
    }
}

/// A gap, in words.
pub struct Gap<'a>(pub &'a wit::Gap);

impl fmt::Display for Gap<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = Clean(f);
        let wit::Gap { shard, after, ahead } = self.0;
        if let Some(ahead) = ahead {
            return write!(
                f,
                "the checkpoint of {shard} is ahead of the present, at {}: records that arrived since may be unread",
                InTime(*ahead)
            );
        }
        write!(f, "records of {shard} have left the stream and may be unread: ")?;
        match after {
            Some(after) => write!(f, "those that follow {after}"),
            None => f.write_str("all that it had"),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = Clean(f);
        match self {
            Error::Plan(error) => write!(f, "{error}"),
            Error::Transport(error) => write!(f, "{error}"),
            Error::Destination(error) => write!(f, "{error}"),
            Error::Component(error) => write!(f, "{error}"),
            Error::Service(error) => write!(f, "{}", InWords(error)),
            Error::Unreached { url, region: _, why, attempts } => {
                write!(f, "could not reach {url}: {why}, after {attempts} tries")
            }
            Error::Report { path, error } => {
                let why = files::wrong_with(error).map_or_else(|| error.to_string(), str::to_owned);
                write!(f, "cannot write the report: {}: {why}", path.display())
            }
            Error::Recording { path, error } => {
                let why = files::wrong_with(error).map_or_else(|| error.to_string(), str::to_owned);
                write!(f, "cannot write the recording: {}: {why}", path.display())
            }
            Error::OneFile(files) => write!(f, "{files}"),
            Error::Replay { path, error } => write!(f, "cannot replay: {}: {error}", path.display()),
            Error::System(error) => write!(f, "cannot run here: {error}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<plan::Error> for Error {
    fn from(error: plan::Error) -> Error {
        Error::Plan(error)
    }
}

impl From<transport::Error> for Error {
    fn from(error: transport::Error) -> Error {
        Error::Transport(error)
    }
}

impl From<OneFile> for Error {
    fn from(files: OneFile) -> Error {
        Error::OneFile(files)
    }
}

impl From<destination::Error> for Error {
    fn from(error: destination::Error) -> Error {
        Error::Destination(error)
    }
}

impl From<state::Error> for Error {
    fn from(error: state::Error) -> Error {
        Error::Destination(error.into())
    }
}

impl From<component::Error> for Error {
    fn from(error: component::Error) -> Error {
        Error::Component(error)
    }
}

impl From<drive::Error> for Error {
    fn from(error: drive::Error) -> Error {
        match error {
            drive::Error::Component(error) => Error::Component(error),
            drive::Error::Destination(error) => Error::Destination(error),
        }
    }
}
