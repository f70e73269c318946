//! A lock that dies with the process that holds it: the operating system's lock on a small file,
//! with the holder's process in it for the words of the one who is refused.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// The longest file name that common file systems take, in bytes.
const NAME_MAX: usize = 255;

/// A lock held. It is given back, and its file removed, on drop.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    path: PathBuf,
}

/// Why a lock was not given.
#[derive(Debug)]
pub(crate) enum LockError {
    /// Someone has it.
    Held {
        /// Their process, if it said so.
        by: Option<u32>,
    },
    /// The file system would not have it.
    Io(io::Error),
}

impl Lock {
    /// Takes the lock for `what` of the file at `path`. An empty `what` is the whole file.
    pub(crate) fn take(path: &Path, what: &str) -> Result<Lock, LockError> {
        let path = beside(path, what, "lock");
        loop {
            let mut file = OpenOptions::new()
                .create(true)
                .read(true)
                .write(true)
                .truncate(false)
                .open(&path)
                .map_err(LockError::Io)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(LockError::Held { by: holder(&mut file) });
                }
                Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
            }
            // The last holder may have removed the file between our opening and locking it: such
            // a lock would keep nobody out.
            if !is_at(&file, &path) {
                continue;
            }
            // The name is for words only, so a disk too full to hold it does not matter here.
            let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
            return Ok(Lock { file, path });
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while it is still held, so that `take` can tell.
        if cfg!(unix) && is_at(&self.file, &self.path) {
            let _ = fs::remove_file(&self.path);
        }
        let _ = self.file.unlock();
    }
}

/// The hidden file beside `path` that is named after it: `.NAME.WHAT.SUFFIX`.
pub(crate) fn beside(path: &Path, what: &str, suffix: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or(OsStr::new("_")));
    if !what.is_empty() {
        name.push(".");
        name.push(what);
    }
    if name.len() + 1 + suffix.len() > NAME_MAX {
        name = OsString::from(format!(".{:016x}", fnv1a(name.as_encoded_bytes())));
    }
    name.push(".");
    name.push(suffix);
    path.with_file_name(name)
}

/// The absolute path of the file, through symbolic links, so that one file has one name. The file
/// itself need not be there, its directory must.
pub(crate) fn resolve(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Ok(path) => Ok(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
            let parent = match path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            };
            Ok(fs::canonicalize(parent)?.join(name))
        }
        Err(error) => Err(error),
    }
}

/// Makes the entry of a new or renamed file outlive a loss of power.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    // Elsewhere a directory cannot be opened as a file, and renaming is durable by itself.
    if !cfg!(unix) {
        return Ok(());
    }
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(open), Ok(named)) => open.ino() == named.ino() && open.dev() == named.dev(),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_at(_file: &File, _path: &Path) -> bool {
    true
}

/// A stable hash for names that are too long. Two names that meet would only refuse each other.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_given_once_and_leaves_nothing_behind() {
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
    fn a_file_left_by_a_dead_holder_is_no_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        fs::write(dir.path().join(".a.db.lock"), "4000000\n").unwrap();
        Lock::take(&path, "").unwrap();
    }

    #[test]
    fn names_too_long_for_the_file_system_are_shortened() {
        let path = Path::new("/x").join("s".repeat(131));
        let name = beside(&path, &"s".repeat(128), "lock");
        assert!(name.file_name().unwrap().len() < NAME_MAX);
        assert_ne!(name, beside(&path, &"s".repeat(127), "lock"));
        assert_eq!(beside(Path::new("/x/a"), "", "tmp"), Path::new("/x/.a.tmp"));
    }

    #[test]
    #[cfg(unix)]
    fn a_symbolic_link_has_the_name_of_its_file() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("real"), "").unwrap();
        std::os::unix::fs::symlink("real", dir.path().join("link")).unwrap();
        assert_eq!(resolve(&dir.path().join("link")).unwrap(), resolve(&dir.path().join("real")).unwrap());
        assert!(resolve(&dir.path().join("new")).is_ok());
        assert!(resolve(&dir.path().join("none/new")).is_err());
    }
}
