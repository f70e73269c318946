//! `kinesis-reader replay`: tells the component again what a [`recording`](crate::recording) says it was told, and sees whether
//! it gives the same. No network, no clock: what happened is all in the file.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::component::{Action, Loaded, Reader, wit};
use crate::destination::{self, stream_error};
use crate::error::{self, Exit, Gap, InWords};
use crate::plan::ReplayPlan;
use crate::recording::{Call, Delivery, Header, Input, Line, Output, VERSION};
use crate::report::state_word;
use crate::run;
use crate::terminal::clean;

/// Who is told what a recording says. Failures are words.
pub trait Player {
    /// Tells it something.
    fn tell(&mut self, input: &Input<'_>) -> Result<(), String>;

    /// Asks for the next thing to do.
    fn poll(&mut self) -> Result<Output<'static>, String>;

    /// Asks for the checkpoint.
    fn checkpoint(&mut self) -> Result<String, String>;
}

/// How a recording was played.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Played {
    /// What was told.
    pub input: u64,
    /// What was given of that, each the same as in the recording.
    pub output: u64,
    /// The reader came to its end.
    pub finished: bool,
    /// The last line is not whole, and was left out.
    pub torn: bool,
    /// Where it first output something else. What follows was not played.
    pub difference: Option<Difference>,
}

/// Where a replay departs from its recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The line of the recording, from 1.
    pub line: u64,
    /// What the recording has there, as JSON.
    pub recorded: String,
    /// What was given, as JSON.
    pub replayed: String,
}

