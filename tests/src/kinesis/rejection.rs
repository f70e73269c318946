//! What the service refuses with: the names of its model and of the layers before it.

use super::Operation;
use super::json::Object;
use crate::chance::Chance;

/// A refusal, by what a client should make of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Too much was asked; the same again later.
    Throttled,
    /// Nothing is wrong with the request; the same again later.
    Transient,
    /// The iterator or token is too old; another is needed.
    Expired,
    /// The place in the shard has left the stream.
    Trimmed,
    /// There is no such shard.
    NotFound,
    /// It will not work the next time either.
    Fatal,
    /// The one operation that is not needed is denied.
    Denied,
}

/// A refusal as it is sent.
#[derive(Clone, Debug)]
pub(super) struct Rejection {
    pub(super) refusal: Refusal,
    pub(super) status: u16,
    /// None: the answer is not one of the service's own but a page of HTML.
    pub(super) name: Option<&'static str>,
    pub(super) message: String,
}

impl Rejection {
    pub(super) fn new(refusal: Refusal, name: &'static str, message: impl Into<String>) -> Rejection {
        Rejection { refusal, status: 400, name: Some(name), message: message.into() }
    }

    pub(super) fn body(&self, odd: bool) -> String {
        match (self.name, odd) {
            (None, _) => format!("<html><body><h1>{} Sorry</h1></body></html>", self.status),
            (Some(name), false) => Object::new().text("__type", name).text("message", &self.message).end(),
            (Some(name), true) => Object::new()
                .text("__type", &format!("com.amazonaws.kinesis.v20131202#{name}"))
                .text("Message", &self.message)
                .end(),
        }
    }

    /// A refusal of this kind that the operation may give though nothing is wrong with the request.
    pub(super) fn groundless(refusal: Refusal, operation: Operation, chance: &mut Chance) -> Rejection {
        let known = |name| Rejection::new(refusal, name, "Rate exceeded or a failure of ours.");
        let html = |status| Rejection { refusal, status, name: None, message: String::new() };
        let status = |status, name| Rejection { status, ..known(name) };
        match refusal {
            Refusal::Throttled => match operation {
                Operation::GetRecords => chance.of(&[
                    known("ProvisionedThroughputExceededException"),
                    known("ProvisionedThroughputExceededException"),
                    known("KMSThrottlingException"),
                    known("ThrottlingException"),
                    html(429),
                ]),
                Operation::GetShardIterator => {
                    chance.of(&[known("ProvisionedThroughputExceededException"), known("ThrottlingException")])
                }
                Operation::ListShards | Operation::DescribeStreamSummary => {
                    chance.of(&[known("LimitExceededException"), known("ThrottlingException")])
                }
            },
            Refusal::Transient => chance.of(&[
                status(500, "InternalFailure"),
                status(500, "InternalFailureException"),
                status(503, "ServiceUnavailable"),
                html(500),
                html(502),
                html(503),
                html(504),
                match operation {
                    Operation::ListShards => known("ResourceInUseException"),
                    _ => status(503, "ServiceUnavailableException"),
                },
            ]),
            Refusal::Expired => match operation {
                Operation::ListShards => known("ExpiredNextTokenException"),
                _ => known("ExpiredIteratorException"),
            },
            Refusal::Fatal => match operation {
                Operation::GetRecords => chance.of(&[
                    known("AccessDeniedException"),
                    known("KMSAccessDeniedException"),
                    known("KMSDisabledException"),
                    known("KMSInvalidStateException"),
                    known("KMSNotFoundException"),
                    known("KMSOptInRequired"),
                    known("ValidationException"),
                ]),
                _ => chance.of(&[known("AccessDeniedException"), known("ValidationException")]),
            },
            Refusal::Denied => known("AccessDeniedException"),
            Refusal::Trimmed | Refusal::NotFound => unreachable!("these have their ground in the stream"),
        }
    }
}
