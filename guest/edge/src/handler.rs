//! Checks a request and routes it.

use subtle::ConstantTimeEq;
use wasip2::http::types::{IncomingRequest, Method};

use crate::answer::Answer;
use crate::bounds::{self, Bounds};
use crate::clock;
use crate::drain;
use crate::release;
use crate::setting_error::SettingError;
use crate::settings::{self, Settings};
use crate::status;

#[derive(Clone, Copy)]
enum Route {
    Drain,
    Status,
    Release,
}

pub(crate) fn handle(request: &IncomingRequest) -> Answer {
    clock::begin();
    let started = clock::now();
    let target = request.path_with_query().unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let Some(route) = Route::from_path(path) else {
        return Answer::error(404, "no such path", "use POST /drain, GET /status or POST /lease/release");
    };
    if let Some(refusal) = route.check_method(&request.method()) {
        return refusal;
    }
    let settings = match settings::token() {
        Ok(token) if is_authorized(request, &token) => Settings::load(),
        Ok(_) => {
            return Answer::error(401, "missing or wrong token", "send the header Authorization: Bearer DRAIN_TOKEN")
                .with("www-authenticate", "Bearer");
        }
        Err(error) => Err(error),
    };
    let settings = match settings {
        Ok(settings) => settings,
        Err(SettingError { error, hint }) => return Answer::error(500, &error, hint),
    };
    match route {
        Route::Drain => match Bounds::parse(query) {
            Ok(bounds) => drain::drain(&settings, &bounds, started),
            Err(error) => {
                let hint = "the parameters are max-messages, max-bytes, max-requests, max-ms and ack";
                Answer::error(400, &error, hint)
            }
        },
        Route::Status | Route::Release => match (bounds::check_empty(query), route) {
            (Err(error), _) => Answer::error(400, &error, "remove the query"),
            (Ok(()), Route::Release) => release::release(&settings),
            (Ok(()), _) => status::status(&settings, started),
        },
    }
}

impl Route {
    /// Looks only at the end of the path, because hosts may route with a prefix, as Spin does with `/kinesis/...`.
    fn from_path(path: &str) -> Option<Route> {
        let mut parts = path.rsplit('/');
        match (parts.next(), parts.next()) {
            (Some("drain"), _) => Some(Route::Drain),
            (Some("status"), _) => Some(Route::Status),
            (Some("release"), Some("lease")) => Some(Route::Release),
            _ => None,
        }
    }

    /// Returns an error if the route does not allow this method.
    fn check_method(self, method: &Method) -> Option<Answer> {
        match (self, method) {
            (Route::Drain | Route::Release, Method::Post) | (Route::Status, Method::Get) => None,
            (Route::Drain | Route::Release, _) => {
                Some(Answer::error(405, "method not allowed", "use POST").with("allow", "POST"))
            }
            (Route::Status, _) => Some(Answer::error(405, "method not allowed", "use GET").with("allow", "GET")),
        }
    }
}

/// Compares in constant time. A repeated header is rejected.
fn is_authorized(request: &IncomingRequest, token: &str) -> bool {
    let headers = request.headers().get("authorization");
    let [header] = headers.as_slice() else { return false };
    let Some((scheme, sent)) = header.split_at_checked("Bearer ".len()) else { return false };
    scheme.eq_ignore_ascii_case(b"Bearer ") && bool::from(sent.ct_eq(token.as_bytes()))
}
