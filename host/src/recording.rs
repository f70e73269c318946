//! Records all inputs and outputs of a reader in a file as they happen, so that the run can be replayed.
//!
//! # Format, version 1
//!
//! Newline-delimited JSON. The first line is the [`Header`]. Every other line is a [`Line`]: an `input` or an `output`
//! of the reader. Values are named like the WIT's types in Rust.
//!
//! ```json
//! {"recording":1,"program":"0.1.0","payload":"whole"}
//! {"input":{"open":{"config":{…},"checkpoint":null,"seed":7,"now":0,"present":1763900000000}}}
//! {"output":{"send":{"id":0,"operation":"DescribeStreamSummary","shard":null,"target":…,"body":{"Json":…},"deadline":30000}}}
//! {"output":{"wait":{"until":30000,"reason":"Response"}}}
//! {"input":{"response":{"id":0,"response":{"status":200,"body":{"Json":…},"aws_request_id":null,"date":null},"now":12}}}
//! ```
//!
//! The reader is a function of its inputs, so the recording is the whole run. It contains no credentials, as the reader
//! never sees any. It contains the data of messages, unless it is redacted with [`Payload::None`].
//!
//! Each line is written at once and with one call, so a crash tears at most the last one.

mod redact;
mod types;

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bindings::wit;
use crate::files::{Draft, Outlet, Rights, is_at};

/// The version of the format that is written and read.
pub const VERSION: u32 = 1;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The version of the format.
    pub recording: u32,
    /// The version of the program that wrote it.
    pub program: String,
    /// What it contains of the messages.
    pub payload: Payload,
}

/// What a recording contains of the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Payload {
    /// Everything.
    Whole,
    /// No data and no partition keys: both are overwritten in the same length.
    None,
}

