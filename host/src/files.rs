//! Opening, creating and replacing files safely.
//!
//! - A path given by the user is resolved once, at the start, and everything after that works on the result.
//!   No symbolic link is followed later, so a link planted at the name of the file, its lock or its next version has no
//!   effect.
//! - Only regular files are opened. Opening a pipe could block, and a device does not keep what is written to it.
//! - Files are created exclusively and replaced atomically. A replacement keeps the mode of the old file and, where
//!   permitted, its owner.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::random::random;

/// The longest file name that common file systems take, in bytes.
const NAME_MAX: usize = 255;

/// The number of symbolic links to follow in one path. Linux has the same limit.
const LINKS_MAX: u32 = 40;

/// How often to retry when a file appears or disappears between two system calls.
const TRIES_MAX: u32 = 100;

/// Why the file at a path cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// It is a symbolic link, and links are not followed here.
    Link,
    /// It is a pipe, a socket or a device.
    Special,
    /// It has contents that this program did not write.
    Foreign,
    /// It keeps appearing and disappearing.
    Unstable,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

impl std::error::Error for Unusable {}

impl From<Unusable> for io::Error {
    fn from(reason: Unusable) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidInput, reason)
    }
}

impl Unusable {
    fn words(self) -> &'static str {
        match self {
            Unusable::Link => "it is a symbolic link",
            Unusable::Special => "it is not a regular file",
            Unusable::Foreign => "it holds something else",
            Unusable::Unstable => "other programs keep creating and removing it",
        }
    }
}

/// What is wrong with the path, if that is why a file could not be opened or created.
pub(crate) fn path_problem(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        io::ErrorKind::NotFound => Some("its directory does not exist"),
        io::ErrorKind::NotADirectory => Some("what should be its directory is a file"),
        io::ErrorKind::IsADirectory => Some("it is a directory"),
        _ => error.get_ref()?.downcast_ref::<Unusable>().map(|reason| reason.words()),
    }
}

/// Whether the operation failed because of what is at the path.
pub(crate) fn is_unusable(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::IsADirectory || error.get_ref().is_some_and(|error| error.is::<Unusable>())
}

/// The absolute path with all symbolic links followed. The directory must exist; the file need not, even if a link
/// leads to it.
pub(crate) fn resolve(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        match fs::canonicalize(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            resolved => return resolved,
        }
        let link = unfollowed(&path)?;
        match fs::read_link(&link) {
            // A link to a file that does not exist yet.
            Ok(target) => path = link.parent().unwrap_or(Path::new("/")).join(target),
            Err(_) => return Ok(link),
        }
    }
    Err(Unusable::Unstable.into())
}

/// The absolute path, with symbolic links followed except at the last component.
pub(crate) fn unfollowed(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    Ok(fs::canonicalize(parent)?.join(name))
}

/// The path of a hidden file next to `path`, named `.NAME.WHAT.SUFFIX` after it.
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

