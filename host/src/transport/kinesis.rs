//! The transport to a Kinesis endpoint: signs, sends, and corrects clock and credentials.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use aws_credential_types::provider::ProvideCredentials;
use bytes::Bytes;

use super::clock::{Clock, millis};
use super::credentials::{self, Credentials};
use super::endpoint::Endpoint;
use super::error::Error;
use super::http::{self, Http, RawResponse, SMALL_RESPONSE_MAX};
use super::request::{Body, CBOR, Failure, JSON, Request, Response, Transport};
use super::settings::Settings;
use super::sign;

/// The transport to a Kinesis endpoint.
pub struct Kinesis {
    http: Arc<Http>,
    endpoint: Endpoint,
    credentials: Credentials,
    clock: Clock,
    answered: AtomicBool,
}

impl Kinesis {
    /// Finds endpoint and credentials, and fetches credentials, so that missing ones are reported before anything is
    /// read.
    pub async fn connect(settings: &Settings) -> Result<Self, Error> {
        let http = Arc::new(Http::new(settings.ca_bundle.clone()));
        let (endpoint, credentials) = credentials::find(settings, &http).await?;
        credentials.current().await?;
        Self::new(http, endpoint, credentials)
    }

    /// A transport to a known endpoint, with credentials from the given provider.
    pub fn with_credentials(
        endpoint: Endpoint,
        provider: impl ProvideCredentials + 'static,
        ca_bundle: Option<PathBuf>,
    ) -> Result<Self, Error> {
        let http = Arc::new(Http::new(ca_bundle));
        Self::new(http, endpoint, Credentials::new(provider))
    }

