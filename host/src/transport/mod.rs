//! The way to Kinesis: one signed `POST` after another to one endpoint.
//!
//! The machine says what to ask and judges every answer. This room only carries: it signs, sends, bounds
//! the time and the size, and puts two things right that the machine cannot see, for each request anew:
//! a clock that is off, and credentials that have been replaced. It never follows a redirect, and it never
//! logs a header or a body.
//!
//! [`Transport`] is what a driver needs; [`Kinesis`] is the real one.

pub mod credentials;
pub mod endpoint;
mod http;
mod sign;

use std::fmt::{self, Write as _};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_credential_types::provider::ProvideCredentials;
use bytes::Bytes;

use self::credentials::Credentials;
use self::endpoint::Endpoint;
use self::http::{Answer, Http};
use crate::terminal::{Clean, Given};

/// Something that answers requests as Kinesis does.
pub trait Transport: Send + Sync + 'static {
    /// Sends one request and waits for its answer, of any status, no longer than `request.timeout`.
    fn send(&self, request: Request) -> impl Future<Output = Result<Response, Failure>> + Send;
}

/// A request to `POST` to the endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The value of `X-Amz-Target`, as in `Kinesis_20131202.GetRecords`.
    pub target: String,
    /// What to post, and by its case the content type.
    pub body: Body,
    /// After this long the request has failed.
    pub timeout: Duration,
}

/// An answer of any status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The body. One of another content type is `Json`, with what is not UTF-8 replaced.
    pub body: Body,
    /// The `x-amzn-requestid` header.
    pub aws_request_id: Option<String>,
    /// The `Date` header, in milliseconds since the Unix epoch.
    pub date: Option<u64>,
    /// The calendar time that the request was signed with, in milliseconds since the Unix epoch.
    pub signed: Option<u64>,
}

/// The body of a request or an answer, and by its case the content type.
#[derive(Clone, PartialEq, Eq)]
pub enum Body {
    /// `application/x-amz-json-1.1`.
    Json(String),
    /// `application/x-amz-cbor-1.1`.
    Cbor(Vec<u8>),
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Trying again may help: no connection, a reset, a timeout, no such host name.
    Transient(String),
    /// Trying again will not help: no credentials, a certificate that does not hold.
    Permanent(String),
}

/// What decides where requests go and in whose name, as flags and stream name it.
///
/// What is left out here is found as the AWS command line finds it: in the environment and in the profile.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// The region, from the flag or from the stream's ARN.
    pub region: Option<String>,
    /// The profile. Where it is named, credentials in the environment do not count.
    pub profile: Option<String>,
    /// A role to assume with the credentials found.
    pub role_arn: Option<String>,
    /// The URL of the endpoint.
    pub endpoint_url: Option<String>,
    /// A file of certificates to trust in place of the system's.
    pub ca_bundle: Option<PathBuf>,
}

/// Kinesis at its endpoint.
pub struct Kinesis {
    http: Arc<Http>,
    endpoint: Endpoint,
    credentials: Credentials,
    clock: Clock,
    answered: AtomicBool,
}

impl Kinesis {
    /// Finds endpoint and credentials. Credentials are fetched here once, so that having none is told
    /// before anything is read.
    pub async fn connect(settings: &Settings) -> Result<Self, Error> {
        let http = Arc::new(Http::new(settings.ca_bundle.clone()));
        let (endpoint, credentials) = credentials::find(settings, &http).await?;
        credentials.current().await?;
        Self::new(http, endpoint, credentials)
    }

    /// Kinesis at a known endpoint with credentials from the given provider.
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