/// Plays a recording, and shows each line to `see` once it was played.
pub fn play(recording: impl BufRead, player: &mut dyn Player, see: &mut dyn FnMut(&Line<'_>)) -> Result<Played, Error> {
    let mut lines = Lines { recording, number: 0, text: Vec::new(), torn: false };
    let payload = lines.header()?.payload;
    let mut played = Played::default();
    // What the recording has to say next, if what was told could not be.
    let mut failed = None;
    while let Some(line) = lines.next()? {
        let replayed = match (&line, failed.take()) {
            (_, Some(failed)) => failed,
            (Line::Input(input), None) => {
                played.input += 1;
                failed = player.tell(input).err().map(|why| Output::Failed { call: Call::Tell, why: why.into() });
                see(&line);
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
        see(&line);
    }
    played.torn = lines.torn;
    Ok(played)
}

/// The configuration of a recording, with what it does not have from `defaults`, so that recordings of earlier versions can be
/// played.
pub fn complete(mut defaults: Value, given: &Value) -> Value {
    for (path, within) in [("", Some("limits")), ("/limits", None)] {
        let (own, given) = (defaults.pointer_mut(path), given.pointer(path));
        if let (Some(Value::Object(own)), Some(Value::Object(given))) = (own, given) {
            let given = given.iter().filter(|(name, _)| Some(name.as_str()) != within);
            own.extend(given.map(|(name, value)| (name.clone(), value.clone())));
        }
    }
    defaults
}

/// Plays to the component in its sandbox.
pub struct InSandbox {
    loaded: Option<Loaded>,
    reader: Option<Reader>,
}

impl InSandbox {
    /// With a component that has not been opened.
    pub fn new(loaded: Loaded) -> InSandbox {
        InSandbox { loaded: Some(loaded), reader: None }
    }

    fn open(&mut self, config: &Value, input: &Input<'_>) -> Result<(), String> {
        let Input::Open { checkpoint, seed, now, present, .. } = input else { return Err(NOT_OPEN.to_owned()) };
        let mut loaded = self.loaded.take().ok_or("it was opened before")?;
        let source = serde_json::from_value(config["source"].clone()).map_err(words)?;
        let defaults = serde_json::to_value(loaded.defaults(&source).map_err(words)?).map_err(words)?;
        let config: wit::Config = serde_json::from_value(complete(defaults, config)).map_err(words)?;
        self.reader = Some(loaded.open(&config, checkpoint.as_deref(), *seed, *now, *present).map_err(words)?);
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
        .map_err(words)
    }

    fn poll(&mut self) -> Result<Output<'static>, String> {
        let reader = self.reader.as_mut().ok_or(NOT_OPEN)?;
        let action = reader.poll().map_err(words)?;
        let output = reader.output(&action).map_err(words)?.into_owned();
        if let Action::Deliver(batch) = action {
            reader.release(batch).map_err(words)?;
        }
        Ok(output)
    }

    fn checkpoint(&mut self) -> Result<String, String> {
        self.reader.as_mut().ok_or(NOT_OPEN)?.checkpoint().map_err(words)
    }
}

const NOT_OPEN: &str = "the recording does not begin with an opening";

fn words(error: impl fmt::Display) -> String {
    error.to_string()
}

/// The lines of a recording.
struct Lines<R> {
    recording: R,
    number: u64,
    text: Vec<u8>,
    torn: bool,
}

/// The first line is some 60 bytes long. What has none such in its first 4 KiB is not a recording, however large.
const HEADER_MAX: u64 = 4 << 10;

impl<R: BufRead> Lines<R> {
    fn header(&mut self) -> Result<Header, Error> {
        self.number = 1;
        (&mut self.recording).take(HEADER_MAX).read_until(b'\n', &mut self.text).map_err(Error::Read)?;
        // A later version may say more, or otherwise.
        let version = serde_json::from_slice::<Value>(&self.text).ok().and_then(|line| line["recording"].as_u64());
        match version {
            Some(version) if version == u64::from(VERSION) => self.parse(),
            Some(version) => Err(Error::Version(version)),
            None => Err(Error::NotARecording { line: 1, why: "it does not say that it is a recording".to_owned() }),
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

/// Why a file cannot be played.
#[derive(Debug)]
pub enum Error {
    /// It cannot be read.
    Read(std::io::Error),
    /// It is not a recording.
    NotARecording {
        /// The line at fault, from 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
    /// It is a recording of another version.
    Version(u64),
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Read(_) => None,
            Error::NotARecording { .. } => {
                Some("a recording is what `kinesis-reader read --recording FILE` writes".to_owned())
            }
            Error::Version(_) => Some("play it with the version of the program that wrote it".to_owned()),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Read(error) => write!(f, "{error}"),
            Error::NotARecording { line, why } => write!(f, "no recording: line {line}: {}", clean(why)),
            Error::Version(version) => write!(f, "a recording of version {version}, and this program knows {VERSION}"),
        }
    }
}

impl std::error::Error for Error {}

/// Plays the recording, with what happens on stdout.
pub fn replay(plan: &ReplayPlan) -> Result<Exit, error::Error> {
    let file = File::open(&plan.recording).map_err(|error| at(&plan.recording, Error::Read(error)))?;
    let mut out = BufWriter::new(run::stdout()?);
    let mut written = Ok(());
    let mut see = |line: &Line<'_>| {
        if !plan.quiet && written.is_ok() {
            written = show(line, &mut out);
        }
    };
    let mut player = InSandbox::new(run::load()?);
    let played = play(BufReader::new(file), &mut player, &mut see).map_err(|error| at(&plan.recording, error))?;
    let exit = if played.difference.is_some() { Exit::Failed } else { Exit::Reached };
    let written = written.and_then(|()| sum_up(&played, &mut out)).and_then(|()| out.flush());
    match written.map_err(stream_error) {
        Ok(()) | Err(destination::Error::ClosedPipe) => Ok(exit),
        Err(error) => Err(error.into()),
    }
}

fn at(path: &Path, error: Error) -> error::Error {
    error::Error::Replay { path: PathBuf::from(path), error }
}

fn sum_up(played: &Played, out: &mut impl Write) -> std::io::Result<()> {
    let Played { input, output, finished, torn, difference } = played;
    match difference {
        None => {
            let torn = if *torn { "; its last line is torn" } else { "" };
            let open = if *finished { "" } else { "; the recording ends before the reader does" };
            writeln!(out, "the same: {output} actions of {input} inputs{torn}{open}")
        }
        Some(Difference { line, recorded, replayed }) => {
            writeln!(out, "not the same after {output} actions of {input} inputs: line {line}")?;
            let from = first_difference(recorded, replayed);
            writeln!(out, "  recorded: {}", excerpt(recorded, from))?;
            writeln!(out, "  replayed: {}", excerpt(replayed, from))
        }
    }
}

/// The first byte at which two texts differ.
fn first_difference(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count()
}

/// What is shown of a text that is interesting at the byte `about`.
fn excerpt(text: &str, about: usize) -> String {
    const BEFORE: usize = 200;
    const WHOLE: usize = 1000;
    if text.len() <= WHOLE {
        return clean(text);
    }
    let start = text.floor_char_boundary(about.saturating_sub(BEFORE));
    format!("{}{}", if start > 0 { "…" } else { "" }, clean(&text[start..]))
}

/// One line for a person: the time on the reader's clock, and what happened.
fn show(line: &Line<'_>, out: &mut impl Write) -> std::io::Result<()> {
    let words = match line {
        Line::Input(input) => in_words(input),
        Line::Output(output) => format!("{:>16}{}", "-> ", action_in_words(output)),
    };
    writeln!(out, "{words}")
}

/// Describes an input. Every value in it is cleaned.
fn in_words(input: &Input<'_>) -> String {
    let (now, words) = match input {
        Input::Open { config, checkpoint, seed, now, .. } => {
            let saved = if checkpoint.is_some() { "a checkpoint" } else { "no checkpoint" };
            // Formatted first, so that it is cut as one value.
            let config = config.to_string();
            (now, clean(format_args!("open with seed {seed} and {saved}: {config}")))
        }
        Input::Response { id, response, now } => {
            let bytes = match &response.body {
                wit::Body::Json(text) => text.len(),
                wit::Body::Cbor(bytes) => bytes.len(),
            };
            (now, format!("response {id}: {}, {bytes} bytes", response.status))
        }
        Input::Failure { id, failure, now } => match failure.as_ref() {
            wit::Failure::Transient(why) | wit::Failure::Permanent(why) => {
                (now, clean(format_args!("no response {id}: {why}")))
            }
        },
        Input::Delivered { id, now } => (now, format!("delivered {id}")),
        Input::Timeout { now } => (now, "time passed".to_owned()),
        Input::Stop { now } => (now, "stop".to_owned()),
    };
    format!("{now:>9} ms  {words}")
}

/// Describes an action. Every value in it is cleaned.
fn action_in_words(output: &Output<'_>) -> String {
    match output {
        Output::Send(request) => {
            let operation = error::operation_name(request.operation);
            let shard = request.shard.as_ref().map(|shard| format!(" of {}", clean(shard))).unwrap_or_default();
            let body = match &request.body {
                wit::Body::Json(text) => clean(text),
                wit::Body::Cbor(bytes) => format!("{} bytes", bytes.len()),
            };
            format!("send {}, until {} ms: {operation}{shard} {body}", request.id, request.deadline)
        }
        Output::Deliver(Delivery { id, shard, count, size, .. }) => {
            clean(format_args!("deliver {id}: {count} messages of {shard}, {size} bytes"))
        }
        Output::Notice(notice) => match notice.as_ref() {
            wit::Notice::Gap(gap) => format!("notice: {}", Gap(gap)),
            wit::Notice::Retry(error) => format!("notice: trying again: {}", InWords(error)),
            wit::Notice::Shard(shard) => clean(format_args!("notice: {} is {}", shard.shard, state_word(shard.state))),
        },
        Output::Wait(wait) => {
            let reason = match wait.reason {
                wit::WaitReason::Response => "a response",
                wit::WaitReason::Delivery => "a delivery",
                wit::WaitReason::Pace => "the pace",
                wit::WaitReason::Backoff => "a pause",
                wit::WaitReason::Listing => "the next listing",
            };
            match wait.until {
                Some(until) => format!("wait for {reason}, until {until} ms"),
                None => format!("wait for {reason}"),
            }
        }
        Output::Finish(outcome) => match outcome.as_ref() {
            wit::Outcome::Reached => "finish: reached".to_owned(),
            wit::Outcome::Exhausted => "finish: exhausted".to_owned(),
            wit::Outcome::Limited => "finish: limited".to_owned(),
            wit::Outcome::Stopped => "finish: stopped".to_owned(),
            wit::Outcome::Failed(error) => format!("finish: {}", InWords(error)),
        },
        Output::Checkpoint(text) => clean(format_args!("checkpoint: {text}")),
        Output::Failed { why, .. } => clean(format_args!("failed: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_deep_in_long_texts_is_shown() {
        let (a, b) = (format!("{}a\u{1b}", "é".repeat(5000)), format!("{}b", "é".repeat(5000)));
        let from = first_difference(&a, &b);
        assert_eq!(excerpt(&a, from), format!("…{}a\\u{{1b}}", "é".repeat(100)));
        assert_eq!(excerpt(&b, from), format!("…{}b", "é".repeat(100)));
        assert_eq!(excerpt("short", 3), "short");
        // A difference within a character shows the whole character.
        assert_eq!(first_difference("é", "è"), 1);
        assert!(excerpt(&"é".repeat(600), 1).starts_with('é'));
    }
}
