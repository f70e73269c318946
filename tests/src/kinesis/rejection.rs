//! What the service refuses with: the names of its model and of the layers before it.

use kinesis_reader_machine::wire::Body;

use super::Operation;
use super::body::Writer;
use crate::chance::Chance;

/// A refusal, by what a client should make of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Too much was asked; the same again later.
    Throttled,
    /// Nothing is wrong with the request; the same again later.
    Transient,
    /// The iterator is too old; another is needed.
    Expired,
    /// The token is too old; the listing must begin anew.
    ExpiredToken,
    /// The place in the shard has left the stream.
    Trimmed,
    /// There is no such shard.
    NotFound,
    /// The signature is not accepted: the credentials or the clock are to be set right, once.
    Credentials,
    /// The time of the signature is not accepted: the clock is to be set right, once.
    Clock,
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

    pub(super) fn body(&self, odd: bool, mut writer: Writer) -> Body {
        let Some(name) = self.name else {
            return Body::Json(format!("<html><body><h1>{} Sorry</h1></body></html>", self.status));
        };
        let (name, message) = match odd {
            false => (name.to_owned(), "message"),
            true => (format!("com.amazonaws.kinesis.v20131202#{name}"), "Message"),
        };
        writer.object(|answer| {
            answer.text("__type", &name);
            answer.text(message, &self.message);
        });
        writer.finish()
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
                    known("RequestLimitExceeded"),
                    status(429, "TooManyRequestsException"),
                    html(429),
                    html(509),
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
                status(500, "InternalServerError"),
                status(408, "RequestTimeoutException"),
                known("RequestAbortedException"),
                match operation {
                    Operation::ListShards => known("ResourceInUseException"),
                    _ => status(503, "ServiceUnavailableException"),
                },
            ]),
            Refusal::Expired => match operation {
                Operation::ListShards => known("ExpiredNextTokenException"),
                _ => known("ExpiredIteratorException"),
            },
            Refusal::Credentials | Refusal::Clock => chance.of(&[
                known("ExpiredTokenException"),
                known("UnrecognizedClientException"),
                status(403, "IncompleteSignature"),
                Rejection::new(refusal, "InvalidSignatureException", "Signature expired: 20251123T1 is now earlier"),
                status(403, "RequestTimeTooSkewed"),
            ]),
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
                _ => chance.of(&[
                    known("AccessDeniedException"),
                    known("ValidationException"),
                    status(403, "NotAuthorized"),
                    known("AnErrorOfAnotherYear"),
                ]),
            },
            Refusal::Denied => known("AccessDeniedException"),
            Refusal::Trimmed | Refusal::NotFound | Refusal::ExpiredToken => {
                unreachable!("these have their ground in the stream")
            }
        }
    }
}