    /// Where requests go.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Whether any answer has come, of any status.
    pub fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// Sends a request, again if clock or credentials had to be corrected. Returns the answer and the time of signing.
    async fn exchange(&self, target: &str, kind: &'static str, body: Bytes) -> Result<(Answer, SystemTime), Failure> {
        let answer_max = answer_max(operation(target));
        let mut credentials = self.credentials.current().await?;
        let (mut corrections, mut renewed) = (0, false);
        loop {
            let signed_at = self.clock.now();
            let request = sign::sign(&self.endpoint, target, kind, body.clone(), &credentials, signed_at)?;
            let answer = self.http.send(request, answer_max).await?;
            match remedy(&answer) {
                Remedy::Clock if corrections < CORRECTIONS_MAX => {
                    let corrected = answer.date().is_some_and(|date| self.clock.correct(signed_at, date));
                    if !corrected {
                        return Ok((answer, signed_at));
                    }
                    corrections += 1;
                    tracing::debug!("the clock is off: signing by the service's");
                }
                Remedy::Credentials if !renewed => {
                    let Some(others) = self.credentials.replace(&credentials).await? else {
                        return Ok((answer, signed_at));
                    };
                    credentials = others;
                    renewed = true;
                    tracing::debug!("the credentials are no longer taken: signing with new ones");
                }
                Remedy::None | Remedy::Clock | Remedy::Credentials => return Ok((answer, signed_at)),
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

/// The largest answer to an operation, in bytes.
fn answer_max(operation: &str) -> usize {
    match operation {
        "GetRecords" => PAGE_MAX,
        "ListShards" => LISTING_MAX,
        _ => SMALL_ANSWER_MAX,
    }
}

/// A page has 10 MiB of data, which is 13.4 MiB in base64 and less than twice that in any encoding.
const PAGE_MAX: usize = 64 << 20;

/// A page of a listing has at most 10,000 shards. A shard is less than 1,000 bytes in JSON: three identifiers of up to 128
/// characters, two hash keys of up to 39 digits and two sequence numbers of up to 129.
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ListShards.html>
const LISTING_MAX: usize = 16 << 20;

/// An iterator has at most 512 characters, the summary of a stream some hundred bytes, credentials a few thousand.
const SMALL_ANSWER_MAX: usize = 64 << 10;

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
            .unwrap_or_else(|_| Err(Failure::Transient(format!("no answer within: {timeout:?}"))));

        let operation = operation(&target);
        let elapsed_ms = started.elapsed().as_millis() as u64;
        match &result {
            Ok((answer, _)) => {
                self.answered.store(true, Ordering::Relaxed);
                tracing::debug!(operation, status = answer.status, size = answer.body.len(), elapsed_ms);
            }
            Err(failure) => tracing::debug!(operation, %failure, elapsed_ms),
        }
        result.map(|(answer, signed_at)| Response::new(answer, signed_at))
    }
}

const JSON: &str = "application/x-amz-json-1.1";
const CBOR: &str = "application/x-amz-cbor-1.1";

impl Response {
    fn new(answer: Answer, signed_at: SystemTime) -> Self {
        let kind = answer.header("content-type").unwrap_or_default();
        let cbor = kind.split(';').next().unwrap_or_default().trim() == CBOR;
        Self {
            status: answer.status,
            aws_request_id: answer.header("x-amzn-requestid").map(str::to_owned),
            date: answer.date().and_then(millis),
            signed: millis(signed_at),
            body: if cbor {
                Body::Cbor(answer.body)
            } else {
                Body::Json(
                    String::from_utf8(answer.body)
                        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
                )
            },
        }
    }
}

/// What a rejection asks of the one who signs.
enum Remedy {
    None,
    Clock,
    Credentials,
}

/// Reads a rejection for the error names that are about the signature and not about the request.
///
/// The name stands in the body, in JSON as in CBOR as plain text, and sometimes in a header. A match within
/// an error's message costs one request sent in vain.
fn remedy(answer: &Answer) -> Remedy {
    if !matches!(answer.status, 400 | 401 | 403) {
        return Remedy::None;
    }
    let header = answer.header("x-amzn-errortype").unwrap_or_default();
    let says = |name: &str| header.contains(name) || http::contains(&answer.body, name.as_bytes());
    if ["ExpiredTokenException", "UnrecognizedClientException", "InvalidClientTokenId"].into_iter().any(says) {
        Remedy::Credentials
    } else if ["InvalidSignatureException", "SignatureDoesNotMatch", "RequestExpired", "RequestTimeTooSkewed"]
        .into_iter()
        .any(says)
    {
        Remedy::Clock
    } else {
        Remedy::None
    }
}

/// The time to sign by: the system's, moved by what the service has told.
#[derive(Default)]
struct Clock {
    offset_ms: AtomicI64,
}

impl Clock {
    /// The time to sign by. It always has a form in `X-Amz-Date`, whatever the system's clock says.
    fn now(&self) -> SystemTime {
        moved(SystemTime::now(), self.offset_ms.load(Ordering::Relaxed)).clamp(UNIX_EPOCH, UNIX_EPOCH + SIGNABLE_MAX)
    }

    /// Adopts the service's time if it is far from the time that was signed. It replaces an earlier correction. False if it
    /// is not far, so the signature is wrong for another reason, or if it is a time that no service can have.
    fn correct(&self, signed_at: SystemTime, date: SystemTime) -> bool {
        let is_of_this_era = (UNIX_EPOCH + ERA.start..UNIX_EPOCH + ERA.end).contains(&date);
        if !is_of_this_era || ms_ahead(date, signed_at).unsigned_abs() < SKEW_MIN.as_millis() as u64 {
            return false;
        }
        self.offset_ms.store(ms_ahead(date, SystemTime::now()), Ordering::Relaxed);
        true
    }
}

fn moved(time: SystemTime, by_ms: i64) -> SystemTime {
    let offset = Duration::from_millis(by_ms.unsigned_abs());
    let moved = if by_ms < 0 { time.checked_sub(offset) } else { time.checked_add(offset) };
    moved.unwrap_or(time)
}

/// How far `a` is ahead of `b`.
fn ms_ahead(a: SystemTime, b: SystemTime) -> i64 {
    match a.duration_since(b) {
        Ok(ahead) => i64::try_from(ahead.as_millis()).unwrap_or(i64::MAX),
        Err(behind) => i64::try_from(behind.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
    }
}

/// AWS takes a signature that is up to five minutes old or early.
const SKEW_MIN: Duration = Duration::from_secs(4 * 60);

/// From 2015 to 2100, since the epoch. A `Date` outside of these years is from a broken clock.
const ERA: Range<Duration> = Duration::from_secs(1_420_070_400)..Duration::from_secs(4_102_444_800);

/// The last second of the year 9999, the last one with a form in `X-Amz-Date`.
const SIGNABLE_MAX: Duration = Duration::from_secs(253_402_300_799);

fn millis(time: SystemTime) -> Option<u64> {
    u64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}

/// Why Kinesis cannot be asked at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// No region is named anywhere.
    NoRegion,
    /// This cannot be the name of a region.
    BadRegion(String),
    /// This URL cannot be an endpoint, and why. A password in it has been taken out.
    BadEndpoint {
        /// The URL.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The profile is in none of the files.
    UnknownProfile(String),
    /// A file of profiles cannot be read, and why.
    BadProfiles(String),
    /// Nobody has credentials for us.
    NoCredentials,
    /// Somebody should have credentials and cannot give them, and why.
    Credentials {
        /// What was said.
        why: String,
        /// Whether another try may go better.
        transient: bool,
    },
    /// The certificates to trust cannot be read.
    BadCertificates {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl Error {
    /// Whether a flag or a setting is at fault, not the world.
    pub fn is_usage_error(&self) -> bool {
        match self {
            Self::NoRegion | Self::BadRegion(_) | Self::BadEndpoint { .. } => true,
            Self::UnknownProfile(_) | Self::BadProfiles(_) | Self::BadCertificates { .. } => true,
            Self::NoCredentials | Self::Credentials { .. } => false,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoRegion => "give --region, or set AWS_REGION, or name a region in the profile",
            Self::BadRegion(_) => "regions look like us-east-1",
            Self::BadEndpoint { .. } => {
                "endpoints look like https://kinesis.us-east-1.amazonaws.com or http://localhost:4567"
            }
            Self::UnknownProfile(_) => {
                "`aws configure list-profiles` shows those there are; profiles are kept in ~/.aws/config and ~/.aws/credentials"
            }
            Self::BadProfiles(_) => {
                "see ~/.aws/config and ~/.aws/credentials, or AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE"
            }
            Self::NoCredentials => {
                "run `aws configure` or `aws sso login`, give --profile, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (an emulator takes any values, as `test` and `test`)"
            }
            Self::Credentials { .. } => {
                "`aws sts get-caller-identity` tries the same credentials; `aws sso login` renews those of SSO"
            }
            Self::BadCertificates { .. } => "AWS_CA_BUNDLE names a file of certificates in PEM form",
        };
        Some(hint.to_owned())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = Clean(f);
        match self {
            Self::NoRegion => write!(f, "no region is set"),
            Self::BadRegion(region) => write!(f, "not a region: {}", Given(region)),
            Self::BadEndpoint { url, why } => write!(f, "not an endpoint: {url} ({why})"),
            Self::UnknownProfile(profile) => write!(f, "no such profile: {}", Given(profile)),
            Self::BadProfiles(why) => write!(f, "the profiles cannot be read: {why}"),
            Self::NoCredentials => write!(f, "no AWS credentials were found"),
            Self::Credentials { why, .. } => write!(f, "the AWS credentials cannot be had: {why}"),
            Self::BadCertificates { path, why } => {
                write!(f, "the certificates cannot be read: {} ({why})", path.display())
            }
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Credentials { transient: true, .. } => Self::Transient(error.to_string()),
            other => Self::Permanent(other.to_string()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transient(why) | Self::Permanent(why) => Clean(f).write_str(why),
        }
    }
}

impl fmt::Debug for Settings {
    /// A URL may have a password in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { region, profile, role_arn, endpoint_url, ca_bundle } = self;
        f.debug_struct("Settings")
            .field("region", region)
            .field("profile", profile)
            .field("role_arn", role_arn)
            .field("endpoint_url", &endpoint_url.as_deref().map(endpoint::shown))
            .field("ca_bundle", ca_bundle)
            .finish()
    }
}

impl fmt::Debug for Body {
    /// The size only: a body is other people's data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(text) => write!(f, "Json({} bytes)", text.len()),
            Self::Cbor(bytes) => write!(f, "Cbor({} bytes)", bytes.len()),
        }
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
    fn the_time_to_sign_by_can_be_signed_whatever_the_offset() {
        for offset_ms in [i64::MIN, i64::MIN + 1, -1 << 60, -1 << 50, 0, 1 << 50, 1 << 60, i64::MAX] {
            let now = Clock { offset_ms: AtomicI64::new(offset_ms) }.now();
            assert!((UNIX_EPOCH..=UNIX_EPOCH + SIGNABLE_MAX).contains(&now), "{offset_ms}: {now:?}");
        }
    }

    #[test]
    fn a_listing_of_the_most_shards_is_within_its_bound() {
        let name = "x".repeat(128);
        let (key, sequence) = ("9".repeat(39), "9".repeat(129));
        let shard = format!(
            r#"{{"ShardId":"{name}","ParentShardId":"{name}","AdjacentParentShardId":"{name}","HashKeyRange":{{"StartingHashKey":"{key}","EndingHashKey":"{key}"}},"SequenceNumberRange":{{"StartingSequenceNumber":"{sequence}","EndingSequenceNumber":"{sequence}"}}}},"#
        );
        // And a token of 1 MiB.
        assert!(10_000 * shard.len() + (1 << 20) < LISTING_MAX, "{}", shard.len());
    }
}
