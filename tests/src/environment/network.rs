//! What becomes of a request on its way to the service and back.

use kinesis_reader_machine::wire::Body;
use kinesis_reader_machine::{Failure, Response, Timestamp};

use crate::chance::Chance;
use crate::kinesis::Answer;
use crate::scenario::{Network, ODD_TIMES};

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is answered.
    Answered,
    /// It does not arrive, and the host is told.
    Refused,
    /// It is answered, the answer does not arrive, and the host is told.
    Reset,
    /// Nothing more is heard of it.
    Silent,
    /// It is answered after its deadline.
    Late,
    /// Half of the answer arrives.
    Cut,
    /// A proxy answers instead.
    Html,
    /// The host cannot send it: it has no credentials.
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
            Fate::Silent => Some("no answer at all"),
            Fate::Late => Some("answer after the deadline"),
            Fate::Cut => Some("half an answer"),
            Fate::Html => Some("page of HTML"),
            Fate::Unsent => Some("no credentials"),
        }
    }
}

/// The times that come with an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) date: Option<u64>,
    pub(super) signed: u64,
}

/// What comes back to the host.
#[derive(Clone, Debug)]
pub(super) enum Back {
    Response(Response),
    Failure(Failure),
}

impl Back {
    pub(super) fn failure(what: &str) -> Back {
        Back::Failure(Failure::Transient(what.to_owned()))
    }

    pub(super) fn response(answer: Answer, times: Times) -> Back {
        let Times { date, signed } = times;
        let [date, signed] = [date, Some(signed)].map(|time| time.map(Timestamp));
        Back::Response(Response { status: answer.status, body: answer.body, aws_request_id: None, date, signed })
    }

    pub(super) fn half(answer: Answer, times: Times, chance: &mut Chance) -> Back {
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
        Back::response(Answer { body, ..answer }, times)
    }

    /// The page of something in between, which has a time of its own.
    pub(super) fn html(signed: u64, chance: &mut Chance) -> Back {
        let body = Body::Json("<html><h1>Service Unavailable</h1></html>".to_owned());
        // One that asks for a name and a password before it lets anybody through says that all is well.
        let status = chance.of(&[502, 503, 504, 200]);
        let date = chance.of(&[None, Some(signed), Some(signed / 2), Some(signed + 100_000), Some(ODD_TIMES[4])]);
        let [date, signed] = [date, Some(signed)].map(|time| time.map(Timestamp));
        Back::Response(Response { status, body, aws_request_id: None, date, signed })
    }

    /// For the history.
    pub(super) fn shown(&self) -> String {
        match self {
            Back::Response(response) => format!("{} {}", response.status, shown(&response.body)),
            Back::Failure(failure) => format!("{failure:?}"),
        }
    }
}

/// A body for the history, cut to a length that can be read.
pub(super) fn shown(body: &Body) -> String {
    match body {
        Body::Json(text) => text.chars().take(600).collect(),
        Body::Cbor(bytes) => format!("{} bytes of CBOR", bytes.len()),
    }
}
