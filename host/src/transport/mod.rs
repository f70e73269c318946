//! The transport: signs requests and sends them to the endpoint.
//!
//! The reader decides what to request and what a response means. The transport only limits time and size, and corrects
//! two problems that the reader cannot see: a wrong clock, and credentials that are no longer valid. It never follows a
//! redirect, and never logs a header or a body.
//!
//! A driver needs a [`Transport`]. [`Kinesis`] is the real one.

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
use self::http::{Http, RawResponse};
use crate::terminal::{Clean, Given};

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

/// Settings for endpoint and credentials.
///
/// Whatever is left out is looked up in the environment and the profile, as the AWS command line does.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// The region.
    pub region: Option<String>,
    /// The profile. If it is set, credentials in the environment are ignored.
    pub profile: Option<String>,
    /// A role to assume.
    pub role_arn: Option<String>,
    /// A custom endpoint URL.
    pub endpoint_url: Option<String>,
    /// A file of certificates to trust instead of the system's.
    pub ca_bundle: Option<PathBuf>,
}

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

/// A shard iterator has at most 512 characters, the summary of a stream a few hundred bytes, credentials a few
/// thousand.
const SMALL_RESPONSE_MAX: usize = 64 << 10;

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
        result.map(|(response, signed_at)| Response::new(response, signed_at))
    }
}

const JSON: &str = "application/x-amz-json-1.1";
const CBOR: &str = "application/x-amz-cbor-1.1";

impl Response {
    fn new(response: RawResponse, signed_at: SystemTime) -> Self {
        let kind = response.header("content-type").unwrap_or_default();
        let is_cbor = kind.split(';').next().unwrap_or_default().trim() == CBOR;
        Self {
            status: response.status,
            aws_request_id: response.header("x-amzn-requestid").map(str::to_owned),
            date: response.date().and_then(millis),
            signed: millis(signed_at),
            body: if is_cbor {
                Body::Cbor(response.body)
            } else {
                Body::Json(
                    String::from_utf8(response.body)
                        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
                )
            },
        }
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

/// The clock for signing: the system's, corrected by the clock offset to the service.
#[derive(Default)]
struct Clock {
    offset_ms: AtomicI64,
}

impl Clock {
    /// The time to sign with. It can always be expressed in `X-Amz-Date`, whatever the system's clock says.
    fn now(&self) -> SystemTime {
        moved(SystemTime::now(), self.offset_ms.load(Ordering::Relaxed)).clamp(UNIX_EPOCH, UNIX_EPOCH + SIGNABLE_MAX)
    }

    /// Adopts the service's time if it is far from the time that was signed, in place of an earlier correction. Returns
    /// false if the difference is small, so that the signature must be wrong for another reason, or if the time is
    /// impossible.
    fn correct(&self, signed_at: SystemTime, date: SystemTime) -> bool {
        let is_plausible = (UNIX_EPOCH + ERA.start..UNIX_EPOCH + ERA.end).contains(&date);
        if !is_plausible || ms_ahead(date, signed_at).unsigned_abs() < SKEW_MIN.as_millis() as u64 {
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

/// AWS accepts a signature whose time differs from its own by up to five minutes.
const SKEW_MIN: Duration = Duration::from_secs(4 * 60);

/// From 2015 to 2100, since the epoch. A `Date` outside these years comes from a broken clock.
const ERA: Range<Duration> = Duration::from_secs(1_420_070_400)..Duration::from_secs(4_102_444_800);

/// The last second of the year 9999, which is the last time that `X-Amz-Date` can express.
const SIGNABLE_MAX: Duration = Duration::from_secs(253_402_300_799);

fn millis(time: SystemTime) -> Option<u64> {
    u64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}

/// Why requests cannot be sent at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// No region is configured.
    NoRegion,
    /// An invalid name of a region.
    BadRegion(String),
    /// An invalid endpoint URL.
    BadEndpoint {
        /// The URL, without passwords.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The profile does not exist.
    UnknownProfile(String),
    /// A file of profiles cannot be read, for this reason.
    BadProfiles(String),
    /// No credentials were found.
    NoCredentials,
    /// Credentials are configured, but cannot be loaded.
    Credentials {
        /// The reason.
        why: String,
        /// Whether retrying may help.
        transient: bool,
    },
    /// The trusted certificates cannot be read.
    BadCertificates {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl Error {
    /// Whether the settings are at fault, so that trying again would not help.
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
                "`aws configure list-profiles` lists the profiles; they are kept in ~/.aws/config and ~/.aws/credentials"
            }
            Self::BadProfiles(_) => {
                "check ~/.aws/config and ~/.aws/credentials, or the files in AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE"
            }
            Self::NoCredentials => {
                "run `aws configure` or `aws sso login`, give --profile, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (an emulator accepts any values)"
            }
            Self::Credentials { .. } => {
                "test the credentials with `aws sts get-caller-identity`; renew those of SSO with `aws sso login`"
            }
            Self::BadCertificates { .. } => "AWS_CA_BUNDLE must name a file with certificates in PEM format",
        };
        Some(hint.to_owned())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = Clean(f);
        match self {
            Self::NoRegion => write!(f, "no region is set"),
            Self::BadRegion(region) => write!(f, "invalid region: {}", Given(region)),
            Self::BadEndpoint { url, why } => write!(f, "invalid endpoint URL: {url} ({why})"),
            Self::UnknownProfile(profile) => write!(f, "no such profile: {}", Given(profile)),
            Self::BadProfiles(why) => write!(f, "cannot read AWS profiles: {why}"),
            Self::NoCredentials => write!(f, "no AWS credentials were found"),
            Self::Credentials { why, .. } => write!(f, "cannot load AWS credentials: {why}"),
            Self::BadCertificates { path, why } => {
                write!(f, "cannot read certificates: {} ({why})", path.display())
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
    /// Hides passwords in URLs.
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
    /// Shows only the size, as a body may contain confidential data.
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
    fn the_signing_time_is_valid_whatever_the_offset() {
        for offset_ms in [i64::MIN, i64::MIN + 1, -1 << 60, -1 << 50, 0, 1 << 50, 1 << 60, i64::MAX] {
            let now = Clock { offset_ms: AtomicI64::new(offset_ms) }.now();
            assert!((UNIX_EPOCH..=UNIX_EPOCH + SIGNABLE_MAX).contains(&now), "{offset_ms}: {now:?}");
        }
    }

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
