//! A cache of compiled code.
//!
//! Anyone who can write to it can run code as the user. It is therefore used only if the directory and the file belong
//! to the user, nobody else can write to them, and the checksum in the file matches, which also detects torn and
//! damaged files. Otherwise the component is compiled again.

use std::fmt::Write;
use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};

/// The length of the checksum that a file starts with.
const SUM_LENGTH: usize = 32;

/// The largest file to read. The component compiles to about 1 MB.
const LENGTH_MAX: u64 = 256 << 20;

/// The number of files to keep. Each version of the program or of the component adds one.
const FILES_MAX: usize = 8;

/// The extensions of cached code and of a file being written.
const ENDINGS: [&str; 2] = [".code", ".new"];

/// A directory of compiled code.
pub(super) struct Cache {
    folder: Folder,
}

impl Cache {
    /// Opens the directory, or creates it.
    pub(super) fn open(path: &Path) -> io::Result<Cache> {
        Ok(Cache { folder: Folder::open(path)? })
    }

    /// Returns the code for this key, if it is there and can be trusted.
    pub(super) fn get(&self, key: &Key) -> Option<Vec<u8>> {
        let name = key.name();
        let mut bytes = match self.folder.read(&name, LENGTH_MAX) {
            Ok(bytes) => bytes?,
            Err(error) => {
                tracing::info!("not using cached code: {name}: {error}");
                return None;
            }
        };
        let is_whole = bytes.split_at_checked(SUM_LENGTH).is_some_and(|(sum, code)| sum == key.sum(code));
        if !is_whole {
            tracing::info!("cached code is damaged, compiling again: {name}");
            return None;
        }
        Some(bytes.split_off(SUM_LENGTH))
    }

    /// Stores code for this key. A failure only costs time later.
    pub(super) fn put(&self, key: &Key, code: &[u8]) {
        let sum = key.sum(code);
        let kept = self.folder.write(&key.name(), &[&sum, code]).and_then(|()| self.folder.shrink(FILES_MAX));
        if let Err(error) = kept {
            tracing::info!("cannot cache compiled code: {error}");
        }
    }
}

/// Identifies compiled code by the component and by the compiler and its settings.
pub(super) struct Key([u8; SUM_LENGTH]);

impl Key {
    pub(super) fn new(component: &[u8], compiler: impl std::hash::Hash) -> Key {
        let mut hasher = Summed(Sha256::new());
        compiler.hash(&mut hasher);
        hasher.0.update(component);
        Key(hasher.0.finalize().into())
    }

    fn name(&self) -> String {
        let mut name = String::new();
        for byte in &self.0[..16] {
            let _ = write!(name, "{byte:02x}");
        }
        name + ENDINGS[0]
    }

    /// The checksum of code for this key. It covers the key, so a renamed file does not match.
    fn sum(&self, code: &[u8]) -> [u8; SUM_LENGTH] {
        Sha256::new().chain_update(self.0).chain_update(code).finalize().into()
    }
}

/// Feeds a checksum with what implements [`Hash`](std::hash::Hash).
struct Summed(Sha256);

impl std::hash::Hasher for Summed {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

#[cfg(unix)]
use unix::Folder;

#[cfg(not(unix))]
use elsewhere::Folder;

#[cfg(unix)]
mod unix {
    use std::fs::{DirBuilder, File};
    use std::io::{self, Read, Write};
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::DirBuilderExt;
    use std::path::Path;

    use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, openat, renameat, stat, statat, unlinkat};
    use rustix::process::geteuid;

    use super::ENDINGS;

    /// A directory that is kept open, so that it stays the one that was checked even if its path changes.
    pub(super) struct Folder(OwnedFd);

    impl Folder {
        pub(super) fn open(path: &Path) -> io::Result<Folder> {
            make(path)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            if let Some(parent) = path.parent() {
                check_owner(&stat(parent)?)?;
            }
            let folder = openat(rustix::fs::CWD, path, flags, Mode::empty())?;
            check_owner(&fstat(&folder)?)?;
            Ok(Folder(folder))
        }

