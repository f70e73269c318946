//! Refuses to use one file for two purposes, as a report written over a database would destroy it.
//!
//! All files of a run are compared before any of them is opened, including locks, drafts and the files that SQLite
//! keeps next to a database. Two paths name the same file if their directory and name are the same, or their device and
//! inode. Hard links, symbolic links and bind mounts are therefore recognized.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::destination::companions;
use crate::files::{Identity, draft_name, is_character_device, resolve, unfollowed};
use crate::state::lock::lock_name;

/// What a file is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Given by this flag.
    Flag(&'static str),
    /// Given by this environment variable, or its default.
    Variable(&'static str),
    /// Created next to the file given by a flag.
    Beside(&'static str, &'static str),
    /// The standard output.
    Stdout,
    /// The standard error.
    Stderr,
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Purpose::Flag(name) | Purpose::Variable(name) => f.write_str(name),
            Purpose::Beside(what, flag) => write!(f, "the {what} of {flag}"),
            Purpose::Stdout => f.write_str("stdout"),
            Purpose::Stderr => f.write_str("stderr"),
        }
    }
}

/// The files of a run.
#[derive(Debug, Default)]
pub(crate) struct Files(Vec<Claimed>);

#[derive(Debug)]
struct Claimed {
    purpose: Purpose,
    path: PathBuf,
    /// Its directory and name. `None` for an open file.
    location: Option<(Directory, OsString)>,
    /// `None` if nothing is there, or a device.
    identity: Option<Identity>,
    is_written: bool,
}

/// A directory by identity or, where the system has none, by canonical path.
#[derive(Debug, PartialEq, Eq)]
enum Directory {
    Known(Identity),
    Named(PathBuf),
}

/// Two purposes that share a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SameFile {
    /// One purpose.
    pub one: Purpose,
    /// The other.
    pub other: Purpose,
    /// The file, as given for the first.
    pub path: PathBuf,
}

impl Files {
    /// Adds a database, with its lock and SQLite's own files.
    pub(crate) fn database(&mut self, flag: &'static str, path: &Path, stream: &str) {
        self.written(Purpose::Flag(flag), path);
        let Ok(resolved) = resolve(path) else { return };
        for (what, companion) in companions(&resolved) {
            self.written(Purpose::Beside(what, flag), &companion);
        }
        self.written(Purpose::Beside("lock", flag), &lock_name(&resolved, stream));
    }

    /// Adds a state, with its draft and lock.
    pub(crate) fn state(&mut self, flag: &'static str, path: &Path) {
        self.written(Purpose::Flag(flag), path);
        let Ok(resolved) = resolve(path) else { return };
        self.written(Purpose::Beside("draft", flag), &draft_name(&resolved));
        self.written(Purpose::Beside("lock", flag), &lock_name(&resolved, ""));
    }

    /// Adds a file that is written.
    pub(crate) fn written(&mut self, purpose: Purpose, path: &Path) {
        self.0.push(Claimed::new(purpose, path, true));
    }

    /// Adds a file that is only read.
    pub(crate) fn read(&mut self, purpose: Purpose, path: &Path) {
        self.0.push(Claimed::new(purpose, path, false));
    }

    /// Adds a file that is already open.
    pub(crate) fn open(&mut self, purpose: Purpose, file: &File) {
        let Ok(found) = file.metadata() else { return };
        if found.is_file() {
            let path = PathBuf::from(purpose.to_string());
            self.0.push(Claimed { purpose, path, location: None, identity: Identity::of(&found), is_written: true });
        }
    }

    /// Fails if two purposes share a file, unless both only read it.
    pub(crate) fn check(&self) -> Result<(), SameFile> {
        for (count, one) in self.0.iter().enumerate() {
            for other in &self.0[count + 1..] {
                if (one.is_written || other.is_written) && one.is_same(other) {
                    return Err(SameFile { one: one.purpose, other: other.purpose, path: one.path.clone() });
                }
            }
        }
        Ok(())
    }
}

