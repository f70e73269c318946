//! A file of lines and its state: the file contains exactly what was committed, and a file and a state that do not
//! match are refused.

use std::fs;

use kinesis_reader::destination::{Destination, Error, NdjsonFile};
use kinesis_reader::state::{self, FileState, MemoryState, Saved, State};

use crate::common::{Dir, append, batch, ids};

#[test]
fn a_file_has_exactly_what_was_committed() {
    let dir = Dir::new();
    let mut file = dir.ndjson("a.ndjson").unwrap();
    let written = file.write(&mut batch(0..10)).unwrap();
    assert_eq!((written.messages, written.new, written.invalid), (10, 10, 10));
    file.commit(r#"{"n":10}"#).unwrap();
    assert_eq!(written.bytes, dir.length("a.ndjson"));
    file.write(&mut batch(10..20)).unwrap();
    drop(file);
    assert_eq!(dir.ids("a.ndjson"), ids(0..10));

    let mut file = dir.ndjson("a.ndjson").unwrap();
    assert_eq!(file.checkpoint().unwrap().as_deref(), Some(r#"{"n":10}"#));
    file.write(&mut batch(10..15)).unwrap();
    file.commit(r#"{"n":15}"#).unwrap();
    drop(file);
    assert_eq!(dir.ids("a.ndjson"), ids(0..15));
    assert_eq!(dir.names(), ["a.ndjson", "a.ndjson.state.json"]);
}

#[test]
fn whatever_is_beyond_the_committed_length_is_cut_off() {
    let dir = Dir::new();
    let mut file = dir.ndjson("a.ndjson").unwrap();
    file.write(&mut batch(0..3)).unwrap();
    file.commit("{}").unwrap();
    drop(file);
    for torn in ["{\"_kinesis_msg_id\":\"id-", "{}\n{}\n", "\u{0}\u{0}\u{0}"] {
        append(&dir.path("a.ndjson"), torn);
        drop(dir.ndjson("a.ndjson").unwrap());
        assert_eq!(dir.ids("a.ndjson"), ids(0..3));
    }
}

#[test]
fn a_file_that_was_committed_empty_is_truncated_to_nothing() {
    let dir = Dir::new();
    let mut file = dir.ndjson("a.ndjson").unwrap();
    file.commit("{}").unwrap();
    drop(file);
    assert_eq!(dir.length("a.ndjson"), 0);
    append(&dir.path("a.ndjson"), "{}\n{");
    drop(dir.ndjson("a.ndjson").unwrap());
    assert_eq!(dir.length("a.ndjson"), 0);
}

#[test]
fn a_file_and_a_state_that_do_not_belong_together_are_refused() {
    let dir = Dir::new();
    append(&dir.path("mine.ndjson"), "{\"mine\":1}\n");
    let error = dir.ndjson("mine.ndjson").err().unwrap();
    assert!(matches!(error, Error::Unexplained { length: 11, .. }), "{error:?}");
    assert!(error.is_usage_error() && error.hint().is_some());
    assert_eq!(fs::read_to_string(dir.path("mine.ndjson")).unwrap(), "{\"mine\":1}\n");

    let mut file = dir.ndjson("a.ndjson").unwrap();
    file.write(&mut batch(0..3)).unwrap();
    file.commit("{}").unwrap();
    drop(file);
    let whole = fs::read(dir.path("a.ndjson")).unwrap();
    fs::write(dir.path("a.ndjson"), &whole[..40]).unwrap();
    let error = dir.ndjson("a.ndjson").err().unwrap();
    assert!(matches!(error, Error::Shorter { length: Some(40), .. }), "{error:?}");
    fs::remove_file(dir.path("a.ndjson")).unwrap();
    let error = dir.ndjson("a.ndjson").err().unwrap();
    assert!(matches!(error, Error::Shorter { length: None, .. }), "{error:?}");
    assert!(error.is_usage_error() && error.hint().is_some());
    assert!(!dir.path("a.ndjson").exists());

    // After its file was moved away, a state continues with a new file, but not with an existing other one.
    let state = || Box::new(FileState::open(&dir.path("a.ndjson.state.json")).unwrap());
    let error = NdjsonFile::open(&dir.path("mine.ndjson"), state()).err().unwrap();
    assert!(matches!(error, Error::Unexplained { .. }), "{error:?}");
    let mut file = NdjsonFile::open(&dir.path("b.ndjson"), state()).unwrap();
    assert_eq!(file.checkpoint().unwrap().as_deref(), Some("{}"));
    file.write(&mut batch(3..5)).unwrap();
    file.commit("{}").unwrap();
    drop(file);
    assert_eq!(dir.ids("b.ndjson"), ids(3..5));
}

#[test]
fn an_existing_empty_file_is_used_and_kept() {
    let dir = Dir::new();
    append(&dir.path("a.ndjson"), "");
    let mut file = dir.ndjson("a.ndjson").unwrap();
    file.write(&mut batch(0..1)).unwrap();
    drop(file);
    assert_eq!(dir.length("a.ndjson"), 0);
    assert_eq!(dir.names(), ["a.ndjson"]);
}

#[test]
fn a_reader_that_commits_nothing_leaves_no_file() {
    let dir = Dir::new();
    let mut file = dir.ndjson("a.ndjson").unwrap();
    file.write(&mut batch(0..1)).unwrap();
    drop(file);
    assert!(dir.names().is_empty(), "{:?}", dir.names());
}

#[test]
fn a_file_is_written_by_one_reader_at_a_time() {
    let dir = Dir::new();
    let first = NdjsonFile::open(&dir.path("a"), Box::new(MemoryState::default())).unwrap();
    let error = NdjsonFile::open(&dir.path("a"), Box::new(MemoryState::default())).err().unwrap();
    assert!(matches!(error, Error::Held { .. }), "{error:?}");
    assert!(error.is_usage_error() && error.hint().is_some());
    drop(first);
    NdjsonFile::open(&dir.path("a"), Box::new(MemoryState::default())).unwrap();
}

#[test]
fn only_regular_files_are_written_to() {
    let dir = Dir::new();
    fs::create_dir(dir.path("dir")).unwrap();
    append(&dir.path("file"), "");
    for (path, words) in [
        ("dir", "it is a directory"),
        ("none/a", "its directory does not exist"),
        ("file/a", "what should be its directory is a file"),
        ("/dev/null", "it is not a regular file"),
    ] {
        let error = NdjsonFile::open(&dir.path(path), Box::new(MemoryState::default())).err().unwrap();
        assert!(error.to_string().contains(words), "{path}: {error}");
        assert!(error.is_usage_error() && error.hint().is_some());
    }
}

#[test]
fn a_file_matches_the_old_and_the_new_state_after_a_failed_save() {
    let dir = Dir::new();
    let state = MemoryState::default();
    let mut file = NdjsonFile::open(&dir.path("a"), Box::new(state.clone())).unwrap();
    file.write(&mut batch(0..3)).unwrap();
    file.commit("{}").unwrap();
    drop(file);
    // The state reports a failure, although it was saved.
    let mut file = NdjsonFile::open(&dir.path("a"), Box::new(FailsAfterSaving(state.clone()))).unwrap();
    file.write(&mut batch(3..6)).unwrap();
    assert!(file.commit("{}").is_err());
    assert!(matches!(file.write(&mut batch(6..7)), Err(Error::Broken)));
    drop(file);
    drop(NdjsonFile::open(&dir.path("a"), Box::new(state)).unwrap());
    assert_eq!(dir.ids("a"), ids(0..6));
}

/// A state that saves, then reports a failure.
struct FailsAfterSaving(MemoryState);

impl State for FailsAfterSaving {
    fn load(&mut self) -> Result<Option<Saved>, state::Error> {
        self.0.load()
    }

    fn save(&mut self, saved: &Saved) -> Result<(), state::Error> {
        self.0.save(saved)?;
        Err(state::Error::Checkpoint("a failure".to_owned()))
    }
}
