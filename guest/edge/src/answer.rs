//! What is answered to the caller.

use serde_json::{Value, json};
use wasip2::http::types::{Fields, OutgoingBody, OutgoingResponse, ResponseOutparam};
use wasip2::io::streams::StreamError;

pub(crate) const JSON: &str = "application/json";
pub(crate) const NDJSON: &str = "application/x-ndjson";

/// An answer to the caller.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) kind: &'static str,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(status: u16, body: &Value) -> Answer {
        let mut body = body.to_string().into_bytes();
        body.push(b'\n');
        Answer { status, headers: Vec::new(), kind: JSON, body }
    }

    /// What went wrong, and what to do.
    pub(crate) fn error(status: u16, error: &str, hint: &str) -> Answer {
        Answer::json(status, &json!({"error": error, "hint": hint}))
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Answer {
        self.headers.push((name, value.into()));
        self
    }

    /// Hands it to the host. A caller that went away is no concern of ours: what was done is kept.
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
        if let Ok(stream) = body.write() {
            let _ = write(&stream, &self.body);
        }
        let _ = OutgoingBody::finish(body, None);
    }
}

fn write(stream: &wasip2::io::streams::OutputStream, mut bytes: &[u8]) -> Result<(), StreamError> {
    while !bytes.is_empty() {
        stream.subscribe().block();
        let room = usize::try_from(stream.check_write()?).unwrap_or(usize::MAX);
        let (now, later) = bytes.split_at(room.min(bytes.len()));
        stream.write(now)?;
        bytes = later;
    }
    stream.blocking_flush()
}