impl Claimed {
    fn new(purpose: Purpose, path: &Path, is_written: bool) -> Claimed {
        // Files that are created next to others are never reached through a link.
        let is_followed = !matches!(purpose, Purpose::Beside(..));
        let resolved = if is_followed { resolve(path) } else { unfollowed(path) };
        // A path that cannot be resolved cannot be opened either, and opening it reports why.
        let location = resolved.ok().and_then(|resolved| {
            let (directory, name) = (resolved.parent()?, resolved.file_name()?);
            let known = Identity::at(directory).map(Directory::Known);
            Some((known.unwrap_or_else(|| Directory::Named(directory.to_owned())), fold_case(name.to_owned())))
        });
        // A device can serve several purposes.
        let found = if is_followed { fs::metadata(path) } else { fs::symlink_metadata(path) };
        let found = found.ok().filter(|found| !is_character_device(found));
        let identity = found.and_then(|found| Identity::of(&found));
        Claimed { purpose, path: path.to_owned(), location, identity, is_written }
    }

    fn is_same(&self, other: &Claimed) -> bool {
        if matches!((self.purpose, other.purpose), (Purpose::Stdout, Purpose::Stderr)) {
            // The user asked the shell for this.
            return false;
        }
        match (self.identity, other.identity) {
            (Some(one), Some(other)) if one == other => return true,
            // Both exist and are different files.
            (Some(_), Some(_)) => return false,
            (None, _) | (_, None) => {}
        }
        let is_device = |claimed: &Claimed| claimed.identity.is_none() && claimed.path.exists() && cfg!(unix);
        self.location.is_some() && self.location == other.location && !is_device(self)
    }
}

/// The name in lower case where file systems usually ignore case.
fn fold_case(name: OsString) -> OsString {
    if cfg!(any(windows, target_os = "macos")) { name.to_ascii_lowercase() } else { name }
}

impl fmt::Display for SameFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SameFile { one, other, path } = self;
        write!(f, "{one} and {other} are the same file: {}", path.display())
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    const ONE: Purpose = Purpose::Flag("--one");
    const OTHER: Purpose = Purpose::Flag("--other");

    #[test]
    fn a_file_is_recognized_by_any_of_its_names() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("d")).unwrap();
        std::os::unix::fs::symlink("d", at("e")).unwrap();
        fs::write(at("d/file"), "").unwrap();
        fs::hard_link(at("d/file"), at("hard")).unwrap();
        std::os::unix::fs::symlink("d/file", at("soft")).unwrap();
        std::os::unix::fs::symlink("d/new", at("dangling")).unwrap();
        for (one, other, is_same) in [
            ("d/file", "d/file", true),
            ("d/file", "d/../d/./file", true),
            ("d/file", "e/file", true),
            ("d/file", "hard", true),
            ("hard", "soft", true),
            ("d/new", "e/new", true),
            ("d/new", "dangling", true),
            ("d/new", "new", false),
            ("d/file", "d/new", false),
            ("d/file", "d/file-wal", false),
            ("/dev/null", "/dev/null", false),
            ("none/a", "none/a", false),
        ] {
            let mut files = Files::default();
            files.written(ONE, &at(one));
            files.read(OTHER, &at(other));
            let found = files.check();
            assert_eq!(found.is_err(), is_same, "{one} {other}: {found:?}");
        }
    }

    #[test]
    fn files_created_next_to_another_belong_to_its_purpose() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (name, words) in [
            ("a.db", "--to and --one are the same file"),
            ("a.db-wal", "the write-ahead log of --to and --one are the same file"),
            ("a.db-shm", "the shared memory of --to"),
            ("a.db-journal", "the journal of --to"),
            (".a.db.orders.lock", "the lock of --to"),
            ("s", "--state and --one are the same file"),
            (".s.new", "the draft of --state"),
            (".s.lock", "the lock of --state"),
        ] {
            let mut files = Files::default();
            files.database("--to", &at("a.db"), "orders");
            files.state("--state", &at("s"));
            files.check().unwrap();
            files.written(ONE, &at(name));
            let error = files.check().unwrap_err().to_string();
            assert!(error.contains(words) && error.contains(name), "{error}");
        }
        // It does no harm to only read a file for two purposes.
        let mut files = Files::default();
        files.read(ONE, &at("x"));
        files.read(OTHER, &at("x"));
        files.check().unwrap();
    }
}
