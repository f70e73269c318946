//! Shows how far a stream is drained, and whether a drain is running.

use kinesis_reader_lease::{AHEAD_MAX, Value};
use serde_json::json;

use crate::answer::Answer;
use crate::clock;
use crate::drain;
use crate::progress::Progress;
use crate::settings::Settings;
use crate::store;

/// How long the store may take, in milliseconds.
const STORE_TIMEOUT: u64 = 10_000;

const AHEAD_HINT: &str = "this host's clock is wrong, or that of the lease's owner was: POST /lease/release frees the \
     lease and keeps the checkpoint";

/// Neither takes the lease nor sends requests to Kinesis.
pub(crate) fn status(settings: &Settings, started: u64) -> Answer {
    let stream = &settings.stream;
    let read = store::open(settings).and_then(|mut store| store.get(started.saturating_add(STORE_TIMEOUT)));
    let bytes = match read {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Answer::json(200, json!({"stream": stream, "begun": false})),
        Err(why) => {
            let error = format!("cannot use the store: {why}");
            return Answer::error(503, &error, "try again").with("retry-after", "5");
        }
    };
    let value = match Value::parse(&bytes) {
        Ok(value) => value,
        Err(why) => {
            let error = format!("cannot use the value in the store: {}", why.0);
            return Answer::error(500, &error, drain::UNREADABLE_HINT);
        }
    };
    let mut body = json!({"stream": stream, "begun": true, "lease": lease(&value, clock::present())});
    match Progress::parse(value.checkpoint.as_deref()).and_then(|progress| progress.add_to_status(&mut body)) {
        Ok(()) => Answer::json(200, body),
        Err(why) => Answer::error(500, &why, drain::UNREADABLE_HINT),
    }
}

fn lease(value: &Value, present: u64) -> serde_json::Value {
    let held = value.until > present;
    let mut lease = json!({"held": held, "until": value.until, "epoch": value.epoch});
    if held {
        lease["ends_in_ms"] = json!(value.until - present);
    }
    if value.until > present.saturating_add(AHEAD_MAX) {
        lease["hint"] = json!(AHEAD_HINT);
    }
    lease
}