        pub(super) fn read(&self, name: &str, length_max: u64) -> io::Result<Option<Vec<u8>>> {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = match openat(&self.0, name, flags, Mode::empty()) {
                Ok(file) => File::from(file),
                Err(rustix::io::Errno::NOENT) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            let found = fstat(&file)?;
            check_owner(&found)?;
            if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile || found.st_nlink != 1 {
                return Err(io::Error::other("it is not a regular file with one name"));
            }
            let mut bytes = Vec::with_capacity(usize::try_from(found.st_size).unwrap_or_default());
            file.take(length_max).read_to_end(&mut bytes)?;
            Ok(Some(bytes))
        }

        pub(super) fn write(&self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
            let draft = format!("{:016x}{}", crate::random::random(), ENDINGS[1]);
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut file = File::from(openat(&self.0, &*draft, flags, Mode::RUSR | Mode::WUSR)?);
            let written = parts.iter().try_for_each(|part| file.write_all(part));
            let placed = written.and_then(|()| Ok(renameat(&self.0, &*draft, &self.0, name)?));
            if placed.is_err() {
                let _ = unlinkat(&self.0, &*draft, AtFlags::empty());
            }
            placed
        }

        /// Removes all but the newest files.
        pub(super) fn shrink(&self, files_max: usize) -> io::Result<()> {
            let mut files = Vec::new();
            for entry in Dir::read_from(&self.0)? {
                let entry = entry?;
                let name = entry.file_name().to_owned();
                if name.to_str().is_ok_and(|name| ENDINGS.iter().any(|ending| name.ends_with(ending))) {
                    let found = statat(&self.0, &name, AtFlags::SYMLINK_NOFOLLOW)?;
                    files.push((found.st_mtime, name));
                }
            }
            files.sort();
            let more = files.len().saturating_sub(files_max);
            for (_, name) in files.into_iter().take(more) {
                unlinkat(&self.0, &name, AtFlags::empty())?;
            }
            Ok(())
        }
    }

    /// Creates the directory, unless its nearest existing ancestor belongs to another user.
    fn make(path: &Path) -> io::Result<()> {
        if path.exists() {
            return Ok(());
        }
        let ancestor = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"));
        let owner = stat(ancestor)?.st_uid;
        if owner != geteuid().as_raw() && owner != 0 {
            return Err(io::Error::other("its parent directory belongs to another user"));
        }
        DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    /// Refuses a file or directory that belongs to another user or that others can write to.
    fn check_owner(found: &Stat) -> io::Result<()> {
        if found.st_uid != geteuid().as_raw() {
            return Err(io::Error::other("it belongs to another user"));
        }
        if Mode::from_raw_mode(found.st_mode).intersects(Mode::WGRP | Mode::WOTH) {
            return Err(io::Error::other("others can write to it"));
        }
        Ok(())
    }
}

#[cfg(not(unix))]
mod elsewhere {
    use std::fs::{self, File};
    use std::io::{self, Read, Write};
    use std::path::{Path, PathBuf};

    use super::ENDINGS;

    /// A directory in the user's profile, which the system protects.
    pub(super) struct Folder(PathBuf);

    impl Folder {
        pub(super) fn open(path: &Path) -> io::Result<Folder> {
            fs::create_dir_all(path)?;
            Ok(Folder(path.to_owned()))
        }

        pub(super) fn read(&self, name: &str, length_max: u64) -> io::Result<Option<Vec<u8>>> {
            let file = match File::open(self.0.join(name)) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            };
            let mut bytes = Vec::new();
            file.take(length_max).read_to_end(&mut bytes)?;
            Ok(Some(bytes))
        }

        pub(super) fn write(&self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
            let draft = self.0.join(format!("{:016x}{}", crate::random::random(), ENDINGS[1]));
            let mut file = File::create_new(&draft)?;
            let written = parts.iter().try_for_each(|part| file.write_all(part));
            let placed = written.and_then(|()| fs::rename(&draft, self.0.join(name)));
            if placed.is_err() {
                let _ = fs::remove_file(&draft);
            }
            placed
        }

