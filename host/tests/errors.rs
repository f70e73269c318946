//! The `Display` of every error is clean, as programs that use the library print errors directly.

use std::path::PathBuf;

use kinesis_reader::cli::plan;
use kinesis_reader::component::{self, wit};
use kinesis_reader::terminal::clean;
use kinesis_reader::transport::{self, Failure};
use kinesis_reader::{destination, drive, replay, state};

const HOSTILE: &str = "x\u{1b}[2J\r\nerror: forged\u{202e}\u{9b}";

#[test]
fn every_error_is_displayed_clean() {
    let text = || HOSTILE.to_owned();
    let path = || PathBuf::from(HOSTILE);
    let io = || std::io::Error::other(HOSTILE);
    let long = "\u{1b}".repeat(3000);
    let errors: Vec<Box<dyn std::error::Error>> = vec![
        Box::new(destination::Error::Batch(HOSTILE.into())),
        Box::new(destination::Error::Write { path: path(), error: io() }),
        Box::new(destination::Error::Corrupt { path: path(), why: text() }),
        Box::new(destination::Error::ForeignTable { path: path(), table: text(), why: text() }),
        Box::new(destination::Error::NameTaken { path: path(), name: text(), by: long.clone() }),
        Box::new(destination::Error::Overtaken { path: path(), stream: text() }),
        Box::new(drive::Error::Destination(destination::Error::Stream(io()))),
        Box::new(drive::Error::Component(component::Error::Trap(text()))),
        Box::new(component::Error::Load(long.clone())),
        Box::new(component::Error::Open(wit::OpenError::Checkpoint(wit::CheckpointError::Malformed(text())))),
        Box::new(component::Error::Open(wit::OpenError::Checkpoint(wit::CheckpointError::Foreign(text())))),
        Box::new(state::Error::Write { path: path(), error: io() }),
        Box::new(transport::Error::BadRegion(text())),
        Box::new(transport::Error::UnknownProfile(text())),
        Box::new(transport::Error::BadProfiles(text())),
        Box::new(transport::Error::Credentials { why: long.clone(), transient: false }),
        Box::new(transport::Error::BadCertificates { path: path(), why: text() }),
        Box::new(plan::Error::BadStream(text())),
        Box::new(plan::Error::BadDestination(long.clone())),
        Box::new(replay::Error::NotARecording { line: 1, why: text() }),
        Box::new(kinesis_reader::cli::error::Error::Report { path: path(), error: io() }),
        Box::new(kinesis_reader::cli::error::Error::Unreached { url: text(), region: text(), why: long, attempts: 4 }),
    ];
    for error in errors {
        let words = error.to_string();
        assert_eq!(clean(&words), words, "{error:?}");
        assert!(words.contains("\\u{1b}") && words.len() < 12 << 10, "{words}");
    }
    let failure = Failure::Transient(text()).to_string();
    assert_eq!(clean(&failure), failure);
}
