//! The way to Kinesis: one signed `POST` after another to one endpoint.
//!
//! The machine says what to ask and judges every answer. This room only carries: it signs, sends, bounds
//! the time and the size, and puts two things right that the machine cannot see, once for each request:
//! a clock that is off, and credentials that have been replaced. It never follows a redirect, and it never
//! logs a header or a body.
//!
//! [`Transport`] is what a driver needs; [`Kinesis`] is the real one.

pub mod credentials;
pub mod endpoint;
mod http;
mod sign;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_credential_types::provider::ProvideCredentials;
use bytes::Bytes;

use self::credentials::Credentials;
use self::endpoint::Endpoint;
use self::http::{Answer, Http};

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
    pub trace: Option<String>,
    /// The `Date` header, in milliseconds since the Unix epoch.
    pub date: Option<u64>,
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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

    async fn exchange(&self, target: &str, kind: &'static str, body: Bytes) -> Result<Answer, Failure> {
        let credentials = self.credentials.current().await?;
        let signed_at = self.clock.now();
        let post = |credentials, at| sign::sign(&self.endpoint, target, kind, body.clone(), credentials, at);
        let answer = self.http.send(post(&credentials, signed_at)?).await?;

        match remedy(&answer) {
            Remedy::None => Ok(answer),
            Remedy::Clock => {
                let Some(date) = answer.date() else { return Ok(answer) };
                if !self.clock.correct(signed_at, date) {
                    return Ok(answer);
                }
                tracing::debug!("the clock is off: signing by the service's");
                self.http.send(post(&credentials, self.clock.now())?).await
            }
            Remedy::Credentials => {
                let Some(credentials) = self.credentials.replace(&credentials).await? else {
                    return Ok(answer);
                };
                tracing::debug!("the credentials are no longer taken: signing with new ones");
                self.http.send(post(&credentials, self.clock.now())?).await
            }
        }
    }
}

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

        let operation = target.rsplit('.').next().unwrap_or_default();
        let elapsed_ms = started.elapsed().as_millis() as u64;
        match &result {
            Ok(answer) => {
                self.answered.store(true, Ordering::Relaxed);
                tracing::debug!(operation, status = answer.status, size = answer.body.len(), elapsed_ms);
            }
            Err(failure) => tracing::debug!(operation, %failure, elapsed_ms),
        }
        result.map(Response::from)
    }
}

const JSON: &str = "application/x-amz-json-1.1";
const CBOR: &str = "application/x-amz-cbor-1.1";

impl From<Answer> for Response {
    fn from(answer: Answer) -> Self {
        let kind = answer.header("content-type").unwrap_or_default();
        let cbor = kind.split(';').next().unwrap_or_default().trim() == CBOR;
        Self {
            status: answer.status,
            trace: answer.header("x-amzn-requestid").map(str::to_owned),
            date: answer.date().and_then(millis),
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
    fn now(&self) -> SystemTime {
        let offset_ms = self.offset_ms.load(Ordering::Relaxed);
        let offset = Duration::from_millis(offset_ms.unsigned_abs());
        let now = SystemTime::now();
        let moved = if offset_ms < 0 { now.checked_sub(offset) } else { now.checked_add(offset) };
        moved.unwrap_or(now)
    }

    /// Takes the service's time where it is far from the time that was signed. False: it is not far, so the
    /// signature is wrong for another reason.
    fn correct(&self, signed_at: SystemTime, date: SystemTime) -> bool {
        let apart = |a: SystemTime, b: SystemTime| match a.duration_since(b) {
            Ok(ahead) => i64::try_from(ahead.as_millis()).unwrap_or(i64::MAX),
            Err(behind) => i64::try_from(behind.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
        };
        if apart(date, signed_at).unsigned_abs() < SKEW_MIN.as_millis() as u64 {
            return false;
        }
        self.offset_ms.store(apart(date, SystemTime::now()), Ordering::Relaxed);
        true
    }
}

/// AWS takes a signature that is up to five minutes old or early.
const SKEW_MIN: Duration = Duration::from_secs(4 * 60);

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
    pub fn asked_wrongly(&self) -> bool {
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
        match self {
            Self::NoRegion => write!(f, "no region is set"),
            Self::BadRegion(region) => write!(f, "not a region: {region}"),
            Self::BadEndpoint { url, why } => write!(f, "not an endpoint: {url} ({why})"),
            Self::UnknownProfile(profile) => write!(f, "no such profile: {profile}"),
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
            Self::Transient(why) | Self::Permanent(why) => f.write_str(why),
        }
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
