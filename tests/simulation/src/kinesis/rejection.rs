//! The errors of the service: those of its model, and those of the layers in front of it.

use kinesis_reader_machine::wire::Body;

use super::Operation;
use super::body::Writer;
use crate::chance::Chance;

/// Why a request is refused, classified by what the client should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A limit was exceeded. Retry later.
    Throttled,
    /// The service failed. Retry later.
    Transient,
    /// The iterator is too old. Get a new one.
    Expired,
    /// The token is too old. Start the listing again.
    ExpiredToken,
    /// The requested position has left the stream.
    Trimmed,
    /// The shard does not exist.
    NotFound,
    /// The signature is not accepted. Renew the credentials or correct the clock, and retry once.
    Credentials,
    /// The time of the signature is not accepted. Correct the clock, and retry once.
    Clock,
    /// Retrying is of no use.
    Fatal,
    /// `DescribeStreamSummary` is denied. The reader can do without it.
    Denied,
}

/// An error as it is sent.
#[derive(Clone, Debug)]
pub(super) struct Rejection {
    pub(super) refusal: Refusal,
    pub(super) status: u16,
    /// The name of the error. Without one, the answer is a page of HTML from in front of the service.
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

    /// Draws an error of this kind that the operation may return for a valid request.
    #[expect(clippy::too_many_lines, reason = "a table")]
    pub(super) fn spurious(refusal: Refusal, operation: Operation, chance: &mut Chance) -> Rejection {
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
                unreachable!("these depend on the state of the stream")
            }
        }
    }
}
