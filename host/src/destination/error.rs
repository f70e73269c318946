//! Why a destination failed, and what to do about it.

use std::fmt::{self, Write as _};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use crate::files;
use crate::state;
use crate::terminal::Clean;

/// Why a batch could not be rendered. Destinations pass this on in [`Error::Batch`].
pub type BatchError = Box<dyn std::error::Error + Send + Sync>;

/// Why a destination failed, or a database cannot be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The batch could not be rendered.
    Batch(BatchError),
    /// The reader of the output closed the pipe, which is not a failure for a program in a pipeline.
    ClosedPipe,
    /// The state failed.
    State(state::Error),
    /// An earlier call failed, and uncommitted messages were rolled back.
    Broken,
    /// The path cannot be used, for example because it is a directory or its directory does not exist.
    Path {
        /// The path as given.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Another reader is writing to the output.
    Held {
        /// The output.
        path: PathBuf,
        /// The stream, if the output can hold several.
        stream: Option<String>,
        /// The process id of the other reader, if known.
        by: Option<u32>,
    },
    /// The output could not be opened or written.
    Write {
        /// The output.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The output was removed or replaced since it was opened.
    Replaced {
        /// The output.
        path: PathBuf,
    },
    /// Another program wrote to or truncated the output since it was opened.
    Altered {
        /// The output.
        path: PathBuf,
    },
    /// Standard output, or another stream, could not be written to.
    Stream(io::Error),
    /// The file is not empty, but no state covers its contents.
    Unexplained {
        /// The file.
        path: PathBuf,
        /// Its length.
        length: u64,
    },
    /// The file is shorter than the length that the state covers.
    Shorter {
        /// The file.
        path: PathBuf,
        /// Its length. `None` if it does not exist.
        length: Option<u64>,
        /// The length that was committed.
        committed: u64,
    },
    /// The path is that of an in-memory database.
    InMemory,
    /// The file is not a database.
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// The database is damaged.
    Corrupt {
        /// The database.
        path: PathBuf,
        /// SQLite's error message.
        why: String,
    },
    /// The database has a table with that name that was not created by this program.
    ForeignTable {
        /// The database.
        path: PathBuf,
        /// The table.
        table: String,
        /// What it lacks.
        why: String,
    },
    /// The name for the stream's table is in use.
    NameTaken {
        /// The database.
        path: PathBuf,
        /// The name.
        name: String,
        /// What uses it.
        by: String,
    },
    /// Another reader has changed the stream's checkpoint since it was read.
    Overtaken {
        /// The database.
        path: PathBuf,
        /// The stream.
        stream: String,
    },
    /// SQLite failed in another way.
    Database {
        /// The database.
        path: PathBuf,
        /// The operation, such as "write to".
        doing: &'static str,
        /// Why it failed.
        error: rusqlite::Error,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = Clean(f);
        match self {
            Error::Batch(error) => write!(f, "cannot render a batch: {error}"),
            Error::ClosedPipe => write!(f, "the reader of the output closed the pipe"),
            Error::State(error) => write!(f, "{error}"),
            Error::Broken => write!(f, "the output failed earlier and accepts no more messages"),
            Error::Path { path, why } => {
                write!(f, "invalid path: {}: {why}", path.display())
            }
            Error::Held { path, stream, by } => {
                write!(f, "another reader")?;
                if let Some(by) = by {
                    write!(f, ", process {by},")?;
                }
                write!(f, " is writing")?;
                if let Some(stream) = stream {
                    write!(f, " the stream {stream}")?;
                }
                write!(f, " to the output: {}", path.display())
            }
            Error::Write { path, error } => {
                write!(f, "cannot write to the file: {}: {error}", path.display())
            }
            Error::Replaced { path } => {
                write!(f, "the output was removed or replaced during the run: {}", path.display())
            }
            Error::Altered { path } => {
                write!(f, "another program changed the output during the run: {}", path.display())
            }
            Error::Stream(error) => write!(f, "cannot write to the output: {error}"),
            Error::Unexplained { path, length } => {
                write!(f, "the file holds {length} bytes that its state does not account for: {}", path.display())
            }
            Error::Shorter { path, length: Some(length), committed } => {
                write!(f, "the file is shorter than its state says, {length} of {committed} bytes: {}", path.display())
            }
            Error::Shorter { path, length: None, committed } => {
                write!(f, "the file is gone, but its state says it holds {committed} bytes: {}", path.display())
            }
            Error::InMemory => write!(f, "an in-memory database would not be kept: :memory:"),
            Error::NotADatabase { path } => {
                write!(f, "the file is not a SQLite database: {}", path.display())
            }
            Error::Corrupt { path, why } => {
                write!(f, "the database is damaged: {}: {why}", path.display())
            }
            Error::ForeignTable { path, table, why } => {
                write!(f, "the database has a different table with that name: {}: {table}: {why}", path.display())
            }
            Error::NameTaken { path, name, by } => {
                write!(f, "the name of the stream's table is taken by {by}: {}: {name}", path.display())
            }
            Error::Overtaken { path, stream } => {
                write!(f, "another reader has changed the checkpoint of the stream {stream}: {}", path.display())
            }
            Error::Database { path, doing, error } => {
                write!(f, "cannot {doing} the database: {}: {error}", path.display())
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Batch(error) => Some(error.as_ref()),
            Error::State(error) => Some(error),
            Error::Write { error, .. } | Error::Stream(error) => Some(error),
            Error::Database { error, .. } => Some(error),
            Error::ClosedPipe
            | Error::Broken
            | Error::Path { .. }
            | Error::Held { .. }
            | Error::Replaced { .. }
            | Error::Altered { .. }
            | Error::Unexplained { .. }
            | Error::Shorter { .. }
            | Error::InMemory
            | Error::NotADatabase { .. }
            | Error::Corrupt { .. }
            | Error::ForeignTable { .. }
            | Error::NameTaken { .. }
            | Error::Overtaken { .. } => None,
        }
    }
}

impl From<state::Error> for Error {
    fn from(error: state::Error) -> Self {
        Error::State(error)
    }
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Error::Batch(_) | Error::ClosedPipe | Error::Broken => return None,
            Error::State(error) => return error.hint(),
            Error::Path { .. } => "choose the path of a regular file in an existing directory",
            Error::Held { .. } => "wait until it has finished, or choose another output",
            Error::Write { error, .. } | Error::Stream(error) => {
                return state::io_hint(error).map(str::to_owned);
            }
            Error::Replaced { .. } | Error::Altered { .. } => {
                "restore the file and run again: the checkpoint has not moved past what the file held at the last commit"
            }
            Error::Unexplained { .. } => "move the file away, or open it with the state that belongs to it",
            Error::Shorter { .. } => "restore the file, or continue in a new file with this state",
            Error::InMemory => "choose the path of a file; a file with this name is ./:memory:",
            Error::NotADatabase { .. } => "choose the path of a SQLite database or of a new file",
            Error::Corrupt { .. } => {
                "restore the database from a backup, or save what is left: sqlite3 DATABASE .recover"
            }
            Error::ForeignTable { .. } | Error::NameTaken { .. } => "give the stream a database of its own",
            Error::Overtaken { .. } => {
                "let only one reader at a time write a stream to a database; run again to continue from its checkpoint"
            }
            Error::Database { error, .. } => return database_hint(error).map(str::to_owned),
        };
        Some(hint.to_owned())
    }

    /// Whether the settings or stored data are at fault, so that trying again would not help.
    pub fn is_usage_error(&self) -> bool {
        match self {
            Error::State(error) => error.is_usage_error(),
            Error::Path { .. }
            | Error::Held { .. }
            | Error::Unexplained { .. }
            | Error::Shorter { .. }
            | Error::InMemory
            | Error::NotADatabase { .. }
            | Error::Corrupt { .. }
            | Error::ForeignTable { .. }
            | Error::NameTaken { .. }
            | Error::Overtaken { .. } => true,
            Error::Batch(_)
            | Error::ClosedPipe
            | Error::Broken
            | Error::Write { .. }
            | Error::Replaced { .. }
            | Error::Altered { .. }
            | Error::Stream(_)
            | Error::Database { .. } => false,
        }
    }
}

