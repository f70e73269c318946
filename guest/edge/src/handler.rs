//! From the request to what is asked of us.

use subtle::ConstantTimeEq;
use wasip2::http::types::{IncomingRequest, Method};

use crate::answer::Answer;
use crate::bounds::{self, Bounds};
use crate::clock;
use crate::drain;
use crate::release;
use crate::settings::{self, Fault, Settings};
use crate::status;

/// What can be asked.
#[derive(Clone, Copy)]
enum Ask {
    Drain,
    Status,
    Release,
}

pub(crate) fn handle(request: &IncomingRequest) -> Answer {
    clock::begin();
    let started = clock::now();
    let whole = request.path_with_query().unwrap_or_default();
    let (path, query) = whole.split_once('?').unwrap_or((&whole, ""));
    let Some(ask) = Ask::find(path) else {
        return Answer::error(404, "there is nothing here", "POST /drain, GET /status, or POST /lease/release");
    };
    if let Some(refusal) = ask.refuse(&request.method()) {
        return refusal;
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
    match ask {
        Ask::Drain => match Bounds::parse(query) {
            Ok(bounds) => drain::drain(&settings, &bounds, started),
            Err(error) => Answer::error(400, &error, "parameters: max-messages, max-bytes, max-requests, max-ms, ack"),
        },
        Ask::Status | Ask::Release => match (bounds::none(query), ask) {
            (Err(error), _) => Answer::error(400, &error, "leave the query out"),
            (Ok(()), Ask::Release) => release::release(&settings),
            (Ok(()), _) => status::status(&settings, started),
        },
    }
}

impl Ask {
    /// Behind a route with a prefix, as Spin's `/kinesis/...`, the last parts of the path tell.
    fn find(path: &str) -> Option<Ask> {
        let mut parts = path.rsplit('/');
        match (parts.next(), parts.next()) {
            (Some("drain"), _) => Some(Ask::Drain),
            (Some("status"), _) => Some(Ask::Status),
            (Some("release"), Some("lease")) => Some(Ask::Release),
            _ => None,
        }
    }

    /// The answer to another method than the one that it goes by.
    fn refuse(self, method: &Method) -> Option<Answer> {
        match (self, method) {
            (Ask::Drain | Ask::Release, Method::Post) | (Ask::Status, Method::Get) => None,
            (Ask::Drain | Ask::Release, _) => {
                Some(Answer::error(405, "this changes something", "use POST").with("allow", "POST"))
            }
            (Ask::Status, _) => Some(Answer::error(405, "status changes nothing", "use GET").with("allow", "GET")),
        }
    }
}

/// In a time that does not tell how much of it is right. A header that is there twice is not understood.
fn is_authorized(request: &IncomingRequest, token: &str) -> bool {
    let headers = request.headers().get("authorization");
    let [header] = headers.as_slice() else { return false };
    let Some(shown) = header.split_at_checked("Bearer ".len()) else { return false };
    shown.0.eq_ignore_ascii_case(b"Bearer ") && bool::from(shown.1.ct_eq(token.as_bytes()))
}