/// A stable hash for names that are too long. If two names collide, only one of their files can be in use at a time.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The metadata of the regular file at `path`, or `None` if nothing is there. Links are not followed.
pub(crate) fn stat(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => Ok(Some(found)),
        Ok(found) if found.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(found) if found.is_symlink() => Err(Unusable::Link.into()),
        Ok(_) => Err(Unusable::Special.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens the regular file at `path`, if there is one. Links are not followed.
pub(crate) fn open(path: &Path, options: &mut OpenOptions) -> io::Result<Option<File>> {
    // Checked before opening, because opening a device can have effects, and again afterwards in case it was swapped.
    if stat(path)?.is_none() {
        return Ok(None);
    }
    let file = match without_following(options).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if file.metadata()?.is_file() { Ok(Some(file)) } else { Err(Unusable::Special.into()) }
}

/// Creates the file at `path`. Fails if anything is there, even a dangling link.
pub(crate) fn create(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    without_following(options).create_new(true).open(path)
}

/// Opens the regular file at `path`, or creates it. Returns whether it is new.
pub(crate) fn open_or_create(path: &Path, options: &OpenOptions) -> io::Result<(File, bool)> {
    for _ in 0..TRIES_MAX {
        if let Some(file) = open(path, &mut options.clone())? {
            return Ok((file, false));
        }
        match create(path, &mut options.clone()) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => return Ok((created?, true)),
        }
    }
    Err(Unusable::Unstable.into())
}

/// Opens without following a link or blocking.
#[cfg(unix)]
fn without_following(options: &mut OpenOptions) -> &mut OpenOptions {
    use rustix::fs::OFlags;
    use std::os::unix::fs::OpenOptionsExt;
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    options.custom_flags(flags.bits().cast_signed())
}

#[cfg(not(unix))]
fn without_following(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

/// Creates the file so that only its owner can ever open it.
pub(crate) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

/// The mode and owner of a new file.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rights<'a> {
    /// Mode 0600 from the start.
    Private,
    /// Whatever the umask allows.
    Usual,
    /// The mode of this file and, where permitted, its owner.
    Of(&'a Metadata),
}

/// The next version of a file, renamed over the old one when complete. Removed on drop otherwise.
#[derive(Debug)]
pub(crate) struct Draft {
    /// `None` once renamed.
    file: Option<File>,
    path: PathBuf,
    target: PathBuf,
}

impl Draft {
    /// Starts the next version of `target` under a fixed name. Anything with that name, such as the draft of a run that
    /// crashed, is removed, so the caller must hold the lock of `target`, which must be resolved.
    pub(crate) fn of_locked(target: &Path, rights: Rights<'_>) -> io::Result<Draft> {
        Draft::begin(target, draft_name(target), rights)
    }

    /// Starts the next version of `target` under an unpredictable name.
    pub(crate) fn of_shared(target: &Path, rights: Rights<'_>) -> io::Result<Draft> {
        Draft::begin(target, beside(target, &format!("{:016x}", random()), "new"), rights)
    }

    fn begin(target: &Path, path: PathBuf, rights: Rights<'_>) -> io::Result<Draft> {
        for _ in 0..TRIES_MAX {
            let mut options = OpenOptions::new();
            options.write(true);
            let made = match rights {
                Rights::Usual => create(&path, &mut options),
                Rights::Private | Rights::Of(_) => create(&path, private(&mut options)),
            };
            match made {
                Ok(file) => {
                    let draft = Draft { file: Some(file), path, target: target.to_owned() };
                    if let (Rights::Of(old), Some(file)) = (rights, &draft.file) {
                        inherit(file, old)?;
                    }
                    return Ok(draft);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match fs::remove_file(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    Ok(()) | Err(_) => {}
                },
                Err(error) => return Err(error),
            }
        }
        Err(Unusable::Unstable.into())
    }

    /// Writes to it.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.file {
            Some(file) => file.write_all(bytes),
            None => Ok(()),
        }
    }

    /// Makes it durable, renames it over the target, and returns it.
    pub(crate) fn persist(mut self) -> io::Result<File> {
        let Some(file) = self.file.take() else { return Err(io::ErrorKind::NotFound.into()) };
        if let Err(error) = file.sync_all().and_then(|()| fs::rename(&self.path, &self.target)) {
            self.file = Some(file);
            return Err(error);
        }
        sync_directory(&self.target)?;
        Ok(file)
    }
}

/// The path of the next version of a locked file.
pub(crate) fn draft_name(target: &Path) -> PathBuf {
    beside(target, "", "new")
}

/// Copies the mode and, where permitted, the owner of another file.
#[cfg(unix)]
fn inherit(file: &File, old: &Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
    let own = file.metadata()?;
    let mut mode = old.mode() & 0o777;
    if (old.uid(), old.gid()) != (own.uid(), own.gid()) {
        let group = Some(old.gid());
        if fchown(file, Some(old.uid()), group).or_else(|_| fchown(file, None, group)).is_err() {
            // The group is a different one, so it gets no more than everyone else.
            mode = mode & 0o707 | (mode >> 3 & mode & 0o007) << 3;
        }
    }
    file.set_permissions(fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn inherit(_file: &File, _old: &Metadata) -> io::Result<()> {
    Ok(())
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.file.is_some() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Identifies a file independently of its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// From metadata. `None` where the system does not provide it.
    #[cfg(unix)]
    pub(crate) fn of(found: &Metadata) -> Option<Identity> {
        use std::os::unix::fs::MetadataExt;
        Some(Identity { device: found.dev(), inode: found.ino() })
    }

    /// From metadata. `None` where the system does not provide it.
    #[cfg(not(unix))]
    pub(crate) fn of(_found: &Metadata) -> Option<Identity> {
        None
    }

    /// Of the file at `path`, following links and without opening it. `None` if nothing is there.
    pub(crate) fn at(path: &Path) -> Option<Identity> {
        Identity::of(&fs::metadata(path).ok()?)
    }
}

/// Whether this open file is the one at `path`.
pub(crate) fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(open), Ok(named)) => Identity::of(&open) == Identity::of(&named),
        _ => false,
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

/// Where a report or a recording goes.
#[derive(Debug)]
pub(crate) enum Outlet {
    /// A file that a new one replaces.
    File {
        /// Its absolute path. A symbolic link here is replaced, not followed.
        path: PathBuf,
        /// The metadata of an existing file.
        old: Option<Metadata>,
    },
    /// A device, or a file that this process already has open.
    Stream(File),
}

impl Outlet {
    /// Examines `path` without changing anything. An existing file may be replaced only if it is empty or `is_ours`
    /// accepts its first `length_max` bytes.
    pub(crate) fn examine(path: &Path, length_max: u64, is_ours: impl Fn(&[u8]) -> bool) -> io::Result<Outlet> {
        if is_descriptor(path) {
            return stream(path).map(Outlet::Stream);
        }
        match fs::metadata(path) {
            Ok(found) if is_character_device(&found) => return stream(path).map(Outlet::Stream),
            Ok(found) if found.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(found) if !found.is_file() => return Err(Unusable::Special.into()),
            Ok(_) | Err(_) => {}
        }
        let path = unfollowed(path)?;
        if fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink()) {
            return Ok(Outlet::File { path, old: None });
        }
        let Some(file) = open(&path, OpenOptions::new().read(true))? else {
            return Ok(Outlet::File { path, old: None });
        };
        let mut head = Vec::new();
        (&file).take(length_max).read_to_end(&mut head)?;
        if !head.is_empty() && !is_ours(&head) {
            return Err(Unusable::Foreign.into());
        }
        Ok(Outlet::File { path, old: Some(file.metadata()?) })
    }
}

/// Whether the path names an open file descriptor.
fn is_descriptor(path: &Path) -> bool {
    cfg!(unix)
        && (["/dev/stdin", "/dev/stdout", "/dev/stderr"].map(Path::new).contains(&path)
            || ["/dev/fd", "/proc/self/fd"].iter().any(|folder| path.parent() == Some(Path::new(folder))))
}

#[cfg(unix)]
pub(crate) fn is_character_device(found: &Metadata) -> bool {
    std::os::unix::fs::FileTypeExt::is_char_device(&found.file_type())
}

#[cfg(not(unix))]
pub(crate) fn is_character_device(_found: &Metadata) -> bool {
    false
}

/// Opens a device or descriptor for appending.
fn stream(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        // Fail instead of blocking on a pipe without a reader.
        options.custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed());
        let file = options.open(path)?;
        let flags = rustix::fs::fcntl_getfl(&file)?;
        rustix::fs::fcntl_setfl(&file, flags - OFlags::NONBLOCK)?;
        Ok(file)
    }
    #[cfg(not(unix))]
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_too_long_for_the_file_system_are_shortened() {
        let path = Path::new("/x").join("s".repeat(131));
        let name = beside(&path, &"s".repeat(128), "lock");
        assert!(name.file_name().unwrap().len() < NAME_MAX);
        assert_ne!(name, beside(&path, &"s".repeat(127), "lock"));
        assert_eq!(beside(Path::new("/x/a"), "", "tmp"), Path::new("/x/.a.tmp"));
    }

    #[cfg(unix)]
    mod unix {
        use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

        use super::*;

        fn mode(path: &Path) -> u32 {
            fs::symlink_metadata(path).unwrap().mode() & 0o777
        }

        #[test]
        fn a_symbolic_link_resolves_to_its_target() {
            let dir = tempfile::tempdir().unwrap();
            let at = |name: &str| dir.path().join(name);
            fs::create_dir(at("d")).unwrap();
            fs::write(at("d/real"), "").unwrap();
            for (target, link) in [("d/real", "link"), ("d/new", "early"), ("early", "twice"), ("a", "b"), ("b", "a")] {
                symlink(target, at(link)).unwrap();
            }
            assert_eq!(resolve(&at("link")).unwrap(), resolve(&at("d/real")).unwrap());
            // A link to a file that does not exist yet is resolved too.
            for name in ["early", "twice"] {
                assert_eq!(resolve(&at(name)).unwrap(), resolve(&at("d")).unwrap().join("new"), "{name}");
            }
            assert!(resolve(&at("new")).is_ok());
            assert!(resolve(&at("none/new")).is_err());
            assert!(resolve(&at("a")).is_err());
        }

        #[test]
        fn only_regular_files_are_opened_and_opening_never_blocks() {
            let dir = tempfile::tempdir().unwrap();
            let at = |name: &str| dir.path().join(name);
            fs::write(at("file"), "precious").unwrap();
            symlink("file", at("link")).unwrap();
            symlink("nowhere", at("dangling")).unwrap();
            let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
            for (name, words) in
                [("link", "link"), ("dangling", "link"), ("socket", "regular"), ("/dev/null", "regular")]
            {
                let error = open_or_create(&at(name), OpenOptions::new().append(true)).unwrap_err();
                assert!(error.to_string().contains(words), "{name}: {error}");
            }
            assert!(open(&at("none"), OpenOptions::new().read(true)).unwrap().is_none());
            assert!(!open_or_create(&at("file"), OpenOptions::new().append(true)).unwrap().1);
            assert!(open_or_create(&at("new"), OpenOptions::new().append(true)).unwrap().1);
            assert!(!at("nowhere").exists());
        }

        #[test]
        fn a_file_is_replaced_atomically_and_keeps_its_mode() {
            let dir = tempfile::tempdir().unwrap();
            let at = |name: &str| dir.path().join(name);
            fs::write(at("precious"), "precious").unwrap();
            let replace = |rights: Rights<'_>| {
                let mut draft = Draft::of_locked(&at("a"), rights).unwrap();
                draft.write(b"new").unwrap();
                draft.persist().unwrap()
            };
            let file = replace(Rights::Private);
            assert!(is_at(&file, &at("a")));
            assert_eq!((mode(&at("a")), fs::read(at("a")).unwrap()), (0o600, b"new".to_vec()));
            for kept in [0o640, 0o400, 0o666] {
                fs::set_permissions(at("a"), fs::Permissions::from_mode(kept)).unwrap();
                symlink("precious", at(".a.new")).unwrap();
                let old = stat(&at("a")).unwrap().unwrap();
                assert!(is_at(&replace(Rights::Of(&old)), &at("a")));
                assert_eq!(mode(&at("a")), kept);
            }
            assert!(!is_at(&file, &at("a")));
            // A draft left by a crash, and one that is dropped.
            fs::write(at(".a.new"), "old").unwrap();
            drop(Draft::of_locked(&at("a"), Rights::Usual).unwrap());
            assert_eq!(fs::read(at("precious")).unwrap(), b"precious");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        }

        #[test]
        fn the_owner_is_kept_if_that_is_permitted() {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("a");
            fs::write(&path, "").unwrap();
            if std::os::unix::fs::chown(&path, Some(12), Some(34)).is_err() {
                // Only root may give files away.
                return assert!(!rustix::process::geteuid().is_root());
            }
            let old = stat(&path).unwrap().unwrap();
            drop(Draft::of_locked(&path, Rights::Of(&old)).unwrap().persist().unwrap());
            let new = stat(&path).unwrap().unwrap();
            assert_eq!((new.uid(), new.gid()), (12, 34));
        }

        #[test]
        fn an_outlet_replaces_only_files_of_its_own_kind() {
            let dir = tempfile::tempdir().unwrap();
            let at = |name: &str| dir.path().join(name);
            fs::write(at("ours"), "ours, of an earlier run").unwrap();
            fs::write(at("empty"), "").unwrap();
            fs::write(at("other"), "precious").unwrap();
            symlink("other", at("link")).unwrap();
            let look = |name: &str| Outlet::examine(&at(name), 4, |head| head == b"ours");
            for name in ["ours", "empty", "new", "link"] {
                let Outlet::File { path, old } = look(name).unwrap() else { panic!("{name} is a file") };
                assert_eq!(path, fs::canonicalize(dir.path()).unwrap().join(name));
                assert_eq!(old.is_some(), ["ours", "empty"].contains(&name), "{name}");
            }
            assert!(matches!(look("/dev/null").unwrap(), Outlet::Stream(_)));
            for (name, words) in [("other", "something else"), ("", "directory"), ("none/a", "does not exist")] {
                let error = look(name).unwrap_err();
                assert!(path_problem(&error).is_some_and(|why| why.contains(words)), "{name}: {error}");
            }
        }
    }
}