/// The error for a file that could not be opened.
pub(super) fn open_error(path: PathBuf, error: io::Error) -> Error {
    match files::path_problem(&error) {
        Some(why) => Error::Path { path, why },
        None => Error::Write { path, error },
    }
}

/// The error for a batch that returns no messages although some are left, as continuing would never end.
pub(super) fn empty_piece(skip: u32, count: u32, shard: &str) -> Error {
    Error::Batch(format!("no message at {skip} of {count} in {shard}").into())
}

/// Classifies an error from SQLite.
pub(crate) fn database_error(path: &Path, doing: &'static str, error: rusqlite::Error) -> Error {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => Error::NotADatabase { path },
        Some(ErrorCode::DatabaseCorrupt) => Error::Corrupt { path, why: error.to_string() },
        _ => Error::Database { path, doing, error },
    }
}

/// What to do about an error from SQLite.
fn database_hint(error: &rusqlite::Error) -> Option<&'static str> {
    match error.sqlite_error_code()? {
        ErrorCode::DiskFull => Some("make room and run again: it continues from the last checkpoint"),
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen => {
            Some("make the file and its directory writable, or choose another path")
        }
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            Some("another program is writing to the database; wait until it has finished")
        }
        ErrorCode::SystemIoFailure => {
            Some("check that the disk works and has room, and run again: it continues from the last checkpoint")
        }
        _ => None,
    }
}

/// Classifies an error from writing to a stream.
pub(crate) fn stream_error(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Error::ClosedPipe,
        _ => Error::Stream(error),
    }
}
