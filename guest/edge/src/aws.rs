//! Sends requests to AWS, signed by aws-sigv4.

use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use http::Uri;

use crate::clock;
use crate::fetch::{Exchange, Failure, Limit, Request, Response, is_http};
use crate::setting_error::{SettingError, invalid};

/// An AWS service in a region.
#[derive(Clone)]
pub(crate) struct Endpoint {
    url: Uri,
    service: &'static str,
    region: String,
}

/// An operation to post.
pub(crate) struct Post<'a> {
    pub(crate) target: &'a str,
    pub(crate) content_type: &'a str,
    pub(crate) body: Vec<u8>,
    /// The calendar time for the signature, in milliseconds since the Unix epoch.
    pub(crate) signed: u64,
    pub(crate) deadline: u64,
    /// How much of the answer to read.
    pub(crate) limit: Limit,
}

impl Endpoint {
    /// The endpoint at this URL, else AWS's own. `name` is the setting that the URL comes from.
    pub(crate) fn new(
        name: &str,
        service: &'static str,
        region: &str,
        url: Option<String>,
    ) -> Result<Endpoint, SettingError> {
        if region.is_empty() || !region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(invalid("AWS_REGION", region, "regions look like eu-west-1"));
        }
        let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        let url = url.unwrap_or_else(|| format!("https://{service}.{region}.{suffix}"));
        match url.parse::<Uri>() {
            Ok(url) if is_http(&url) => Ok(Endpoint { url, service, region: region.to_owned() }),
            // The message leaves out the value, because a URL may contain a secret.
            _ => Err(SettingError {
                error: format!("{name} is not a valid endpoint URL"),
                hint: "endpoints look like https://kinesis.eu-west-1.amazonaws.com, without a user name or password",
            }),
        }
    }

    /// Signs and posts an operation. The host is taken from the URL and signed, but not set as a header.
    pub(crate) fn post(&self, credentials: &Credentials, post: Post<'_>) -> Result<Exchange, Failure> {
        let Post { target, content_type, body, signed, deadline, limit } = post;
        // The year in a signature has four digits.
        if signed > clock::YEAR_9999 {
            return Err(Failure::Permanent(format!("the host's clock is past the year 9999: {signed} ms")));
        }
        let identity = credentials.clone().into();
        let params = SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(self.service)
            .time(UNIX_EPOCH + Duration::from_millis(signed))
            .settings(SigningSettings::default())
            .build()
            .map_err(cannot_sign)?
            .into();
        let own = [("content-type", content_type), ("x-amz-target", target)];
        let signable = SignableRequest::new("POST", self.url.to_string(), own.into_iter(), SignableBody::Bytes(&body))
            .map_err(cannot_sign)?;
        let (instructions, _) = sign(signable, &params).map_err(cannot_sign)?.into_parts();
        let added = instructions.into_parts().0;
        let mut headers: Vec<(String, Vec<u8>)> =
            added.iter().map(|header| (header.name().to_owned(), header.value().as_bytes().to_vec())).collect();
        headers.extend(own.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec())));
        headers.push(("content-length".to_owned(), body.len().to_string().into_bytes()));
        Exchange::start(Request { url: &self.url, headers, deadline, limit }, std::iter::once(body))
    }
}

/// How far the service's clock is ahead of ours, in milliseconds. It is 0 until the service rejects the time of a
/// signature, and it affects nothing but signatures.
#[derive(Default)]
pub(crate) struct ClockOffset(i64);

/// AWS accepts signatures that are up to five minutes early or late, so one that is off by less than this was rejected
/// for another reason.
const SKEW_MIN: u64 = 4 * 60 * 1000;

/// From 2015 to 2100. Dates outside are ignored, as no service can have sent them.
const DATES: std::ops::Range<u64> = 1_420_070_400_000..4_102_444_800_000;

/// The errors with which AWS rejects a signature, because of its time or for another reason.
const SIGNATURE_ERRORS: [&str; 4] =
    ["InvalidSignatureException", "SignatureDoesNotMatch", "RequestExpired", "RequestTimeTooSkewed"];

impl ClockOffset {
    /// The time to sign the next request with.
    pub(crate) fn signing_time(&self) -> u64 {
        clock::wall().saturating_add_signed(self.0)
    }

    /// Learns the service's time from an answer that rejects a signature, if it is far from the signed time. The reader
    /// retries the request. Each rejection replaces the offset, so the next one corrects a wrong date.
    pub(crate) fn learn(&mut self, answer: &Response, signed: u64) {
        let header = answer.header("x-amzn-errortype").unwrap_or_default();
        let text = String::from_utf8_lossy(&answer.body);
        let rejected = matches!(answer.status, 400 | 401 | 403)
            && SIGNATURE_ERRORS.iter().any(|name| header.contains(name) || text.contains(name));
        let Some(date) = answer.date().filter(|date| rejected && DATES.contains(date)) else { return };
        if date.abs_diff(signed) < SKEW_MIN {
            return;
        }
        let wall = clock::wall();
        if let Ok(difference) = i64::try_from(date.abs_diff(wall)) {
            self.0 = if date < wall { -difference } else { difference };
        }
    }
}

fn cannot_sign(error: impl std::error::Error) -> Failure {
    Failure::Permanent(format!("cannot sign the request: {error}"))
}
