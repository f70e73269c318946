//! Exit codes, and everything that makes the program fail.

use std::fmt::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use super::files::SameFile;
use super::plan;
use crate::bindings::wit;
use crate::files;
use crate::terminal::Clean;
use crate::{component, destination, drive, replay, state, transport};

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: it reached its end, or the reader of its output closed the pipe.
    Reached,
    /// 1: it failed. Everything committed before is kept.
    Failed,
    /// 2: usage error: a flag, a setting or a saved state is invalid. Nothing was read.
    Usage,
    /// 3: it reached its end, but records had left the stream unread.
    Gap,
    /// 130: it was interrupted, after everything in flight was committed.
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

/// Why the program failed.
#[derive(Debug)]
pub enum Error {
    /// The command line is invalid.
    Plan(plan::Error),
    /// Requests cannot be sent.
    Transport(transport::Error),
    /// Messages or checkpoint cannot be stored.
    Destination(destination::Error),
    /// The component failed.
    Component(component::Error),
    /// Kinesis, or the network, ended the run.
    Service(Box<wit::ServiceError>),
    /// The endpoint never answered.
    Unreached {
        /// Its URL.
        url: String,
        /// Its region.
        region: String,
        /// How the last attempt failed.
        why: String,
        /// The number of attempts.
        attempts: u32,
    },
    /// The report cannot be written.
    Report {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The recording cannot be written.
    Recording {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The recording cannot be replayed.
    Replay {
        /// The file.
        path: PathBuf,
        /// Why.
        error: replay::Error,
    },
    /// One file was given for two purposes.
    SameFile(SameFile),
    /// The operating system refuses a resource that is needed to run.
    System(std::io::Error),
}

impl Error {
    /// If no response of any kind has arrived, the error that tells the operator so. `None` otherwise.
    pub(crate) fn unreached(error: &wit::ServiceError, kinesis: &transport::Kinesis) -> Option<Error> {
        let why = match &error.cause {
            _ if kinesis.has_answered() => return None,
            wit::Cause::Failure(wit::Failure::Transient(why)) => why.clone(),
            wit::Cause::Timeout => "no response in time".to_owned(),
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

    /// The exit code for it.
    pub fn exit(&self) -> Exit {
        let is_usage_error = match self {
            Error::Plan(error) => error.is_usage_error(),
            Error::Transport(error) => error.is_usage_error(),
            Error::Destination(destination::Error::ClosedPipe) => return Exit::Reached,
            Error::Destination(error) => error.is_usage_error(),
            Error::Component(error) => error.is_usage_error(),
            Error::Service(error) => matches!(error.cause, wit::Cause::Recreated(_)),
            Error::Report { error, .. } | Error::Recording { error, .. } => files::path_problem(error).is_some(),
            Error::SameFile(_) | Error::Replay { .. } => true,
            Error::Unreached { .. } | Error::System(_) => false,
        };
        if is_usage_error { Exit::Usage } else { Exit::Failed }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Plan(error) => error.hint(),
            Error::Transport(error) => transport_hint(error),
            Error::Destination(error) => destination_hint(error),
            Error::Component(error) => component_hint(error),
            Error::Service(error) => service_hint(error),
            Error::Unreached { region, .. } => {
                Some(format!("check the region ({region}), --endpoint-url if it is set, and the network"))
            }
            Error::Report { error, .. } | Error::Recording { error, .. } => match state::io_hint(error) {
                Some(hint) => Some(hint.to_owned()),
                None if files::path_problem(error).is_some() => {
                    Some("choose a new file, or an earlier report or recording".to_owned())
                }
                None => None,
            },
            Error::SameFile(_) => Some("give each a path of its own".to_owned()),
            Error::Replay { error, .. } => replay_hint(error),
            Error::System(_) => Some("check the limits of the process: ulimit -a".to_owned()),
        }
    }
}

fn transport_hint(error: &transport::Error) -> Option<String> {
    let hint = match error {
        transport::Error::NoRegion => "set --region or AWS_REGION, or configure a region in the profile",
        transport::Error::NoCredentials => {
            "run `aws configure` or `aws sso login`, choose a --profile, or set AWS_ACCESS_KEY_ID and \
             AWS_SECRET_ACCESS_KEY (an emulator accepts any values)"
        }
        other => return other.hint(),
    };
    Some(hint.to_owned())
}

fn destination_hint(error: &destination::Error) -> Option<String> {
    let hint = match error {
        destination::Error::Unexplained { .. } => {
            "move the file away, or name the state that belongs to it: --state file:PATH"
        }
        destination::Error::Shorter { .. } => {
            "restore the file, or continue in a new file with this state: --state file:PATH"
        }
        destination::Error::ForeignTable { .. } | destination::Error::NameTaken { .. } => {
            "give the stream a database of its own: --to sqlite:PATH"
        }
        other => return other.hint(),
    };
    Some(hint.to_owned())
}

fn component_hint(error: &component::Error) -> Option<String> {
    let hint = match error {
        component::Error::Open(wit::OpenError::Checkpoint(wit::CheckpointError::Foreign(_))) => {
            "read the stream that it belongs to, or choose another --to or --state for this one"
        }
        component::Error::OutOfMemory(_) => {
            "run again with a smaller --page-records: it continues from the last checkpoint, and nothing is lost"
        }
        other => return other.hint(),
    };
    Some(hint.to_owned())
}

fn replay_hint(error: &replay::Error) -> Option<String> {
    match error {
        replay::Error::NotARecording { .. } => {
            Some("recordings are made with `kinesis-reader read --recording FILE`".to_owned())
        }
        other => other.hint(),
    }
}

fn service_hint(error: &wit::ServiceError) -> Option<String> {
    match &error.cause {
        wit::Cause::Rejected(rejection) => rejection.hint.clone(),
        wit::Cause::Failure(_) | wit::Cause::Timeout => {
            Some("check the network, the region and --endpoint-url; run again to continue from here".to_owned())
        }
        wit::Cause::Recreated(_) => {
            Some("choose another --to or --state for the new one, or continue here: --recreated follow".to_owned())
        }
        wit::Cause::Gap(_) => Some("to read on from what is left: --on-gap continue".to_owned()),
        wit::Cause::Unintelligible(_) => Some("check that the endpoint is a Kinesis endpoint".to_owned()),
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
            Error::Service(error) => write!(f, "{error}"),
            Error::Unreached { url, region: _, why, attempts } => {
                write!(f, "could not reach {url}: {why}, after {attempts} tries")
            }
            Error::Report { path, error } => {
                let why = files::path_problem(error).map_or_else(|| error.to_string(), str::to_owned);
                write!(f, "cannot write the report: {}: {why}", path.display())
            }
            Error::Recording { path, error } => {
                let why = files::path_problem(error).map_or_else(|| error.to_string(), str::to_owned);
                write!(f, "cannot write the recording: {}: {why}", path.display())
            }
            Error::SameFile(files) => write!(f, "{files}"),
            Error::Replay { path, error } => write!(f, "cannot replay: {}: {error}", path.display()),
            Error::System(error) => write!(f, "cannot start: {error}"),
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

impl From<SameFile> for Error {
    fn from(files: SameFile) -> Error {
        Error::SameFile(files)
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

impl From<Box<wit::ServiceError>> for Error {
    fn from(error: Box<wit::ServiceError>) -> Error {
        Error::Service(error)
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
