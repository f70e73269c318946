//! `kinesis-reader replay`: replays a recording, and prints what happens.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::error::{self, Exit};
use super::plan::ReplayPlan;
use super::setup;
use crate::bindings::wit;
use crate::destination::{self, stream_error};
use crate::recording::{Delivery, Input, Line, Output};
use crate::replay::{Difference, Error, InSandbox, Played, play};
use crate::terminal::clean;

/// Replays a recording, and prints what happens on stdout.
pub(super) fn replay(plan: &ReplayPlan) -> Result<Exit, error::Error> {
    let file = File::open(&plan.recording).map_err(|error| replay_error(&plan.recording, Error::Read(error)))?;
    let mut out = BufWriter::new(setup::stdout()?);
    let mut written = Ok(());
    let mut on_line = |line: &Line<'_>| {
        if !plan.quiet && written.is_ok() {
            written = print_line(line, &mut out);
        }
    };
    let mut player = InSandbox::new(setup::load()?);
    let played =
        play(BufReader::new(file), &mut player, &mut on_line).map_err(|error| replay_error(&plan.recording, error))?;
    let exit = if played.difference.is_some() { Exit::Failed } else { Exit::Reached };
    let written = written.and_then(|()| print_result(&played, &mut out)).and_then(|()| out.flush());
    match written.map_err(stream_error) {
        Ok(()) | Err(destination::Error::ClosedPipe) => Ok(exit),
        Err(error) => Err(error.into()),
    }
}

fn replay_error(path: &Path, error: Error) -> error::Error {
    error::Error::Replay { path: PathBuf::from(path), error }
}

fn print_result(played: &Played, out: &mut impl Write) -> std::io::Result<()> {
    let Played { input, output, finished, torn, difference } = played;
    match difference {
        None => {
            let torn = if *torn { "; the last line is torn" } else { "" };
            let open = if *finished { "" } else { "; the recording ends before the reader does" };
            writeln!(out, "the same: {output} actions from {input} inputs{torn}{open}")
        }
        Some(Difference { line, recorded, replayed }) => {
            writeln!(out, "not the same after {output} actions from {input} inputs: line {line}")?;
            let from = first_difference(recorded, replayed);
            writeln!(out, "  recorded: {}", excerpt(recorded, from))?;
            writeln!(out, "  replayed: {}", excerpt(replayed, from))
        }
    }
}

/// The index of the first byte in which two texts differ.
fn first_difference(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count()
}

/// Cuts a text to what precedes the byte `focus` by a little, and what follows.
fn excerpt(text: &str, focus: usize) -> String {
    const BEFORE: usize = 200;
    const WHOLE: usize = 1000;
    if text.len() <= WHOLE {
        return clean(text);
    }
    let start = text.floor_char_boundary(focus.saturating_sub(BEFORE));
    format!("{}{}", if start > 0 { "…" } else { "" }, clean(&text[start..]))
}

/// Prints what happened as one line: for an input with the time on the reader's clock.
fn print_line(line: &Line<'_>, out: &mut impl Write) -> std::io::Result<()> {
    let words = match line {
        Line::Input(input) => describe_input(input),
        Line::Output(output) => format!("{:>16}{}", "-> ", describe_output(output)),
    };
    writeln!(out, "{words}")
}

/// Describes an input. Every value in it is cleaned.
fn describe_input(input: &Input<'_>) -> String {
    let (now, words) = match input {
        Input::Open { config, checkpoint, seed, now, .. } => {
            let saved = if checkpoint.is_some() { "a checkpoint" } else { "no checkpoint" };
            // Formatted first, so that it counts as one value and is cut as a whole.
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
fn describe_output(output: &Output<'_>) -> String {
    match output {
        Output::Send(request) => {
            let shard = request.shard.as_ref().map(|shard| format!(" of {}", clean(shard))).unwrap_or_default();
            let body = match &request.body {
                wit::Body::Json(text) => clean(text),
                wit::Body::Cbor(bytes) => format!("{} bytes", bytes.len()),
            };
            format!("send {}, until {} ms: {}{shard} {body}", request.id, request.deadline, request.operation)
        }
        Output::Deliver(Delivery { id, shard, count, size, .. }) => {
            clean(format_args!("deliver {id}: {count} messages of {shard}, {size} bytes"))
        }
        Output::Notice(notice) => match notice.as_ref() {
            wit::Notice::Gap(gap) => format!("notice: {gap}"),
            wit::Notice::Retry(error) => format!("notice: retrying: {error}"),
            wit::Notice::Shard(shard) => clean(format_args!("notice: {} is {}", shard.shard, shard.state)),
        },
        Output::Wait(wait) => {
            let reason = match wait.reason {
                wit::WaitReason::Response => "a response",
                wit::WaitReason::Delivery => "a delivery",
                wit::WaitReason::Pace => "the pace",
                wit::WaitReason::Backoff => "the backoff",
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
            wit::Outcome::Failed(error) => format!("finish: {error}"),
        },
        Output::Checkpoint(text) => clean(format_args!("checkpoint: {text}")),
        Output::Failed { why, .. } => clean(format_args!("failed: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_late_in_a_long_text_is_shown() {
        let (a, b) = (format!("{}a\u{1b}", "é".repeat(5000)), format!("{}b", "é".repeat(5000)));
        let from = first_difference(&a, &b);
        assert_eq!(excerpt(&a, from), format!("…{}a\\u{{1b}}", "é".repeat(100)));
        assert_eq!(excerpt(&b, from), format!("…{}b", "é".repeat(100)));
        assert_eq!(excerpt("short", 3), "short");
        // If the difference is within a character, the whole character is shown.
        assert_eq!(first_difference("é", "è"), 1);
        assert!(excerpt(&"é".repeat(600), 1).starts_with('é'));
    }
}
