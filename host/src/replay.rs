//! Gives a reader the inputs of a [`recording`](crate::recording) again, and compares its outputs with the recorded
//! ones. This needs neither network nor clock, as the recording contains everything.

use std::fmt;
use std::io::{BufRead, Read};

use serde_json::Value;

use crate::bindings::wit;
use crate::component::{Action, Loaded, Reader};
use crate::recording::{Call, Header, Input, Line, Output, VERSION};
use crate::terminal::clean;

/// A reader that a recording is replayed to. Failures are text.
pub trait Player {
    /// Gives it an input.
    fn tell(&mut self, input: &Input<'_>) -> Result<(), String>;

    /// Polls for an output.
    fn poll(&mut self) -> Result<Output<'static>, String>;

    /// Takes the checkpoint.
    fn checkpoint(&mut self) -> Result<String, String>;
}

/// The result of a replay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Played {
    /// The number of inputs given.
    pub input: u64,
    /// The number of outputs that matched the recording.
    pub output: u64,
    /// Whether the reader finished.
    pub finished: bool,
    /// Whether the last line was incomplete, and was ignored.
    pub torn: bool,
    /// The first output that did not match. The rest of the recording was not replayed.
    pub difference: Option<Difference>,
}

/// An output that does not match the recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The line of the recording, from 1.
    pub line: u64,
    /// The recorded line, as JSON.
    pub recorded: String,
    /// The actual output, as JSON.
    pub replayed: String,
}

/// Replays a recording. Each line is passed to `on_line` once it was replayed.
pub fn play(
    recording: impl BufRead,
    player: &mut dyn Player,
    on_line: &mut dyn FnMut(&Line<'_>),
) -> Result<Played, Error> {
    let mut lines = Lines { recording, number: 0, text: Vec::new(), torn: false };
    let payload = lines.header()?.payload;
    let mut played = Played::default();
    // The output that must follow in the recording if the last input was refused.
    let mut failed = None;
    while let Some(line) = lines.next()? {
        let replayed = match (&line, failed.take()) {
            (_, Some(failed)) => failed,
            (Line::Input(input), None) => {
                played.input += 1;
                failed = player.tell(input).err().map(|why| Output::Failed { call: Call::Tell, why: why.into() });
                on_line(&line);
                continue;
            }
            (Line::Output(Output::Checkpoint(_) | Output::Failed { call: Call::Checkpoint, .. }), None) => {
                match player.checkpoint() {
                    Ok(text) => Output::Checkpoint(text.into()),
                    Err(why) => Output::Failed { call: Call::Checkpoint, why: why.into() },
                }
            }
            (Line::Output(_), None) => match player.poll() {
                Ok(output) => output,
                Err(why) => Output::Failed { call: Call::Poll, why: why.into() },
            },
        };
        let same = match &line {
            Line::Output(recorded) => recorded.agrees(&replayed, payload),
            Line::Input(_) => false,
        };
        if !same {
            let json = |line: &Line| serde_json::to_string(line).unwrap_or_default();
            let (recorded, replayed) = (json(&line), json(&Line::Output(replayed)));
            played.difference = Some(Difference { line: lines.number, recorded, replayed });
            return Ok(played);
        }
        played.output += 1;
        played.finished |= matches!(line, Line::Output(Output::Finish(_)));
        on_line(&line);
    }
    played.torn = lines.torn;
    Ok(played)
}

/// Fills the gaps in a recorded configuration with `defaults`, so that recordings of earlier versions can be replayed.
pub fn complete(mut defaults: Value, config: &Value) -> Value {
    for (path, nested) in [("", Some("limits")), ("/limits", None)] {
        let (own, recorded) = (defaults.pointer_mut(path), config.pointer(path));
        if let (Some(Value::Object(own)), Some(Value::Object(recorded))) = (own, recorded) {
            let recorded = recorded.iter().filter(|(name, _)| Some(name.as_str()) != nested);
            own.extend(recorded.map(|(name, value)| (name.clone(), value.clone())));
        }
    }
    defaults
}

/// Replays to the component in its sandbox.
pub struct InSandbox {
    loaded: Option<Loaded>,
    reader: Option<Reader>,
}

impl InSandbox {
    /// A player with a new instance of the component.
    pub fn new(loaded: Loaded) -> InSandbox {
        InSandbox { loaded: Some(loaded), reader: None }
    }

    fn open(&mut self, config: &Value, input: &Input<'_>) -> Result<(), String> {
        let Input::Open { checkpoint, seed, now, present, .. } = input else { return Err(NOT_OPEN.to_owned()) };
        let mut loaded = self.loaded.take().ok_or("the recording opens the reader twice")?;
        let source = serde_json::from_value(config["source"].clone()).map_err(text)?;
        let defaults = serde_json::to_value(loaded.defaults(&source).map_err(text)?).map_err(text)?;
        let config: wit::Config = serde_json::from_value(complete(defaults, config)).map_err(text)?;
        self.reader = Some(loaded.open(&config, checkpoint.as_deref(), *seed, *now, *present).map_err(text)?);
        Ok(())
    }
}

impl Player for InSandbox {
    fn tell(&mut self, input: &Input<'_>) -> Result<(), String> {
        if let Input::Open { config, .. } = input {
            return self.open(config, input);
        }
        let reader = self.reader.as_mut().ok_or(NOT_OPEN)?;
        match input {
            Input::Open { .. } => Ok(()),
            Input::Response { id, response, now } => reader.handle_response(*id, response, *now),
            Input::Failure { id, failure, now } => reader.handle_failure(*id, failure, *now),
            Input::Delivered { id, now } => reader.handle_delivered(*id, *now),
            Input::Timeout { now } => reader.handle_timeout(*now),
            Input::Stop { now } => reader.stop(*now),
        }
        .map_err(text)
    }

    fn poll(&mut self) -> Result<Output<'static>, String> {
        let reader = self.reader.as_mut().ok_or(NOT_OPEN)?;
        let action = reader.poll().map_err(text)?;
        let output = reader.output(&action).map_err(text)?.into_owned();
        if let Action::Deliver(batch) = action {
            reader.release(batch).map_err(text)?;
        }
        Ok(output)
    }

    fn checkpoint(&mut self) -> Result<String, String> {
        self.reader.as_mut().ok_or(NOT_OPEN)?.checkpoint().map_err(text)
    }
}

