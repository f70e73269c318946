//! From the request to what is asked of us.

use serde_json::json;
use subtle::ConstantTimeEq;
use wasip2::http::types::{IncomingRequest, Method};

use crate::answer::Answer;
use crate::bounds::Bounds;
use crate::clock;
use crate::drain;
use crate::settings::{self, Fault, Settings};
use crate::store;

pub(crate) fn handle(request: &IncomingRequest) -> Answer {
    let started = clock::now();
    let whole = request.path_with_query().unwrap_or_default();
    let (path, query) = whole.split_once('?').unwrap_or((&whole, ""));
    // Behind a route with a prefix, as Spin's `/kinesis/...`, the last part tells.
    let allowed = match path.rsplit('/').next() {
        Some("drain") => Method::Post,
        Some("status") => Method::Get,
        _ => return Answer::error(404, "there is nothing here", "POST /drain, or GET /status"),
    };
    match (request.method(), &allowed) {
        (Method::Post, Method::Post) | (Method::Get, Method::Get) => {}
        (_, Method::Post) => {
            return Answer::error(405, "a drain changes something", "use POST").with("allow", "POST");
        }
        (_, _) => return Answer::error(405, "status changes nothing", "use GET").with("allow", "GET"),
    }
    let settings = match settings::token() {
        Ok(token) if is_authorized(request, &token) => Settings::find(),
        Ok(_) => {
            return Answer::error(401, "the token is missing or wrong", "Authorization: Bearer DRAIN_TOKEN")
                .with("www-authenticate", "Bearer");
        }
        Err(fault) => Err(fault),
    };
    let settings = match settings {
        Ok(settings) => settings,
        Err(Fault { error, hint }) => return Answer::error(500, &error, hint),
    };
    match allowed {
        Method::Post => match Bounds::parse(query) {
            Ok(bounds) => drain::drain(&settings, &bounds, started),
            Err(error) => Answer::error(400, &error, "parameters: max-messages, max-bytes, max-requests, max-ms, ack"),
        },
        _ => status(&settings, started),
    }
}

/// In a time that does not tell how much of it is right.
fn is_authorized(request: &IncomingRequest, token: &str) -> bool {
    let headers = request.headers().get("authorization");
    let Some(shown) = headers.first().and_then(|value| value.split_at_checked("Bearer ".len())) else { return false };
    shown.0.eq_ignore_ascii_case(b"Bearer ") && bool::from(shown.1.ct_eq(token.as_bytes()))
}

/// How far it is. Takes no lease, and asks Kinesis nothing.
fn status(settings: &Settings, started: u64) -> Answer {
    let stream = &settings.stream;
    match store::open(settings).and_then(|mut store| store.look(started + STATUS_TIME)) {
        Err(why) => {
            Answer::error(503, &format!("the store does not answer: {why}"), "try again").with("retry-after", "5")
        }
        Ok(None) => Answer::json(200, &json!({"stream": stream, "begun": false})),
        Ok(Some(bytes)) => match kinesis_reader_lease::Value::parse(&bytes) {
            Err(why) => {
                Answer::error(500, &format!("the value in the store is not ours: {}", why.0), drain::UNREADABLE)
            }
            Ok(value) => match crate::progress::Progress::parse(value.checkpoint.as_deref()) {
                Err(why) => Answer::error(500, &why, drain::UNREADABLE),
                Ok(progress) => {
                    let held = value.until > clock::present();
                    let lease = json!({"held": held, "until": value.until, "epoch": value.epoch});
                    let mut body = json!({"stream": stream, "begun": true, "lease": lease});
                    progress.show(&mut body);
                    Answer::json(200, &body)
                }
            },
        },
    }
}

/// How long the store may take, in milliseconds.
const STATUS_TIME: u64 = 10_000;
