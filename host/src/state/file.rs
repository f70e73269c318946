//! A state in a file of readable JSON, which is replaced as a whole.
//!
//! ```json
//! {
//!   "version": 1,
//!   "checkpoint": { … as the reader wrote it … },
//!   "output": {"path":"orders.ndjson","length":12345}
//! }
//! ```
//!
//! Each save writes a new file next to the old one, makes it durable, and renames it over the old one, so there is a
//! complete state at every moment. A file that does not parse is refused when it is opened, and is never overwritten.
//! Neither is a file that appeared or was replaced during the run. A new state can be read by its owner only; an
//! existing one keeps its mode.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::error::Error;
use super::lock::{Lock, LockError};
use super::saved::{Output, Saved, State};
use crate::files::{self, Draft, Rights, is_at, is_unusable, resolve, stat};

const VERSION: u64 = 1;

/// The largest file that can be a state. A state has a few hundred bytes for each shard.
const SIZE_MAX: u64 = 256 << 20;

/// A state in a file.
#[derive(Debug)]
pub struct FileState {
    path: PathBuf,
    saved: Option<Saved>,
    /// The file as last read or saved. `None` if there is none yet.
    file: Option<File>,
    _lock: Lock,
}

impl FileState {
    /// Opens the state at `path`, and locks it until it is dropped. The file need not exist, but its directory must.
    pub fn open(path: &Path) -> Result<FileState, Error> {
        let resolved = resolve(path).map_err(|error| open_error(path, error))?;
        stat(&resolved).map_err(|error| open_error(path, error))?;
        let lock = Lock::take(&resolved, "").map_err(|error| match error {
            LockError::Held { by } => Error::Held { path: path.to_owned(), by },
            LockError::Taken { path, why } => Error::Lock { path, why },
            LockError::Io(error) => open_error(path, error),
        })?;
        let (saved, file) = read(&resolved)?.unzip();
        Ok(FileState { path: resolved, saved, file, _lock: lock })
    }

    /// Reads the state at `path` without locking it.
    pub fn peek(path: &Path) -> Result<Option<Saved>, Error> {
        match resolve(path) {
            Ok(path) => Ok(read(&path)?.map(|(saved, _)| saved)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(open_error(path, error)),
        }
    }
}

impl State for FileState {
    fn load(&mut self) -> Result<Option<Saved>, Error> {
        Ok(self.saved.clone())
    }