/// A line after the first.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Line<'a> {
    /// An input of the reader.
    Input(Input<'a>),
    /// An output of the reader.
    Output(Output<'a>),
}

/// An input of the reader.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the arguments of the WIT's functions, under their names")]
pub enum Input<'a> {
    /// It was opened. The configuration may lack fields that were added later; these have their defaults.
    Open { config: Value, checkpoint: Option<Cow<'a, str>>, seed: u64, now: u64, present: u64 },
    /// `handle-response`
    Response { id: u64, response: Cow<'a, wit::Response>, now: u64 },
    /// `handle-failure`
    Failure { id: u64, failure: Cow<'a, wit::Failure>, now: u64 },
    /// `handle-delivered`
    Delivered { id: u64, now: u64 },
    /// `handle-timeout`
    Timeout { now: u64 },
    /// `stop`
    Stop { now: u64 },
}

/// An output of the reader: an action, a checkpoint, or a failed call.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Output<'a> {
    /// Send a request.
    Send(Cow<'a, wit::Request>),
    /// Deliver a batch.
    Deliver(Delivery),
    /// A notice for the operator.
    Notice(Cow<'a, wit::Notice>),
    /// Wait.
    Wait(wit::Wait),
    /// The reader has finished.
    Finish(Cow<'a, wit::Outcome>),
    /// The checkpoint, as requested by the driver.
    Checkpoint(Cow<'a, str>),
    /// The call was refused, or the component failed.
    Failed {
        /// The call.
        call: Call,
        /// The error message.
        why: Cow<'a, str>,
    },
}

/// A batch without its messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// The batch id.
    pub id: u64,
    /// The shard that all the messages are from.
    pub shard: String,
    /// The number of messages.
    pub count: u32,
    /// The total length of their data.
    pub size: u64,
    /// The checkpoint of the shard after these messages.
    pub checkpoint: String,
}

/// A call that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Call {
    /// Any input.
    Tell,
    /// `poll`
    Poll,
    /// `checkpoint`
    Checkpoint,
}

impl<'a> Input<'a> {
    /// The input that opens a reader.
    pub(crate) fn opened(
        config: &wit::Config,
        checkpoint: Option<&'a str>,
        seed: u64,
        now: u64,
        present: u64,
    ) -> Input<'a> {
        // This cannot fail, as a configuration consists of numbers, text and names.
        let config = serde_json::to_value(config).unwrap_or_default();
        Input::Open { config, checkpoint: checkpoint.map(Cow::Borrowed), seed, now, present }
    }
}

impl Output<'_> {
    /// Clones what is borrowed.
    pub fn into_owned(self) -> Output<'static> {
        match self {
            Output::Send(request) => Output::Send(Cow::Owned(request.into_owned())),
            Output::Deliver(batch) => Output::Deliver(batch),
            Output::Notice(notice) => Output::Notice(Cow::Owned(notice.into_owned())),
            Output::Wait(wait) => Output::Wait(wait),
            Output::Finish(outcome) => Output::Finish(Cow::Owned(outcome.into_owned())),
            Output::Checkpoint(text) => Output::Checkpoint(Cow::Owned(text.into_owned())),
            Output::Failed { call, why } => Output::Failed { call, why: Cow::Owned(why.into_owned()) },
        }
    }

    /// Whether a replay with the output `other` matches this recorded one. The message of a failure may differ. In a
    /// redacted recording, batches may differ too, as aggregated records cannot be split without their data.
    pub fn agrees(&self, other: &Output<'_>, payload: Payload) -> bool {
        match (self, other, payload) {
            (Output::Failed { call, .. }, Output::Failed { call: other, .. }, _) => call == other,
            (Output::Deliver(batch), Output::Deliver(other), Payload::None) => {
                (batch.id, &batch.shard) == (other.id, &other.shard)
            }
            _ => serde_json::to_value(self).ok() == serde_json::to_value(other).ok(),
        }
    }
}

/// Writes a recording.
pub struct Recorder {
    path: PathBuf,
    /// `None` after a line could not be written, as the rest would not be a valid recording.
    file: Option<File>,
    /// The length of the file. `None` if it is not a regular file.
    length: Option<u64>,
    payload: Payload,
    line: Vec<u8>,
}

impl Recorder {
    /// Starts a recording, replacing an earlier one. Only its owner can read it, as it may contain confidential data.
    pub fn create(path: &Path, payload: Payload) -> io::Result<Recorder> {
        let header = Header { recording: VERSION, program: env!("CARGO_PKG_VERSION").to_owned(), payload };
        let mut line = serde_json::to_vec(&header)?;
        line.push(b'\n');
        let (file, is_file) = match outlet(path)? {
            // The header is written below, where a failure ends the recording.
            Outlet::Stream(file) => (file, false),
            Outlet::File { path, .. } => {
                let mut draft = Draft::of_shared(&path, Rights::Private)?;
                draft.write(&line)?;
                (draft.persist()?, true)
            }
        };
        let mut recorder = Recorder { path: path.to_owned(), file: Some(file), length: None, payload, line };
        if is_file {
            recorder.length = Some(recorder.line.len() as u64);
        } else {
            recorder.write_line();
        }
        Ok(recorder)
    }

    pub(crate) fn input(&mut self, mut input: Input<'_>) {
        if let (Payload::None, Input::Response { response, .. }) = (self.payload, &mut input) {
            redact::redact(&mut response.to_mut().body);
        }
        self.write(&Line::Input(input));
    }

    pub(crate) fn output(&mut self, output: Output<'_>) {
        self.write(&Line::Output(output));
    }

    fn write(&mut self, line: &impl Serialize) {
        if self.file.is_some() {
            self.line.clear();
            if let Err(error) = serde_json::to_writer(&mut self.line, line) {
                return self.end(&error.into());
            }
            self.line.push(b'\n');
            self.write_line();
        }
    }

    fn write_line(&mut self) {
        let Some(file) = &mut self.file else { return };
        match (file.write_all(&self.line), &mut self.length) {
            (Ok(()), Some(length)) => *length += self.line.len() as u64,
            (Ok(()), None) => {}
            (Err(error), _) => self.end(&error),
        }
    }

    /// Stops recording, but not the run. A partial last line is removed.
    fn end(&mut self, error: &io::Error) {
        tracing::warn!(%error, "the recording ends here: {}", self.path.display());
        if let (Some(file), Some(length)) = (self.file.take(), self.length) {
            let _ = file.set_len(length);
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if let (Some(file), Some(_)) = (&self.file, self.length)
            && !is_at(file, &self.path)
        {
            tracing::warn!("the recording was removed or replaced during the run: {}", self.path.display());
        }
    }
}

/// Checks that a recording can be written to `path`, without writing anything.
pub fn check(path: &Path) -> io::Result<()> {
    outlet(path).map(drop)
}

/// What distinguishes a recording from other files.
const HEADER: &[u8] = b"{\"recording\":";

fn outlet(path: &Path) -> io::Result<Outlet> {
    Outlet::examine(path, HEADER.len() as u64, |head| head == HEADER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_ends_the_recording_but_not_the_run() {
        let mut recorder = Recorder::create(Path::new("/dev/full"), Payload::Whole).expect("the device can be opened");
        assert!(recorder.file.is_none());
        recorder.input(Input::Stop { now: 1 });
    }

    #[test]
    fn a_recording_is_private_and_each_line_is_written_at_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("recording");
        let mut recorder = Recorder::create(&path, Payload::None).expect("the recording can be created");
        recorder.input(Input::Stop { now: 1 });
        let text = std::fs::read_to_string(&path).expect("the file exists");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            format!(r#"{{"recording":1,"program":"{}","payload":"none"}}"#, env!("CARGO_PKG_VERSION"))
        );
        assert_eq!(lines[1..], [r#"{"input":{"stop":{"now":1}}}"#]);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = || path.metadata().expect("the file exists").permissions().mode() & 0o777;
            assert_eq!(mode(), 0o600);
            // A recording that others can read is replaced, not written to.
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("the file is ours");
            let earlier = File::open(&path).expect("the file exists");
            Recorder::create(&path, Payload::None).expect("a recording may be replaced");
            assert_eq!(mode(), 0o600);
            assert_eq!(io::read_to_string(earlier).expect("the recording is text"), text);
        }
    }

    #[test]
    fn a_file_that_is_not_a_recording_is_not_replaced() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("precious");
        std::fs::write(&path, "{\"record").expect("the file can be written");
        assert!(check(&path).is_err() && Recorder::create(&path, Payload::None).is_err());
        assert_eq!(std::fs::read(&path).expect("the file exists"), b"{\"record");
    }
}
