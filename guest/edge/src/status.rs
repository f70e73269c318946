//! How far a stream is drained, and who is at it.

use kinesis_reader_lease::{AHEAD_MAX, Value};
use serde_json::json;

use crate::answer::Answer;
use crate::clock;
use crate::drain;
use crate::progress::Progress;
use crate::settings::Settings;
use crate::store;

/// How long the store may take, in milliseconds.
const TIME: u64 = 10_000;

/// What to do about a lease that does not end in any time that a right clock has set.
const AHEAD: &str = "a clock was wrong when it was taken, or this host's is: POST /lease/release frees it and keeps the \
     checkpoint";

/// Takes no lease, and asks Kinesis nothing.
pub(crate) fn status(settings: &Settings, started: u64) -> Answer {
    let stream = &settings.stream;
    let read = store::open(settings).and_then(|mut store| store.look(started.saturating_add(TIME)));
    let bytes = match read {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Answer::json(200, json!({"stream": stream, "begun": false})),
        Err(why) => {
            let error = format!("the store does not answer: {why}");
            return Answer::error(503, &error, "try again").with("retry-after", "5");
        }
    };
    let value = match Value::parse(&bytes) {
        Ok(value) => value,
        Err(why) => {
            let error = format!("the value in the store cannot be used: {}", why.0);
            return Answer::error(500, &error, drain::UNREADABLE);
        }
    };
    let mut body = json!({"stream": stream, "begun": true, "lease": lease(&value, clock::present())});
    match Progress::parse(value.checkpoint.as_deref()).and_then(|progress| progress.show(&mut body)) {
        Ok(()) => Answer::json(200, body),
        Err(why) => Answer::error(500, &why, drain::UNREADABLE),
    }
}

fn lease(value: &Value, present: u64) -> serde_json::Value {
    let held = value.until > present;
    let mut lease = json!({"held": held, "until": value.until, "epoch": value.epoch});
    if held {
        lease["ends_in_ms"] = json!(value.until - present);
    }
    if value.until > present.saturating_add(AHEAD_MAX) {
        lease["hint"] = json!(AHEAD);
    }
    lease
}
