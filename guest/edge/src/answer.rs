//! Answers to the caller.
//!
//! Some of their text comes from outside, such as shard identifiers and the error messages of services and hosts. All
//! of it goes through [`printable`], and what goes into a header is short ASCII.

use std::borrow::Cow;

use kinesis_reader_machine::printable;
use serde_json::{Value, json};
use wasip2::clocks::monotonic_clock;
use wasip2::http::types::{Fields, OutgoingBody, OutgoingResponse, ResponseOutparam};
use wasip2::io::poll::poll;
use wasip2::io::streams::{OutputStream, StreamError};

use crate::clock::{self, NANOS};

pub(crate) const JSON: &str = "application/json";
pub(crate) const NDJSON: &str = "application/x-ndjson";

/// How long a caller may take to read the answer, in milliseconds. Lines that it has not read by then come again, like
/// all lines that are not acknowledged.
const ANSWER_TIME: u64 = 600_000;

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) content_type: &'static str,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(status: u16, mut body: Value) -> Answer {
        clean(&mut body);
        let mut body = body.to_string().into_bytes();
        body.push(b'\n');
        Answer { status, headers: Vec::new(), content_type: JSON, body }
    }

    /// Says what went wrong, and what to do about it.
    pub(crate) fn error(status: u16, error: &str, hint: &str) -> Answer {
        Answer::json(status, json!({"error": error, "hint": hint}))
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Answer {
        self.headers.push((name, value.into()));
        self
    }

    /// Sends the answer. Errors are ignored: if the caller has gone away, the state is already saved.
    pub(crate) fn send(self, out: ResponseOutparam) {
        let fields = Fields::new();
        let own = [("content-type", self.content_type.to_owned()), ("content-length", self.body.len().to_string())];
        for (name, value) in own.into_iter().chain(self.headers) {
            let _ = fields.append(name, value.as_bytes());
        }
        let response = OutgoingResponse::new(fields);
        let _ = response.set_status_code(self.status);
        let Ok(body) = response.body() else { return };
        ResponseOutparam::set(out, Ok(response));
        let written = match body.write() {
            Ok(stream) => write(&stream, &self.body),
            Err(()) => Err(StreamError::Closed),
        };
        // If the body is incomplete, dropping it without finishing it tells the caller.
        if written.is_ok() {
            let _ = OutgoingBody::finish(body, None);
        }
    }
}

/// Makes all text in a JSON value safe to print.
pub(crate) fn clean(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Cow::Owned(shown) = printable(text) {
                *text = shown;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(clean),
        Value::Object(members) => {
            let is_unsafe = |name: &&String| matches!(printable(name), Cow::Owned(_));
            let unsafe_names: Vec<String> = members.keys().filter(is_unsafe).cloned().collect();
            for name in unsafe_names {
                let value = members.remove(&name).unwrap_or_default();
                members.insert(printable(&name).into_owned(), value);
            }
            members.values_mut().for_each(clean);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Formats JSON for a header, with everything but ASCII escaped.
pub(crate) fn ascii(value: &Value) -> String {
    let mut text = String::new();
    for character in value.to_string().chars() {
        match character {
            ' '..='~' => text.push(character),
            // In JSON, other characters can only be within a string.
            other => other.encode_utf16(&mut [0; 2]).iter().for_each(|unit| text.push_str(&format!("\\u{unit:04x}"))),
        }
    }
    text
}

fn write(stream: &OutputStream, mut bytes: &[u8]) -> Result<(), StreamError> {
    let deadline = clock::now().saturating_add(ANSWER_TIME);
    let timer = monotonic_clock::subscribe_instant(deadline.saturating_mul(NANOS));
    let wait = || {
        poll(&[&stream.subscribe(), &timer]);
        if clock::now() >= deadline { Err(StreamError::Closed) } else { Ok(()) }
    };
    while !bytes.is_empty() {
        let room = usize::try_from(stream.check_write()?).unwrap_or(usize::MAX);
        if room == 0 {
            wait()?;
            continue;
        }
        let (piece, rest) = bytes.split_at(room.min(bytes.len()));
        stream.write(piece)?;
        bytes = rest;
    }
    stream.flush()?;
    // A flush is complete once the stream accepts data again.
    while stream.check_write()? == 0 {
        wait()?;
    }
    Ok(())
}
