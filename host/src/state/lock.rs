//! A lock that ends with the process that holds it: the operating system's lock on a small file. The file contains the
//! holder's process id, for the error message of a process that is refused.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::files::{Unusable, beside, is_at, is_unusable, open_or_create, path_problem};

/// How often to retry if another process removes the lock at the same moment.
const TRIES_MAX: u32 = 100;

/// The number of bytes to read, which is more than a process id and a newline take.
const LENGTH_MAX: u64 = 32;

/// A lock that is held. Dropping it releases it and removes the file.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    path: PathBuf,
}

/// Why a lock could not be taken.
#[derive(Debug)]
pub(crate) enum LockError {
    /// Another process holds it.
    Held {
        /// The id of that process, if known.
        by: Option<u32>,
    },
    /// Something that is not a lock is at the path of the lock.
    Taken {
        /// The path of the lock.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The file system failed.
    Io(io::Error),
}

/// The path of the lock for the part `what` of the file at `path`.
pub(crate) fn lock_name(path: &Path, what: &str) -> PathBuf {
    beside(path, what, "lock")
}

impl Lock {
    /// Takes the lock for the part `what` of the file at `path`. An empty `what` means the whole file.
    pub(crate) fn take(path: &Path, what: &str) -> Result<Lock, LockError> {
        let path = lock_name(path, what);
        for _ in 0..TRIES_MAX {
            let mut options = OpenOptions::new();
            options.read(true).write(true);
            let (mut file, _) = open_or_create(&path, &options).map_err(|error| LockError::at(&path, error))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(LockError::Held { by: holder(&mut file) });
                }
                Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
            }
            // The last holder may have removed the file after we opened it. Such a lock would exclude no other process.
            if !is_at(&file, &path) {
                continue;
            }
            if !is_lock(&mut file).map_err(LockError::Io)? {
                return Err(LockError::Taken { path, why: "it is not a lock" });
            }
            // The process id is only for error messages, so a full disk does not matter.
            let _ = write_holder(&mut file);
            return Ok(Lock { file, path });
        }
        Err(LockError::at(&path, Unusable::Unstable.into()))
    }
}

impl LockError {
    /// Classifies a failure to open or create the lock file.
    fn at(path: &Path, error: io::Error) -> LockError {
        match path_problem(&error) {
            Some(why) if is_unusable(&error) => LockError::Taken { path: path.to_owned(), why },
            _ => LockError::Io(error),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while it is still locked, so that `take` notices.
        if cfg!(unix) && is_at(&self.file, &self.path) {
            let _ = fs::remove_file(&self.path);
        }
        let _ = self.file.unlock();
    }
}

/// Whether the file contains a process id, or nothing because a holder died before writing it. Anything else, such as a
/// hard link to another file, must not be overwritten.
fn is_lock(file: &mut File) -> io::Result<bool> {
    let found = file.metadata()?;
    #[cfg(unix)]
    if std::os::unix::fs::MetadataExt::nlink(&found) > 1 {
        return Ok(false);
    }
    Ok(found.len() == 0 || holder(file).is_some())
}

/// Writes the process id to the file in one write.
fn write_holder(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(format!("{}\n", std::process::id()).as_bytes())
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(LENGTH_MAX).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_exclusive_and_leaves_no_file_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let lock = Lock::take(&path, "orders").unwrap();
        assert!(dir.path().join(".a.db.orders.lock").exists());
        match Lock::take(&path, "orders") {
            Err(LockError::Held { by }) => assert_eq!(by, Some(std::process::id())),
            other => panic!("{other:?}"),
        }
        let other = Lock::take(&path, "payments").unwrap();
        drop((lock, other));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        Lock::take(&path, "orders").unwrap();
    }

    #[test]
    fn a_file_left_by_a_dead_holder_is_not_a_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        for left in ["4000000\n", ""] {
            let file = dir.path().join(".a.db.lock");
            fs::write(&file, left).unwrap();
            let _lock = Lock::take(&path, "").unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), format!("{}\n", std::process::id()));
        }
    }

    #[test]
    #[cfg(unix)]
    fn another_file_at_the_path_of_the_lock_is_left_unchanged() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let (path, lock) = (at("a.db"), at(".a.db.lock"));
        for text in ["precious", "1\n2", "99999999999999999999999999999999999999999"] {
            fs::write(&lock, text).unwrap();
            assert!(matches!(Lock::take(&path, ""), Err(LockError::Taken { .. })), "{text}");
            assert_eq!(fs::read_to_string(&lock).unwrap(), text);
            fs::remove_file(&lock).unwrap();
        }

        fs::write(at("empty"), "").unwrap();
        fs::hard_link(at("empty"), &lock).unwrap();
        assert!(matches!(Lock::take(&path, ""), Err(LockError::Taken { .. })));
        fs::remove_file(&lock).unwrap();

        std::os::unix::fs::symlink("empty", &lock).unwrap();
        assert!(matches!(Lock::take(&path, ""), Err(LockError::Taken { why, .. }) if why.contains("link")));
        fs::remove_file(&lock).unwrap();
        std::os::unix::fs::symlink("nowhere", &lock).unwrap();
        assert!(matches!(Lock::take(&path, ""), Err(LockError::Taken { why, .. }) if why.contains("link")));
        fs::remove_file(&lock).unwrap();
        assert!(!at("nowhere").exists());

        fs::create_dir(&lock).unwrap();
        assert!(matches!(Lock::take(&path, ""), Err(LockError::Taken { why, .. }) if why.contains("directory")));
        fs::remove_dir(&lock).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(&lock).unwrap();
        assert!(matches!(Lock::take(&path, ""), Err(LockError::Taken { why, .. }) if why.contains("regular")));
        assert_eq!(fs::read(at("empty")).unwrap(), b"");
    }
}
