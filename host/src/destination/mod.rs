//! Where messages go, and how they become safe.
//!
//! A [`Destination`] takes batches and, on [`commit`](Destination::commit), makes them safe
//! together with the reader's checkpoint: in one transaction where there is one, else messages
//! first. After a crash at any moment the checkpoint it gives stands for exactly the messages it
//! holds, so that reading on from there has each message once. Standard output is the exception:
//! what was written there cannot be taken back, so a crash may repeat messages.
//!
//! A call that fails leaves nothing half-written behind: what was not committed is undone, there
//! and then or when the destination is opened next, and every later call fails with
//! [`Error::Broken`].

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

/// The messages of one page of one shard, or of a part of it, rendered as they are asked for.
pub trait Batch {
    /// The shard that all the messages are from.
    fn shard(&self) -> &str;

    /// The number of messages: at least one.
    fn count(&self) -> u32;

    /// Lines from message `skip` on: at least one if there is one, else as many as fit in `size`
    /// bytes.
    fn lines(&mut self, skip: u32, size: u32) -> Result<Lines, BatchError>;

    /// Lines of the messages from number `skip` on whose data cannot be put as asked: at least one
    /// if there is one, else as many as fit in `size` bytes.
    fn invalid_lines(&mut self, skip: u32, size: u32) -> Result<InvalidLines, BatchError>;

    /// Messages from number `skip` on: at least one if there is one, else as many as fit in `size`
    /// bytes of their texts and data.
    fn messages(&mut self, skip: u32, size: u32) -> Result<Vec<Message>, BatchError>;
}

/// Why a batch could not be rendered. It passes through.
pub type BatchError = Box<dyn std::error::Error + Send + Sync>;

/// Some lines of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// Newline-delimited JSON, whole lines.
    pub text: String,
    /// The number of lines in `text`.
    pub count: u32,
    /// Of these, the lines whose data stands as base64 because it could not be put as asked.
    pub invalid: u32,
}

/// Some lines of the messages whose data could not be put as asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InvalidLines {
    /// Newline-delimited JSON, whole lines, each with its reason as `_kinesis_reason`.
    pub text: String,
    /// The number of lines in `text`.
    pub count: u32,
    /// The number of the message to go on with.
    pub next: u32,
}

/// A message and its envelope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Equal each time the message is read, and of no other message.
    pub id: String,
    /// The sequence number of its record.
    pub sequence: String,
    /// The position within an aggregated record. None: it was not aggregated.
    pub subsequence: Option<u32>,
    /// None: the stream distributes records by itself and names no key.
    pub partition_key: Option<String>,
    /// When Kinesis took it in: milliseconds since the Unix epoch.
    pub arrived: u64,
    /// The payload.
    pub data: Vec<u8>,
}

/// What a batch came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The messages in the batch.
    pub messages: u64,
    /// The bytes written, of lines or of rows: with them, and not with the bytes that the stream
    /// holds, grows what waits for a commit.
    pub bytes: u64,
    /// The messages whose data stands as base64 because it could not be put as asked.
    pub invalid: u64,
    /// The messages that were not there before.
    pub new: u64,
}

/// A place for messages.
pub trait Destination: Send {
    /// The checkpoint that stands with what is safe here, if there is one.
    fn checkpoint(&mut self) -> Result<Option<String>, Error>;

    /// Takes a batch. It is not safe before [`commit`](Self::commit).
    fn write(&mut self, batch: &mut dyn Batch) -> Result<Written, Error>;

    /// Makes everything written so far safe, and `checkpoint` with it.
    fn commit(&mut self, checkpoint: &str) -> Result<(), Error>;

    /// As [`commit`](Self::commit), told only of the positions that changed since the last commit: a checkpoint with these
    /// alone. False: a checkpoint is taken whole here, or this time, and nothing was done.
    ///
    /// For a destination that keeps each position by itself: a commit then costs as much whatever the number of shards.
    fn commit_changes(&mut self, changes: &str) -> Result<bool, Error> {
        let _ = changes;
        Ok(false)
    }
}

/// A destination whose checkpoint is kept elsewhere: the messages are made safe first, then the
/// checkpoint. Between the two a crash repeats messages; a destination that knows messages by
/// their identifiers takes such a message as the one it has.
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

