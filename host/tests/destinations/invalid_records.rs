//! The file for invalid records beside a destination.

use std::fs;
use std::path::Path;

use kinesis_reader::destination::{Destination, Error, NdjsonStream, WithInvalidRecords};

use crate::common::batch;

#[test]
fn each_invalid_record_is_written_once_whatever_was_committed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("invalid.ndjson");
    let mut output = open(&path);
    let written = output.write(&mut batch(0..10)).unwrap();
    assert_eq!((written.messages, written.invalid), (10, 4));
    output.commit("{}").unwrap();
    output.write(&mut batch(10..20)).unwrap();
    // These are not committed, and below the file is torn as by a crash.
    drop(output);
    let whole = fs::read_to_string(&path).unwrap();
    for torn in [1, 5, 30] {
        let line = whole.lines().next().unwrap();
        fs::write(&path, format!("{whole}{}", &line[..torn])).unwrap();
        let mut output = open(&path);
        assert_eq!(fs::read_to_string(&path).unwrap(), whole);
        // Repeated records are recognized, and still counted as invalid.
        assert_eq!(output.write(&mut batch(10..20)).unwrap().invalid, 4);
        output.commit("{}").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), whole);
    }
    let mut output = open(&path);
    output.write(&mut batch(20..23)).unwrap();
    output.commit("{}").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), whole.lines().count() + 1);
}

#[test]
fn another_file_is_left_unchanged_and_an_empty_one_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("invalid.ndjson");
    drop(open(&path));
    assert!(!path.exists());

    for text in ["notes\nwithout an end", "notes\n", "{\"_kinesis\":{}}\nnotes", "\n", "{}\n"] {
        fs::write(&path, text).unwrap();
        let error = WithInvalidRecords::open(&path, nowhere()).err().unwrap();
        assert!(error.is_usage_error() && error.hint().is_some(), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
    let error = WithInvalidRecords::open(dir.path(), nowhere()).err().unwrap();
    assert!(error.to_string().contains("directory"), "{error}");

    let path = dir.path().join("other.ndjson");
    let _first = open(&path);
    assert!(matches!(WithInvalidRecords::open(&path, nowhere()), Err(Error::Held { .. })));
}

fn open(path: &Path) -> WithInvalidRecords {
    WithInvalidRecords::open(path, nowhere()).unwrap()
}

fn nowhere() -> Box<dyn Destination> {
    Box::new(NdjsonStream::new(std::io::sink(), None))
}