const NOT_OPEN: &str = "the recording does not begin by opening the reader";

fn text(error: impl fmt::Display) -> String {
    error.to_string()
}

/// Reads the lines of a recording.
struct Lines<R> {
    recording: R,
    number: u64,
    text: Vec<u8>,
    torn: bool,
}

/// The header is about 60 bytes long. A longer first line is not one, and is not read to its end, as it may be huge.
const HEADER_MAX: u64 = 4 << 10;

impl<R: BufRead> Lines<R> {
    fn header(&mut self) -> Result<Header, Error> {
        self.number = 1;
        (&mut self.recording).take(HEADER_MAX).read_until(b'\n', &mut self.text).map_err(Error::Read)?;
        // The header of a later version may have other fields.
        let version = serde_json::from_slice::<Value>(&self.text).ok().and_then(|line| line["recording"].as_u64());
        match version {
            Some(version) if version == u64::from(VERSION) => self.parse(),
            Some(version) => Err(Error::Version(version)),
            None => Err(Error::NotARecording { line: 1, why: "it has no recording header".to_owned() }),
        }
    }

    fn next(&mut self) -> Result<Option<Line<'static>>, Error> {
        self.text.clear();
        self.number += 1;
        self.recording.read_until(b'\n', &mut self.text).map_err(Error::Read)?;
        if !self.text.ends_with(b"\n") {
            self.torn = !self.text.is_empty();
            return Ok(None);
        }
        self.parse().map(Some)
    }

    fn parse<T: serde::de::DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.text)
            .map_err(|error| Error::NotARecording { line: self.number, why: error.to_string() })
    }
}

/// Why a file cannot be replayed.
#[derive(Debug)]
pub enum Error {
    /// It cannot be read.
    Read(std::io::Error),
    /// It is not a recording.
    NotARecording {
        /// The number of the invalid line, from 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
    /// It is a recording in the format of another version.
    Version(u64),
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Read(_) => None,
            Error::NotARecording { .. } => Some("choose a file that was written by a recorder".to_owned()),
            Error::Version(_) => Some("replay it with the version of the program that wrote it".to_owned()),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Read(error) => write!(f, "{error}"),
            Error::NotARecording { line, why } => write!(f, "not a recording: line {line}: {}", clean(why)),
            Error::Version(version) => {
                write!(f, "recording version {version} is not supported: this program reads version {VERSION}")
            }
        }
    }
}

impl std::error::Error for Error {}