        /// Removes all but the newest files.
        pub(super) fn shrink(&self, files_max: usize) -> io::Result<()> {
            let mut files = Vec::new();
            for entry in fs::read_dir(&self.0)? {
                let entry = entry?;
                let name = entry.file_name();
                if name.to_str().is_some_and(|name| ENDINGS.iter().any(|ending| name.ends_with(ending))) {
                    files.push((entry.metadata()?.modified()?, entry.path()));
                }
            }
            files.sort();
            let more = files.len().saturating_sub(files_max);
            files.into_iter().take(more).try_for_each(|(_, path)| fs::remove_file(path))
        }
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn cached_code_is_found_only_under_its_key() {
        let (_dir, path) = directory();
        let cache = Cache::open(&path).unwrap();
        let (one, other) = (Key::new(b"one", 1), Key::new(b"one", 2));
        assert_eq!(cache.get(&one), None);
        cache.put(&one, b"code");
        assert_eq!(cache.get(&one).as_deref(), Some(&b"code"[..]));
        assert_eq!(cache.get(&other), None);
        assert_eq!(Cache::open(&path).unwrap().get(&one).as_deref(), Some(&b"code"[..]));
        // A file that was renamed to another key's name does not match.
        fs::rename(path.join(one.name()), path.join(other.name())).unwrap();
        assert_eq!(cache.get(&other), None);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(path.join(other.name())).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_or_foreign_file_is_replaced_and_not_used() {
        let (dir, path) = directory();
        let cache = Cache::open(&path).unwrap();
        let key = Key::new(b"component", 1);
        let file = path.join(key.name());
        let mode = |mode| fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        type Damage<'a> = &'a dyn Fn(&[u8]);
        let damages: [Damage<'_>; 8] = [
            &|bytes| fs::write(&file, &bytes[..bytes.len() - 1]).unwrap(),
            &|bytes| fs::write(&file, [bytes, b"x"].concat()).unwrap(),
            &|bytes| fs::write(&file, [&bytes[..35], b"X", &bytes[36..]].concat()).unwrap(),
            &|_| fs::write(&file, "").unwrap(),
            &|_| mode(0o620),
            &|_| mode(0o602),
            &|_| fs::hard_link(&file, dir.path().join("hard")).unwrap(),
            &|_| {
                fs::rename(&file, dir.path().join("real")).unwrap();
                symlink(dir.path().join("real"), &file).unwrap();
            },
        ];
        for (count, damage) in damages.iter().enumerate() {
            cache.put(&key, b"code");
            assert_eq!(cache.get(&key).as_deref(), Some(&b"code"[..]), "{count}");
            damage(&fs::read(&file).unwrap());
            assert_eq!(cache.get(&key), None, "{count}");
        }
        cache.put(&key, b"code");
        assert_eq!(cache.get(&key).as_deref(), Some(&b"code"[..]));
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_not_used() {
        let (_dir, path) = directory();
        Cache::open(&path).unwrap();
        for folder in [&*path, path.parent().unwrap()] {
            for mode in [0o770, 0o707, 0o1777] {
                fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
                assert!(Cache::open(&path).is_err(), "{mode:o}");
            }
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
        }
        Cache::open(&path).unwrap();
        let link = path.with_file_name("link");
        symlink(&path, &link).unwrap();
        assert!(Cache::open(&link).is_err());
    }

    #[test]
    fn the_oldest_files_are_removed() {
        let (_dir, path) = directory();
        let cache = Cache::open(&path).unwrap();
        fs::write(path.join("notes"), "").unwrap();
        fs::write(path.join("torn.new"), "").unwrap();
        fs::File::options()
            .write(true)
            .open(path.join("torn.new"))
            .and_then(|file| file.set_modified(std::time::UNIX_EPOCH))
            .unwrap();
        for key in 0..FILES_MAX {
            cache.put(&Key::new(b"component", key), b"code");
        }
        assert!(!path.join("torn.new").exists() && path.join("notes").exists());
        assert_eq!(fs::read_dir(&path).unwrap().count(), FILES_MAX + 1);
    }

    fn directory() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a").join("b");
        (dir, path)
    }
}