    fn save(&mut self, saved: &Saved) -> Result<(), Error> {
        let text = encode(&self.path, saved)?;
        let failed = |error| Error::Write { path: self.path.clone(), error };
        let replaced = || Error::Replaced { path: self.path.clone() };
        let old = stat(&self.path).map_err(|error| if is_unusable(&error) { replaced() } else { failed(error) })?;
        let is_ours = match (&self.file, &old) {
            (Some(file), Some(_)) => is_at(file, &self.path),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if !is_ours {
            return Err(replaced());
        }
        let rights = old.as_ref().map_or(Rights::Private, Rights::Of);
        let mut draft = Draft::of_locked(&self.path, rights).map_err(failed)?;
        draft.write(text.as_bytes()).map_err(failed)?;
        self.file = Some(draft.persist().map_err(failed)?);
        self.saved = Some(saved.clone());
        Ok(())
    }
}

/// The contents of the file. [`Head`] is parsed first, to tell a later version from damage.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "version")]
    _version: IgnoredAny,
    checkpoint: Box<RawValue>,
    output: Option<Output>,
}

#[derive(Deserialize)]
struct Head {
    version: u64,
}

fn read(path: &Path) -> Result<Option<(Saved, File)>, Error> {
    let failed = |error| Error::Read { path: path.to_owned(), error };
    let damaged = |why: String| Error::Damaged { path: path.to_owned(), why };
    let file = match files::open(path, OpenOptions::new().read(true)) {
        Ok(Some(file)) => file,
        Ok(None) => return Ok(None),
        Err(error) if files::path_problem(&error).is_some() => return Err(open_error(path, error)),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    (&file).take(SIZE_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > SIZE_MAX {
        return Err(damaged("it is too large".to_owned()));
    }
    if bytes.is_empty() {
        return Err(damaged("it is empty".to_owned()));
    }
    let head: Head = serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
    if head.version != VERSION {
        return Err(Error::Version { path: path.to_owned(), version: head.version });
    }
    let document: Document = serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
    let saved = Saved {
        checkpoint: document.checkpoint.get().to_owned(),
        output: document.output.map(|output| Output {
            path: directory(path).join(output.path).to_string_lossy().into_owned(),
            length: output.length,
        }),
    };
    Ok(Some((saved, file)))
}

/// Serializes a state. The path of an output below the state's directory is relative, so that both can be moved
/// together.
fn encode(path: &Path, saved: &Saved) -> Result<String, Error> {
    let checkpoint =
        RawValue::from_string(saved.checkpoint.clone()).map_err(|error| Error::Checkpoint(error.to_string()))?;
    let mut text = format!("{{\n  \"version\": {VERSION},\n  \"checkpoint\": {checkpoint}");
    if let Some(output) = &saved.output {
        let relative = Path::new(&output.path).strip_prefix(directory(path)).ok().and_then(Path::to_str);
        let output = Output { path: relative.unwrap_or(&output.path).to_owned(), length: output.length };
        let output = serde_json::to_string(&output).map_err(|error| Error::Checkpoint(error.to_string()))?;
        text.push_str(",\n  \"output\": ");
        text.push_str(&output);
    }
    text.push_str("\n}\n");
    Ok(text)
}

fn directory(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

fn open_error(path: &Path, error: io::Error) -> Error {
    let path = path.to_owned();
    match files::path_problem(&error) {
        Some(why) => Error::Path { path, why },
        None => Error::Write { path, error },
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn saved(checkpoint: &str) -> Saved {
        Saved { checkpoint: checkpoint.to_owned(), output: None }
    }

    #[test]
    fn a_saved_checkpoint_is_loaded_unchanged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        let text = r#"{"shards": {"a":"1e400", "b":-0.0, "c":123456789012345678901234567890}}"#;
        let mut state = FileState::open(&path).unwrap();
        assert_eq!(state.load().unwrap(), None);
        state.save(&saved("{}")).unwrap();
        state.save(&saved(text)).unwrap();
        drop(state);
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            format!("{{\n  \"version\": 1,\n  \"checkpoint\": {text}\n}}\n")
        );
        assert_eq!(FileState::open(&path).unwrap().load().unwrap(), Some(saved(text)));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_output_beside_the_state_moves_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        fs::create_dir(&old).unwrap();
        let old = fs::canonicalize(&old).unwrap();
        let with = |path: PathBuf| Saved {
            checkpoint: "{}".to_owned(),
            output: Some(Output { path: path.to_str().unwrap().to_owned(), length: 5 }),
        };
        let mut state = FileState::open(&old.join("s")).unwrap();
        state.save(&with(old.join("out"))).unwrap();
        drop(state);
        fs::rename(&old, &new).unwrap();
        let new = fs::canonicalize(&new).unwrap();
        let mut state = FileState::open(&new.join("s")).unwrap();
        assert_eq!(state.load().unwrap(), Some(with(new.join("out"))));
        state.save(&with(PathBuf::from("/elsewhere/out"))).unwrap();
        drop(state);
        let mut state = FileState::open(&new.join("s")).unwrap();
        assert_eq!(state.load().unwrap(), Some(with(PathBuf::from("/elsewhere/out"))));
    }

    #[test]
    fn a_file_that_is_not_a_state_is_refused_and_left_unchanged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        for (text, words) in [
            ("", "damaged"),
            ("{", "damaged"),
            ("[]", "damaged"),
            ("{\"version\":1}", "missing field `checkpoint`"),
            ("{\"version\":1,\"checkpoint\":{}}trailing", "damaged"),
            ("{\"version\":1,\"checkpoint\":{},\"checkpoint\":{}}", "duplicate"),
            ("{\"version\":1,\"checkpoint\":{},\"extra\":1}", "unknown field `extra`"),
            ("{\"version\":1,\"checkpoint\":{},\"output\":{\"path\":\"x\"}}", "length"),
            ("{\"version\":2,\"checkpoints\":[]}", "unknown version"),
            ("{\"version\":\"1\"}", "damaged"),
            ("\u{0}\u{0}\u{0}\u{0}", "damaged"),
        ] {
            fs::write(&path, text).unwrap();
            let error = FileState::open(&path).unwrap_err();
            assert!(error.to_string().contains(words), "{text}: {error}");
            assert!(error.is_usage_error() && error.hint().is_some(), "{text}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn a_state_is_held_by_one_reader_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        let first = FileState::open(&path).unwrap();
        let error = FileState::open(&path).unwrap_err();
        assert!(matches!(error, Error::Held { by: Some(by), .. } if by == std::process::id()));
        drop(first);
        FileState::open(&path).unwrap();
    }

    #[test]
    fn invalid_paths_are_reported() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        for (path, words) in
            [("none/state.json", "its directory does not exist"), ("file/state.json", "is a file"), ("", "directory")]
        {
            let error = FileState::open(&dir.path().join(path)).unwrap_err();
            assert!(error.to_string().contains(words), "{path}: {error}");
            assert!(error.is_usage_error());
        }
    }

    /// The operator who replaced it wants to continue from the new one.
    #[test]
    #[cfg(unix)]
    fn a_state_that_was_removed_or_replaced_is_not_saved_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        let refused = |state: &mut FileState| {
            let error = state.save(&saved("{\"n\":2}")).unwrap_err();
            assert!(matches!(error, Error::Replaced { .. }), "{error:?}");
            assert!(!error.is_usage_error() && error.hint().is_some());
        };
        let mut state = FileState::open(&path).unwrap();
        state.save(&saved("{\"n\":1}")).unwrap();
        fs::remove_file(&path).unwrap();
        refused(&mut state);
        assert!(!path.exists());
        drop(state);

        // A state that another program created after this one was opened without any.
        let mut state = FileState::open(&path).unwrap();
        fs::write(&path, "{\"version\":1,\"checkpoint\":7}").unwrap();
        refused(&mut state);
        drop(state);

        let mut state = FileState::open(&path).unwrap();
        fs::rename(&path, dir.path().join("old")).unwrap();
        fs::copy(dir.path().join("old"), &path).unwrap();
        refused(&mut state);
        drop(state);
        assert_eq!(FileState::open(&path).unwrap().load().unwrap(), Some(saved("7")));
    }

    #[test]
    #[cfg(unix)]
    fn a_new_state_is_private_and_an_existing_one_keeps_its_mode() {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        let mode = || fs::metadata(&path).unwrap().mode() & 0o777;
        let mut state = FileState::open(&path).unwrap();
        state.save(&saved("{}")).unwrap();
        assert_eq!(mode(), 0o600);
        for kept in [0o644, 0o400] {
            fs::set_permissions(&path, fs::Permissions::from_mode(kept)).unwrap();
            state.save(&saved("{}")).unwrap();
            assert_eq!(mode(), kept);
        }
    }

    #[test]
    #[cfg(unix)]
    fn a_link_at_the_path_is_followed_but_one_at_the_draft_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("data")).unwrap();
        std::os::unix::fs::symlink("data/real.json", at("state.json")).unwrap();
        fs::write(at("precious"), "precious").unwrap();
        std::os::unix::fs::symlink("../precious", at("data/.real.json.new")).unwrap();
        for text in ["1", "2"] {
            let mut state = FileState::open(&at("state.json")).unwrap();
            state.save(&saved(text)).unwrap();
            assert!(at("data/real.json").is_file() && at("state.json").is_symlink());
        }
        assert_eq!(FileState::peek(&at("state.json")).unwrap(), Some(saved("2")));
        assert_eq!(fs::read_to_string(at("precious")).unwrap(), "precious");
        // A link that replaces the file later is not followed.
        let mut state = FileState::open(&at("state.json")).unwrap();
        fs::remove_file(at("data/real.json")).unwrap();
        std::os::unix::fs::symlink("../precious", at("data/real.json")).unwrap();
        assert!(state.save(&saved("3")).is_err());
        assert_eq!(fs::read_to_string(at("precious")).unwrap(), "precious");
    }

    #[test]
    fn a_checkpoint_that_is_not_json_is_not_saved() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        let mut state = FileState::open(&path).unwrap();
        state.save(&saved("{}")).unwrap();
        let error = state.save(&saved("{\"a\":")).unwrap_err();
        assert!(matches!(error, Error::Checkpoint(_)));
        assert_eq!(state.load().unwrap(), Some(saved("{}")));
    }
}
