//! What is answered to the caller.
//!
//! Some of what is told comes from elsewhere: identifiers of shards, messages of services, words of the host. All of it
//! passes [`printable`], and what goes into a header is ASCII and short.

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

/// How long a caller may take to read the answer, in milliseconds. What it did not read by then comes again, as it does
/// wherever lines were not acknowledged.
const ANSWER_TIME: u64 = 600_000;

/// An answer to the caller.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) kind: &'static str,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(status: u16, mut body: Value) -> Answer {
        clean(&mut body);
        let mut body = body.to_string().into_bytes();
        body.push(b'\n');
        Answer { status, headers: Vec::new(), kind: JSON, body }
    }

    /// What went wrong, and what to do.
    pub(crate) fn error(status: u16, error: &str, hint: &str) -> Answer {
        Answer::json(status, json!({"error": error, "hint": hint}))
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Answer {
        self.headers.push((name, value.into()));
        self
    }

    /// Hands it to the host. It does not matter if the caller went away: what was done is kept.
    pub(crate) fn send(self, out: ResponseOutparam) {
        let fields = Fields::new();
        let own = [("content-type", self.kind.to_owned()), ("content-length", self.body.len().to_string())];
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
        // Where it was not written whole, dropping the body tells the caller so.
        if written.is_ok() {
            let _ = OutgoingBody::finish(body, None);
        }
    }
}

/// Makes every text in it fit to be printed.
pub(crate) fn clean(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Cow::Owned(shown) = printable(text) {
                *text = shown;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(clean),
        Value::Object(members) => {
            let is_hidden = |name: &&String| matches!(printable(name), Cow::Owned(_));
            let hidden: Vec<String> = members.keys().filter(is_hidden).cloned().collect();
            for name in hidden {
                let value = members.remove(&name).unwrap_or_default();
                members.insert(printable(&name).into_owned(), value);
            }
            members.values_mut().for_each(clean);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// JSON for a header: what is not ASCII stands as an escape, which means the same.
pub(crate) fn ascii(value: &Value) -> String {
    let mut text = String::new();
    for character in value.to_string().chars() {
        match character {
            ' '..='~' => text.push(character),
            // In JSON such a character stands in a string only.
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
        let (now, later) = bytes.split_at(room.min(bytes.len()));
        stream.write(now)?;
        bytes = later;
    }
    stream.flush()?;
    // A flush is over once something can be written again.
    while stream.check_write()? == 0 {
        wait()?;
    }
    Ok(())
}
