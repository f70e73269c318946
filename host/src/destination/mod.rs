//! Where messages go, and how they become durable.
//!
//! A [`Destination`] accepts batches, and on [`commit`](Destination::commit) makes them durable together with the
//! reader's checkpoint: in one transaction if there are transactions, otherwise messages first. After a crash at any
//! time, its checkpoint covers exactly the messages that it holds, so a reader that continues from there delivers each
//! message once. Standard output is the exception: it cannot be rolled back, so a crash may cause messages to be
//! repeated.
//!
//! If a call fails, everything since the last commit is rolled back, at once or when the destination is opened the next
//! time, and every later call fails with [`Error::Broken`].

mod invalid_records;
mod ndjson;
mod sqlite;

use std::fmt::{self, Write as _};
use std::io;
use std::path::PathBuf;

use crate::files;
use crate::state::{self, Saved, State};
use crate::terminal::Clean;

pub use invalid_records::WithInvalidRecords;
pub(crate) use ndjson::stream_error;
pub use ndjson::{NdjsonFile, NdjsonStream};
pub use sqlite::{MEMBERS_MAX, Sqlite};
pub(crate) use sqlite::{columns, database_error, open_read_only, quote, read_checkpoint};

/// A batch, whose messages are rendered on demand.
pub trait Batch {
    /// The shard that all the messages are from.
    fn shard(&self) -> &str;

    /// The number of messages, which is at least one.
    fn count(&self) -> u32;

    /// Lines from message `skip` on, as many as fit in `size` bytes, but at least one if any is left.
    fn lines(&mut self, skip: u32, size: u32) -> Result<Lines, BatchError>;

    /// Lines of the invalid records from message `skip` on, as many as fit in `size` bytes, but at least one if any is
    /// left.
    fn invalid_lines(&mut self, skip: u32, size: u32) -> Result<InvalidLines, BatchError>;

    /// Messages from message `skip` on, as many as fit in `size` bytes of text and data, but at least one if any is
    /// left.
    fn messages(&mut self, skip: u32, size: u32) -> Result<Vec<Message>, BatchError>;
}

/// Why a batch could not be rendered. Destinations pass this on in [`Error::Batch`].
pub type BatchError = Box<dyn std::error::Error + Send + Sync>;

/// Some lines of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// Newline-delimited JSON, whole lines.
    pub text: String,
    /// The number of lines in `text`.
    pub count: u32,
    /// The number of lines in `text` that are of invalid records.
    pub invalid: u32,
}

/// Some lines of the invalid records in a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InvalidLines {
    /// Newline-delimited JSON, whole lines, each with its reason as `_kinesis_reason`.
    pub text: String,
    /// The number of lines in `text`.
    pub count: u32,
    /// The message to continue with, as the next `skip`.
    pub next: u32,
}

/// A message and its envelope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Identifies the message, and is the same each time it is read.
    pub id: String,
    /// The sequence number of its record.
    pub sequence: String,
    /// The index within an aggregated record. `None` if it was not aggregated.
    pub subsequence: Option<u32>,
    /// `None` if the stream distributes records by itself.
    pub partition_key: Option<String>,
    /// The arrival time, in milliseconds since the Unix epoch.
    pub arrived: u64,
    /// The payload.
    pub data: Vec<u8>,
}

/// What was written of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The number of messages in the batch.
    pub messages: u64,
    /// The number of bytes in the lines or rows. The size of a transaction is bounded by these, and not by the bytes in
    /// the stream.
    pub bytes: u64,
    /// The number of messages from invalid records.
    pub invalid: u64,
    /// The number of messages that were not there before.
    pub new: u64,
}

/// Stores messages.
pub trait Destination: Send {
    /// Returns the checkpoint that covers the committed messages, if there is one.
    fn checkpoint(&mut self) -> Result<Option<String>, Error>;

    /// Accepts a batch. Its messages are not durable before [`commit`](Self::commit).
    fn write(&mut self, batch: &mut dyn Batch) -> Result<Written, Error>;

    /// Makes everything written so far durable, together with `checkpoint`.
    fn commit(&mut self, checkpoint: &str) -> Result<(), Error>;

    /// Commits like [`commit`](Self::commit), but is given a checkpoint with only those positions that changed since
    /// the last commit. Returns false without doing anything if the destination needs the whole checkpoint.
    ///
    /// This is for destinations that store each position separately, so that the cost of a commit does not grow with
    /// the number of shards.
    fn commit_changes(&mut self, changes: &str) -> Result<bool, Error> {
        let _ = changes;
        Ok(false)
    }
}

/// A destination whose checkpoint is kept elsewhere. Messages are made durable first, then the checkpoint. A crash
/// between the two causes messages to be repeated, unless the destination recognizes them by their message ids.
pub struct WithState<D> {
    destination: D,
    state: Box<dyn State>,
}

impl<D: Destination> WithState<D> {
    /// Keeps the checkpoint of `destination` in `state`.
    pub fn new(destination: D, state: Box<dyn State>) -> Self {
        WithState { destination, state }
    }
}

impl<D: Destination> Destination for WithState<D> {
    fn checkpoint(&mut self) -> Result<Option<String>, Error> {
        Ok(self.state.load()?.map(|saved| saved.checkpoint))
    }

    fn write(&mut self, batch: &mut dyn Batch) -> Result<Written, Error> {
        self.destination.write(batch)
    }

    fn commit(&mut self, checkpoint: &str) -> Result<(), Error> {
        self.destination.commit(checkpoint)?;
        self.state.save(&Saved { checkpoint: checkpoint.to_owned(), output: None })?;
        Ok(())
    }
}

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
                write!(f, "invalid path for the output: {}: {why}", path.display())
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
            Error::Unexplained { .. } => "move the file away, or name the state that belongs to it: --state file:PATH",
            Error::Shorter { .. } => "restore the file, or continue in a new file with this state: --state file:PATH",
            Error::InMemory => "choose the path of a file; a file with this name is ./:memory:",
            Error::NotADatabase { .. } => "choose the path of a SQLite database or of a new file",
            Error::Corrupt { .. } => {
                "restore the database from a backup, or save what is left: sqlite3 DATABASE .recover"
            }
            Error::ForeignTable { .. } | Error::NameTaken { .. } => {
                "give the stream a database of its own: --to sqlite:PATH"
            }
            Error::Overtaken { .. } => {
                "let only one reader at a time write a stream to a database; run again to continue from its checkpoint"
            }
            Error::Database { error, .. } => return sqlite::hint(error).map(str::to_owned),
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
fn open_error(path: PathBuf, error: io::Error) -> Error {
    match files::path_problem(&error) {
        Some(why) => Error::Path { path, why },
        None => Error::Write { path, error },
    }
}

/// The error for a batch that returns no messages although some are left, as continuing would never end.
fn empty_piece(batch: &dyn Batch, skip: u32) -> Error {
    Error::Batch(format!("no message at {skip} of {} in {}", batch.count(), batch.shard()).into())
}
