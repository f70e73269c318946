//! What happens to a request on its way to the service and back.

use kinesis_reader_machine::wire::Body;
use kinesis_reader_machine::{Failure, Response, Timestamp};

use crate::chance::Chance;
use crate::kinesis::Answer;
use crate::scenario::{Network, ODD_TIMES};

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The answer arrives.
    Answered,
    /// The request fails before it reaches the service.
    Refused,
    /// The service answers, but the connection is reset before the answer arrives.
    Reset,
    /// The request neither succeeds nor fails.
    Silent,
    /// The answer arrives after the deadline.
    Late,
    /// Only the beginning of the answer arrives.
    Cut,
    /// A proxy answers with a page of HTML.
    Html,
    /// The host has no credentials and cannot send the request.
    Unsent,
}

impl Fate {
    pub(super) fn draw(network: &Network, chance: &mut Chance) -> Fate {
        let fates = [
            (network.refused, Fate::Refused),
            (network.reset, Fate::Reset),
            (network.silent, Fate::Silent),
            (network.late, Fate::Late),
            (network.cut, Fate::Cut),
            (network.html, Fate::Html),
            (network.unsent, Fate::Unsent),
        ];
        fates.into_iter().find(|&(share, _)| chance.percent(share)).map_or(Fate::Answered, |(_, fate)| fate)
    }

    pub(super) fn name(self) -> Option<&'static str> {
        match self {
            Fate::Answered => None,
            Fate::Refused => Some("connection refused"),
            Fate::Reset => Some("connection reset"),
            Fate::Silent => Some("no answer"),
            Fate::Late => Some("answer after its deadline"),
            Fate::Cut => Some("truncated answer"),
            Fate::Html => Some("HTML page"),
            Fate::Unsent => Some("no credentials"),
        }
    }
}

/// The times that the host passes on with an answer: its `Date` header, and when the request was signed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) date: Option<u64>,
    pub(super) signed: u64,
}

/// The result of a request, as the host receives it.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    Response(Response),
    Failure(Failure),
}

impl Reply {
    pub(super) fn failure(what: &str) -> Reply {
        Reply::Failure(Failure::Transient(what.to_owned()))
    }

    pub(super) fn response(answer: Answer, times: Times) -> Reply {
        let Times { date, signed } = times;
        let [date, signed] = [date, Some(signed)].map(|time| time.map(Timestamp));
        Reply::Response(Response { status: answer.status, body: answer.body, aws_request_id: None, date, signed })
    }

    /// Truncates an answer.
    pub(super) fn truncated(answer: Answer, times: Times, chance: &mut Chance) -> Reply {
        let length = chance.within(0, answer.body.as_bytes().len().saturating_sub(1) as u64) as usize;
        let body = match answer.body {
            Body::Json(mut text) => {
                text.truncate(text.floor_char_boundary(length));
                Body::Json(text)
            }
            Body::Cbor(mut bytes) => {
                bytes.truncate(length);
                Body::Cbor(bytes)
            }
        };
        Reply::response(Answer { body, ..answer }, times)
    }

    /// The HTML page of a proxy, whose clock may be wrong.
    pub(super) fn html(signed: u64, chance: &mut Chance) -> Reply {
        let body = Body::Json("<html><h1>Service Unavailable</h1></html>".to_owned());
        // A captive portal answers with status 200.
        let status = chance.of(&[502, 503, 504, 200]);
        let date = chance.of(&[None, Some(signed), Some(signed / 2), Some(signed + 100_000), Some(ODD_TIMES[4])]);
        let [date, signed] = [date, Some(signed)].map(|time| time.map(Timestamp));
        Reply::Response(Response { status, body, aws_request_id: None, date, signed })
    }

    /// Formats a reply for the history.
    pub(super) fn excerpt(&self) -> String {
        match self {
            Reply::Response(response) => format!("{} {}", response.status, excerpt(&response.body)),
            Reply::Failure(failure) => format!("{failure:?}"),
        }
    }
}

/// Formats a body for the history, cut to a readable length.
pub(super) fn excerpt(body: &Body) -> String {
    match body {
        Body::Json(text) => text.chars().take(600).collect(),
        Body::Cbor(bytes) => format!("{} bytes of CBOR", bytes.len()),
    }
}
