//! Where a checkpoint is kept between runs when it is not kept with the messages.
//!
//! A [`State`] holds one [`Saved`] value: the reader's checkpoint, and for an output that is cut
//! to a length, that length. Whoever opens a state owns it until it is dropped: a second reader
//! of the same state is refused, since two readers would undo each other's progress.
//!
//! The checkpoint is JSON text made by the reader. Nothing here looks into it.

mod file;
pub(crate) mod lock;
mod memory;

use std::fmt::{self, Write as _};
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::terminal::Clean;

pub use file::FileState;
pub use memory::MemoryState;

/// A place for a checkpoint.
pub trait State: Send {
    /// What was saved last, if anything was.
    fn load(&mut self) -> Result<Option<Saved>, Error>;

    /// Replaces what was saved. Once this returns, `saved` outlives a loss of power; if it fails,
    /// what was saved before is still there.
    fn save(&mut self, saved: &Saved) -> Result<(), Error>;
}

/// A checkpoint, and what is safe in the output that it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// The reader's checkpoint: JSON text.
    pub checkpoint: String,
    /// The file that the messages up to the checkpoint are in, if there is one to keep in step.
    pub output: Option<Output>,
}

/// An output file and how much of it is safe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// The file's absolute path.
    pub path: String,
    /// The bytes that belong to the checkpoint. What follows them is not safe.
    pub length: u64,
}

/// Why a state could not be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// Another reader holds the state.
    Held {
        /// The state's file.
        path: PathBuf,
        /// The other reader's process, if it said so.
        by: Option<u32>,
    },
    /// There is something else at the path of the state's or the output's lock.
    Lock {
        /// The path of the lock.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The file was removed or replaced since it was opened.
    Replaced {
        /// The state's file.
        path: PathBuf,
    },
    /// The file is not a state, or is a state that was altered.
    Damaged {
        /// The state's file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The file was written by a later version of this program.
    Version {
        /// The state's file.
        path: PathBuf,
        /// The version that it names.
        version: u64,
    },
    /// The path cannot be that of a state: a directory, or in a directory that is not there.
    Path {
        /// The path given.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The file could not be read.
    Read {
        /// The state's file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file could not be written. What was saved before is still there.
    Write {
        /// The state's file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The checkpoint given is no JSON text and could not be read again.
    Checkpoint(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = Clean(f);
        match self {
            Error::Held { path, by: Some(by) } => {
                write!(f, "another reader, process {by}, holds the state: {}", path.display())
            }
            Error::Held { path, by: None } => {
                write!(f, "another reader holds the state: {}", path.display())
            }
            Error::Lock { path, why } => {
                write!(f, "cannot take the lock: {}: {why}", path.display())
            }
            Error::Replaced { path } => {
                write!(f, "the state was removed or replaced during the run: {}", path.display())
            }
            Error::Damaged { path, why } => {
                write!(f, "the state is damaged: {}: {why}", path.display())
            }
            Error::Version { path, version } => {
                write!(f, "the state is of an unknown version: {}: {version}", path.display())
            }
            Error::Path { path, why } => {
                write!(f, "the state cannot be there: {}: {why}", path.display())
            }
            Error::Read { path, error } => {
                write!(f, "cannot read the state: {}: {error}", path.display())
            }
            Error::Write { path, error } => {
                write!(f, "cannot write the state: {}: {error}", path.display())
            }
            Error::Checkpoint(why) => write!(f, "the checkpoint is no JSON text: {why}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Read { error, .. } | Error::Write { error, .. } => Some(error),
            Error::Held { .. }
            | Error::Lock { .. }
            | Error::Replaced { .. }
            | Error::Damaged { .. }
            | Error::Version { .. }
            | Error::Path { .. }
            | Error::Checkpoint(_) => None,
        }
    }
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Held { .. } => Some("wait until it is done, or give each reader a state of its own".to_owned()),
            Error::Lock { path, .. } => Some(format!("remove {}, which is not a lock of this program", path.display())),
            Error::Replaced { .. } => Some(
                "restore it and run again to go on from the last checkpoint; without it, the next run starts over"
                    .to_owned(),
            ),
            Error::Damaged { path, .. } => {
                Some(format!("bring {} back from a copy, or move it away to begin anew", path.display()))
            }
            Error::Version { .. } => Some("use a later version of this program".to_owned()),
            Error::Path { .. } => Some("give the path of a regular file in a directory that exists".to_owned()),
            Error::Read { error, .. } | Error::Write { error, .. } => io_hint(error).map(str::to_owned),
            Error::Checkpoint(_) => None,
        }
    }

    /// Whether another command line would help, rather than another try.
    pub fn is_usage_error(&self) -> bool {
        match self {
            Error::Held { .. }
            | Error::Lock { .. }
            | Error::Damaged { .. }
            | Error::Version { .. }
            | Error::Path { .. } => true,
            Error::Replaced { .. } | Error::Read { .. } | Error::Write { .. } | Error::Checkpoint(_) => false,
        }
    }
}

/// What to do about a failure of the file system, where its own words leave that open.
pub(crate) fn io_hint(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Some("make the file and its directory writable, or give another path")
        }
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Some("give a path in a directory that exists"),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("make room and run again: it goes on from the last checkpoint")
        }
        io::ErrorKind::FileTooLarge => Some(
            "make room by raising the limit on file sizes (ulimit -f), and run again: it goes on from the last checkpoint",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_user_can_put_right_is_told_apart_from_what_the_machine_lacks() {
        let path = PathBuf::from("s.json");
        let held = Error::Held { path: path.clone(), by: Some(7) };
        assert_eq!(held.to_string(), "another reader, process 7, holds the state: s.json");
        assert!(held.is_usage_error() && held.hint().is_some());

        let full = Error::Write { path, error: io::ErrorKind::StorageFull.into() };
        assert!(!full.is_usage_error());
        assert!(full.hint().is_some_and(|hint| hint.contains("make room")));
    }
}