    fn new(http: Arc<Http>, endpoint: Endpoint, credentials: Credentials) -> Result<Self, Error> {
        if endpoint.is_secure() {
            http.trust()?;
        }
        tracing::debug!(endpoint = %endpoint, region = endpoint.region(), "connecting");
        Ok(Self { http, endpoint, credentials, clock: Clock::default(), answered: AtomicBool::new(false) })
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Whether any response, of any status, has arrived yet.
    pub fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// Sends a request, and again if clock or credentials had to be corrected. Returns the response and the time of
    /// signing.
    async fn exchange(
        &self,
        target: &str,
        kind: &'static str,
        body: Bytes,
    ) -> Result<(RawResponse, SystemTime), Failure> {
        let size_max = response_max(operation(target));
        let mut credentials = self.credentials.current().await?;
        let (mut corrections, mut renewed) = (0, false);
        loop {
            let signed_at = self.clock.now();
            let request = sign::sign(&self.endpoint, target, kind, body.clone(), &credentials, signed_at)?;
            let response = self.http.send(request, size_max).await?;
            match remedy(&response) {
                Remedy::Clock if corrections < CORRECTIONS_MAX => {
                    let corrected = response.date().is_some_and(|date| self.clock.correct(signed_at, date));
                    if !corrected {
                        return Ok((response, signed_at));
                    }
                    corrections += 1;
                    tracing::debug!("the clock is wrong: signing with the service's time");
                }
                Remedy::Credentials if !renewed => {
                    let Some(others) = self.credentials.replace(&credentials).await? else {
                        return Ok((response, signed_at));
                    };
                    credentials = others;
                    renewed = true;
                    tracing::debug!("the credentials were refused: signing with new ones");
                }
                Remedy::None | Remedy::Clock | Remedy::Credentials => return Ok((response, signed_at)),
            }
        }
    }
}

/// How often the clock is corrected for one request. The first correction may come from a middlebox with a wrong clock;
/// the second one then comes from the service.
const CORRECTIONS_MAX: u32 = 2;

fn operation(target: &str) -> &str {
    target.rsplit('.').next().unwrap_or_default()
}

/// The size limit for the responses of an operation, in bytes.
fn response_max(operation: &str) -> usize {
    match operation {
        "GetRecords" => PAGE_MAX,
        "ListShards" => LISTING_MAX,
        _ => SMALL_RESPONSE_MAX,
    }
}

/// A page has 10 MiB of data, which is 13.4 MiB in base64 and less than twice that in any encoding.
const PAGE_MAX: usize = 64 << 20;

/// A page of a listing has at most 10,000 shards. A shard is less than 1,000 bytes in JSON: three identifiers of up to
/// 128 characters, two hash keys of up to 39 digits and two sequence numbers of up to 129.
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ListShards.html>
const LISTING_MAX: usize = 16 << 20;

impl Transport for Kinesis {
    async fn send(&self, request: Request) -> Result<Response, Failure> {
        let started = std::time::Instant::now();
        let Request { target, body, timeout } = request;
        let (kind, body) = match body {
            Body::Json(text) => (JSON, Bytes::from(text)),
            Body::Cbor(bytes) => (CBOR, Bytes::from(bytes)),
        };
        let result = tokio::time::timeout(timeout, self.exchange(&target, kind, body))
            .await
            .unwrap_or_else(|_| Err(Failure::Transient(format!("no response within: {timeout:?}"))));

        let operation = operation(&target);
        let elapsed_ms = started.elapsed().as_millis() as u64;
        match &result {
            Ok((response, _)) => {
                self.answered.store(true, Ordering::Relaxed);
                tracing::debug!(operation, status = response.status, size = response.body.len(), elapsed_ms);
            }
            Err(failure) => tracing::debug!(operation, %failure, elapsed_ms),
        }
        result.map(|(response, signed_at)| convert(response, signed_at))
    }
}

/// Converts a response for the driver.
fn convert(response: RawResponse, signed_at: SystemTime) -> Response {
    let kind = response.header("content-type").unwrap_or_default();
    let is_cbor = kind.split(';').next().unwrap_or_default().trim() == CBOR;
    Response {
        status: response.status,
        aws_request_id: response.header("x-amzn-requestid").map(str::to_owned),
        date: response.date().and_then(millis),
        signed: millis(signed_at),
        body: if is_cbor {
            Body::Cbor(response.body)
        } else {
            let text = String::from_utf8(response.body);
            Body::Json(text.unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
        },
    }
}

/// What to correct before a request is signed again.
enum Remedy {
    None,
    Clock,
    Credentials,
}

/// Looks for names of errors that concern the signature and not the request.
///
/// The name is in the body, as plain text in both JSON and CBOR, and sometimes in a header. If it merely occurs in
/// another error's message, that costs one useless request.
fn remedy(response: &RawResponse) -> Remedy {
    if !matches!(response.status, 400 | 401 | 403) {
        return Remedy::None;
    }
    let header = response.header("x-amzn-errortype").unwrap_or_default();
    let names = |name: &str| header.contains(name) || http::contains(&response.body, name.as_bytes());
    if ["ExpiredTokenException", "UnrecognizedClientException", "InvalidClientTokenId"].into_iter().any(names) {
        Remedy::Credentials
    } else if ["InvalidSignatureException", "SignatureDoesNotMatch", "RequestExpired", "RequestTimeTooSkewed"]
        .into_iter()
        .any(names)
    {
        Remedy::Clock
    } else {
        Remedy::None
    }
}

impl fmt::Debug for Kinesis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kinesis").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_page_of_a_listing_is_within_the_limit() {
        let name = "x".repeat(128);
        let (key, sequence) = ("9".repeat(39), "9".repeat(129));
        let shard = format!(
            r#"{{"ShardId":"{name}","ParentShardId":"{name}","AdjacentParentShardId":"{name}","HashKeyRange":{{"StartingHashKey":"{key}","EndingHashKey":"{key}"}},"SequenceNumberRange":{{"StartingSequenceNumber":"{sequence}","EndingSequenceNumber":"{sequence}"}}}},"#
        );
        // There may also be a token of 1 MiB.
        assert!(10_000 * shard.len() + (1 << 20) < LISTING_MAX, "{}", shard.len());
    }
}
