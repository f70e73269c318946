//! What the reader was told and what it output, kept in a file as it happens, so that a run can be played again.
//!
//! # The form, version 1
//!
//! Newline-delimited JSON. The first line is the [`Header`], each other a [`Line`]: something `input`, or something that
//! the reader `output` of what it was told. Values have the names that the WIT's types have in Rust.
//!
//! ```json
//! {"recording":1,"program":"0.1.0","payload":"whole"}
//! {"input":{"open":{"config":{…},"checkpoint":null,"seed":7,"now":0,"present":1763900000000}}}
//! {"output":{"send":{"id":0,"operation":"DescribeStreamSummary","shard":null,"target":…,"body":{"Json":…},"deadline":30000}}}
//! {"output":{"wait":{"until":30000,"reason":"Response"}}}
//! {"input":{"response":{"id":0,"response":{"status":200,"body":{"Json":…},"recording":null,"date":null},"now":12}}}
//! ```
//!
//! The reader is a function of what it is told, so these lines are the whole run. Credentials are not in it: the reader
//! never sees any. The data of messages are, unless [`Payload::None`] is asked for.
//!
//! Each line is written as it happens, in one call, so that a crash leaves all but the line that it tears.

mod redact;
mod types;

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::component::wit;
use crate::files::{Draft, Outlet, Rights, is_at};

/// The version of the form that is written, and the latest that is read.
pub const VERSION: u32 = 1;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The form's version.
    pub recording: u32,
    /// The version of the program that wrote it.
    pub program: String,
    /// What is kept of the messages.
    pub payload: Payload,
}

/// What a recording keeps of the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Payload {
    /// Answers as they came
    Whole,
    /// Data and partition keys blanked to the same length
    None,
}

/// A line after the first.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Line<'a> {
    /// The reader was told something.
    Input(Input<'a>),
    /// The reader output something.
    Output(Output<'a>),
}

/// What the reader was told.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the arguments of the WIT's functions, under their names")]
pub enum Input<'a> {
    /// It was opened. The configuration may be of a version with fewer fields: the others have their defaults.
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

/// What the reader output.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Output<'a> {
    /// To send a request.
    Send(Cow<'a, wit::Request>),
    /// A batch to make safe.
    Deliver(Delivery),
    /// Something to know.
    Notice(Cow<'a, wit::Notice>),
    /// Nothing, until something happens.
    Wait(wit::Wait),
    /// The end.
    Finish(Cow<'a, wit::Outcome>),
    /// The checkpoint that it was asked for.
    Checkpoint(Cow<'a, str>),
    /// No answer: the call was refused, or ended the component.
    Failed {
        /// Which call.
        call: Call,
        /// In words.
        why: Cow<'a, str>,
    },
}

/// A batch, but for its messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Its name.
    pub id: u64,
    /// The shard that all the messages are from.
    pub shard: String,
    /// The number of messages.
    pub count: u32,
    /// The bytes of data in them.
    pub size: u64,
    /// The checkpoint of the shard once they are safe.
    pub checkpoint: String,
}

/// A call that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Call {
    /// One that tells the reader something.
    Tell,
    /// `poll`
    Poll,
    /// `checkpoint`
    Checkpoint,
}

impl<'a> Input<'a> {
    /// It was opened with this.
    pub(crate) fn opened(
        config: &wit::Config,
        checkpoint: Option<&'a str>,
        seed: u64,
        now: u64,
        present: u64,
    ) -> Input<'a> {
        // Made of numbers, texts and names alone, all of which JSON has.
        let config = serde_json::to_value(config).unwrap_or_default();
        Input::Open { config, checkpoint: checkpoint.map(Cow::Borrowed), seed, now, present }
    }
}

impl Output<'_> {
    /// The same, and nobody else's.
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

    /// Whether a reader that was told the same output the same. The words of a failure are for people. What blanked data
    /// hold cannot be told: an aggregate is then one message.
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
    /// None: a line could not be written, and what follows it would be not a recording.
    file: Option<File>,
    /// The length of the file. `None` if it is not a regular file.
    length: Option<u64>,
    payload: Payload,
    line: Vec<u8>,
}

impl Recorder {
    /// Starts a recording, replacing an earlier one. Only its owner may read it, as it contains other people's data.
    pub fn create(path: &Path, payload: Payload) -> io::Result<Recorder> {
        let header = Header { recording: VERSION, program: env!("CARGO_PKG_VERSION").to_owned(), payload };
        let mut line = serde_json::to_vec(&header)?;
        line.push(b'\n');
        let (file, is_file) = match outlet(path)? {
            // Writing the header below reports failures.
            Outlet::Stream(file) => (file, false),
            Outlet::File { path, .. } => {
                let mut draft = Draft::of_shared(&path, Rights::Private)?;
                draft.write(&line)?;
                (draft.place()?, true)
            }
        };
        let mut recorder = Recorder { path: path.to_owned(), file: Some(file), length: None, payload, line };
        if is_file {
            recorder.length = Some(recorder.line.len() as u64);
        } else {
            recorder.put();
        }
        Ok(recorder)
    }

    pub(crate) fn input(&mut self, mut input: Input<'_>) {
        if let (Payload::None, Input::Response { response, .. }) = (self.payload, &mut input) {
            redact::blank(&mut response.to_mut().body);
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
            self.put();
        }
    }

    fn put(&mut self) {
        let Some(file) = &mut self.file else { return };
        match (file.write_all(&self.line), &mut self.length) {
            (Ok(()), Some(length)) => *length += self.line.len() as u64,
            (Ok(()), None) => {}
            (Err(error), _) => self.end(&error),
        }
    }

    /// Stops recording, which does not stop the reading. A partial last line is removed.
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
const HEAD: &[u8] = b"{\"recording\":";

fn outlet(path: &Path) -> io::Result<Outlet> {
    Outlet::look(path, HEAD.len() as u64, |head| head == HEAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_ends_the_trace_and_nothing_else() {
        let mut recorder = Recorder::create(Path::new("/dev/full"), Payload::Whole).expect("it can be opened");
        assert!(recorder.file.is_none());
        recorder.input(Input::Stop { now: 1 });
    }

    #[test]
    fn nobody_else_may_read_it_and_each_line_is_there_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("recording");
        let mut recorder = Recorder::create(&path, Payload::None).expect("it can be made");
        recorder.input(Input::Stop { now: 1 });
        let text = std::fs::read_to_string(&path).expect("it is there");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            format!(r#"{{"recording":1,"program":"{}","payload":"none"}}"#, env!("CARGO_PKG_VERSION"))
        );
        assert_eq!(lines[1..], [r#"{"input":{"stop":{"now":1}}}"#]);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = || path.metadata().expect("it is there").permissions().mode() & 0o777;
            assert_eq!(mode(), 0o600);
            // One that others may read is not written to.
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("it is ours");
            let earlier = File::open(&path).expect("it is there");
            Recorder::create(&path, Payload::None).expect("it is a recording");
            assert_eq!(mode(), 0o600);
            assert_eq!(io::read_to_string(earlier).expect("it is text"), text);
        }
    }

    #[test]
    fn what_is_no_trace_is_not_given_up_for_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("precious");
        std::fs::write(&path, "{\"trac").expect("room");
        assert!(check(&path).is_err() && Recorder::create(&path, Payload::None).is_err());
        assert_eq!(std::fs::read(&path).expect("it is there"), b"{\"trac");
    }
}