/// Why messages could not be put there, or a database not be shown.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The batch could not be rendered.
    Batch(BatchError),
    /// Whoever read the output has gone. For a program in a pipe this is no failure.
    ClosedPipe,
    /// The state beside the destination failed.
    State(state::Error),
    /// An earlier call failed, and what it left was undone.
    Broken,
    /// The path cannot be that of the output: a directory, or in one that is not there.
    Path {
        /// The path given.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Another reader writes there.
    Held {
        /// The output.
        path: PathBuf,
        /// The stream, where an output takes several.
        stream: Option<String>,
        /// The other reader's process, if it said so.
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
    /// Standard output, or another stream, could not be written.
    Stream(io::Error),
    /// The file has bytes, and no state says what they stand for.
    Unexplained {
        /// The file.
        path: PathBuf,
        /// Its length.
        length: u64,
    },
    /// The file has less than the state says is safe.
    Shorter {
        /// The file.
        path: PathBuf,
        /// Its length. None: it is not there.
        length: Option<u64>,
        /// The length that was safe.
        safe: u64,
    },
    /// A database in memory was asked for.
    InMemory,
    /// The file is no database.
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// The database is damaged.
    Corrupt {
        /// The database.
        path: PathBuf,
        /// SQLite's words for it.
        why: String,
    },
    /// The database has a table by that name that is not ours.
    ForeignTable {
        /// The database.
        path: PathBuf,
        /// The table.
        table: String,
        /// What it lacks.
        why: String,
    },
    /// The name that the stream's table would have is taken.
    NameTaken {
        /// The database.
        path: PathBuf,
        /// The name.
        name: String,
        /// What has it.
        by: String,
    },
    /// Another reader has moved the stream's checkpoint since it was read.
    Overtaken {
        /// The database.
        path: PathBuf,
        /// The stream.
        stream: String,
    },
    /// SQLite failed otherwise.
    Database {
        /// The database.
        path: PathBuf,
        /// What was being done, as in "write to".
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
            Error::ClosedPipe => write!(f, "the reader of the output has gone"),
            Error::State(error) => write!(f, "{error}"),
            Error::Broken => write!(f, "the output failed before and takes no more"),
            Error::Path { path, why } => {
                write!(f, "the output cannot be there: {}: {why}", path.display())
            }
            Error::Held { path, stream, by } => {
                write!(f, "another reader")?;
                if let Some(by) = by {
                    write!(f, ", process {by},")?;
                }
                write!(f, " writes")?;
                if let Some(stream) = stream {
                    write!(f, " the stream {stream}")?;
                }
                write!(f, " there: {}", path.display())
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
            Error::Shorter { path, length: Some(length), safe } => {
                write!(f, "the file is shorter than its state says, {length} bytes of {safe}: {}", path.display())
            }
            Error::Shorter { path, length: None, safe } => {
                write!(f, "the file is gone, and its state says it holds {safe} bytes: {}", path.display())
            }
            Error::InMemory => write!(f, "a database in memory keeps nothing: :memory:"),
            Error::NotADatabase { path } => {
                write!(f, "the file is not a SQLite database: {}", path.display())
            }
            Error::Corrupt { path, why } => {
                write!(f, "the database is damaged: {}: {why}", path.display())
            }
            Error::ForeignTable { path, table, why } => {
                write!(f, "the database has another table of that name: {}: {table}: {why}", path.display())
            }
            Error::NameTaken { path, name, by } => {
                write!(f, "the name of the stream's table is taken by {by}: {}: {name}", path.display())
            }
            Error::Overtaken { path, stream } => {
                write!(f, "another reader has moved the checkpoint of the stream {stream}: {}", path.display())
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
            Error::Path { .. } => "give the path of a regular file in a directory that exists",
            Error::Held { .. } => "wait until it is done, or give another output",
            Error::Write { error, .. } | Error::Stream(error) => {
                return state::io_hint(error).map(str::to_owned);
            }
            Error::Replaced { .. } | Error::Altered { .. } => {
                "restore the file and run again: the checkpoint has not moved past what the file held at the last commit"
            }
            Error::Unexplained { .. } => "move the file away, or give the state that goes with it: --state file:PATH",
            Error::Shorter { .. } => {
                "bring the file back; or, to go on in a new file, give its path and this state: --state file:PATH"
            }
            Error::InMemory => "give the path of a file; one of that very name is ./:memory:",
            Error::NotADatabase { .. } => "give the path of a SQLite database, or of a new file",
            Error::Corrupt { .. } => {
                "bring the database back from a copy, or save what is left: sqlite3 DATABASE .recover"
            }
            Error::ForeignTable { .. } | Error::NameTaken { .. } => {
                "give the stream a database of its own: --to sqlite:PATH"
            }
            Error::Overtaken { .. } => {
                "let one reader at a time write a stream to a database; run again to go on from its checkpoint"
            }
            Error::Database { error, .. } => return sqlite::hint(error).map(str::to_owned),
        };
        Some(hint.to_owned())
    }

    /// Whether another command line would help, rather than another try.
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

/// What opening a file at `path` came to, when it failed.
fn misplaced(path: PathBuf, error: io::Error) -> Error {
    match files::wrong_with(&error) {
        Some(why) => Error::Path { path, why },
        None => Error::Write { path, error },
    }
}

/// A batch gave nothing where it has something: going on would never end.
fn empty_answer(batch: &dyn Batch, skip: u32) -> Error {
    Error::Batch(format!("no message at {skip} of {} in {}", batch.count(), batch.shard()).into())
}
