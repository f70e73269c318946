//! What becomes of a request on its way to the service and back.

use kinesis_reader_machine::wire::Body;
use kinesis_reader_machine::{Failure, Response, Timestamp};

use crate::chance::Chance;
use crate::kinesis::Answer;
use crate::scenario::Network;

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
        }
    }
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

    /// `date`: the service's time, in whole seconds.
    pub(super) fn response(answer: &Answer, date: Option<u64>) -> Back {
        Back::of(answer.status, answer.body.clone(), date)
    }

    pub(super) fn half(answer: &Answer, date: Option<u64>, chance: &mut Chance) -> Back {
        let mut body = answer.body.clone();
        let mut length = chance.within(0, body.len().saturating_sub(1) as u64) as usize;
        while !body.is_char_boundary(length) {
            length -= 1;
        }
        body.truncate(length);
        Back::of(answer.status, body, date)
    }

    pub(super) fn html(chance: &mut Chance) -> Back {
        let status = chance.of(&[502, 503, 504]);
        Back::of(status, "<html><h1>Service Unavailable</h1></html>".to_owned(), None)
    }

    /// For the history.
    pub(super) fn shown(&self) -> String {
        match self {
            Back::Response(response) => format!("{} {}", response.status, shown(&response.body)),
            Back::Failure(failure) => format!("{failure:?}"),
        }
    }

    fn of(status: u16, body: String, date: Option<u64>) -> Back {
        let date = date.map(|date| Timestamp(date / 1000 * 1000));
        Back::Response(Response { status, body: Body::Json(body), trace: None, date })
    }
}

/// A body for the history, cut to a length that can be read.
pub(super) fn shown(body: &Body) -> String {
    match body {
        Body::Json(text) => text.chars().take(600).collect(),
        Body::Cbor(bytes) => format!("{} bytes of CBOR", bytes.len()),
    }
}
