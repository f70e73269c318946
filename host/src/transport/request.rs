//! What a driver and a transport exchange: requests, responses and failures.

use std::fmt::{self, Write as _};
use std::time::Duration;

use crate::terminal::Clean;

/// Sends requests to Kinesis, or to something that behaves like it.
pub trait Transport: Send + Sync + 'static {
    /// Sends one request and waits for the response, of any status, for at most `request.timeout`.
    fn send(&self, request: Request) -> impl Future<Output = Result<Response, Failure>> + Send;
}

/// A request to `POST` to the endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The value of `X-Amz-Target`, as in `Kinesis_20131202.GetRecords`.
    pub target: String,
    /// The body, whose variant determines the content type.
    pub body: Body,
    /// The time after which the request has failed.
    pub timeout: Duration,
}

/// A response of any status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The body. If it has another content type, it is `Json`, with invalid UTF-8 replaced.
    pub body: Body,
    /// The `x-amzn-requestid` header.
    pub aws_request_id: Option<String>,
    /// The `Date` header, in milliseconds since the Unix epoch.
    pub date: Option<u64>,
    /// The time that the request was signed with, in milliseconds since the Unix epoch.
    pub signed: Option<u64>,
}

/// The body of a request or response, by content type.
#[derive(Clone, PartialEq, Eq)]
pub enum Body {
    /// `application/x-amz-json-1.1`.
    Json(String),
    /// `application/x-amz-cbor-1.1`.
    Cbor(Vec<u8>),
}

/// Why there is no response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Retrying may help, as after a reset, a timeout or a host name that was not found.
    Transient(String),
    /// Retrying will not help, as without credentials or with an invalid certificate.
    Permanent(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transient(why) | Self::Permanent(why) => Clean(f).write_str(why),
        }
    }
}

impl fmt::Debug for Body {
    /// Shows only the size, as a body may contain confidential data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(text) => write!(f, "Json({} bytes)", text.len()),
            Self::Cbor(bytes) => write!(f, "Cbor({} bytes)", bytes.len()),
        }
    }
}

/// The content type of [`Body::Json`].
pub(super) const JSON: &str = "application/x-amz-json-1.1";
/// The content type of [`Body::Cbor`].
pub(super) const CBOR: &str = "application/x-amz-cbor-1.1";
