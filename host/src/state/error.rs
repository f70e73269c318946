//! Why a state cannot be used, and what to do about it.

use std::fmt::{self, Write as _};
use std::io;
use std::path::PathBuf;

use crate::terminal::Clean;

/// Why a state cannot be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// Another reader holds the state.
    Held {
        /// The path of the state.
        path: PathBuf,
        /// The process id of the other reader, if known.
        by: Option<u32>,
    },
    /// Something that is not a lock is at the path of the lock of the state or the output.
    Lock {
        /// The path of the lock.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The file was removed or replaced since it was opened.
    Replaced {
        /// The path of the state.
        path: PathBuf,
    },
    /// The file is not a state, or is damaged.
    Damaged {
        /// The path of the state.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The file was written by a later version of this program.
    Version {
        /// The path of the state.
        path: PathBuf,
        /// The version in the file.
        version: u64,
    },
    /// The path cannot be used, for example because it is a directory or its directory does not exist.
    Path {
        /// The path as given.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The file could not be read.
    Read {
        /// The path of the state.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file could not be written. The old state is still there.
    Write {
        /// The path of the state.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The checkpoint to save is not JSON text, so it could not be loaded again.
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
                write!(f, "the state has an unknown version: {}: {version}", path.display())
            }
            Error::Path { path, why } => {
                write!(f, "invalid path for the state: {}: {why}", path.display())
            }
            Error::Read { path, error } => {
                write!(f, "cannot read the state: {}: {error}", path.display())
            }
            Error::Write { path, error } => {
                write!(f, "cannot write the state: {}: {error}", path.display())
            }
            Error::Checkpoint(why) => write!(f, "the checkpoint is not JSON: {why}"),
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
            Error::Held { .. } => Some("wait until it has finished, or give each reader a state of its own".to_owned()),
            Error::Lock { path, .. } => Some(format!("remove {}, which is not a lock of this program", path.display())),
            Error::Replaced { .. } => Some(
                "restore it and run again to continue from the last checkpoint; without it, the next run starts over"
                    .to_owned(),
            ),
            Error::Damaged { path, .. } => {
                Some(format!("restore {} from a backup, or move it away to start over", path.display()))
            }
            Error::Version { .. } => Some("use a later version of this program".to_owned()),
            Error::Path { .. } => Some("choose the path of a regular file in an existing directory".to_owned()),
            Error::Read { error, .. } | Error::Write { error, .. } => io_hint(error).map(str::to_owned),
            Error::Checkpoint(_) => None,
        }
    }

    /// Whether the settings or the saved state are at fault, so that trying again would not help.
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

/// What to do about a failure of the file system, if that is not obvious from its message.
pub(crate) fn io_hint(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Some("make the file and its directory writable, or choose another path")
        }
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Some("choose a path in an existing directory"),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("make room and run again: it continues from the last checkpoint")
        }
        io::ErrorKind::FileTooLarge => Some(
            "make room by raising the limit on file sizes (ulimit -f), and run again: it continues from the last checkpoint",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_state_is_a_usage_error_and_a_full_disk_is_not() {
        let path = PathBuf::from("s.json");
        let held = Error::Held { path: path.clone(), by: Some(7) };
        assert_eq!(held.to_string(), "another reader, process 7, holds the state: s.json");
        assert!(held.is_usage_error() && held.hint().is_some());

        let full = Error::Write { path, error: io::ErrorKind::StorageFull.into() };
        assert!(!full.is_usage_error());
        assert!(full.hint().is_some_and(|hint| hint.contains("make room")));
    }
}
