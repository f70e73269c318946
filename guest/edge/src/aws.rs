//! Requests to AWS: where they go, and their signature by aws-sigv4.

use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use http::Uri;

use crate::clock;
use crate::fetch::{Exchange, Failure, Limit, Request, Response};
use crate::settings::{Fault, fault, is_http};

/// A service of AWS in a region.
#[derive(Clone)]
pub(crate) struct Endpoint {
    url: Uri,
    service: &'static str,
    region: String,
}

/// An operation to be posted.
pub(crate) struct Post<'a> {
    pub(crate) target: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) body: Vec<u8>,
    /// The calendar time to sign by, in milliseconds since the Unix epoch.
    pub(crate) at: u64,
    pub(crate) deadline: u64,
    /// How much is read of the answer.
    pub(crate) limit: Limit,
}

impl Endpoint {
    /// AWS's own, or the one that is set under this name.
    pub(crate) fn find(
        name: &str,
        service: &'static str,
        region: &str,
        url: Option<String>,
    ) -> Result<Endpoint, Fault> {
        if region.is_empty() || !region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(fault("AWS_REGION", region, "regions look like eu-west-1"));
        }
        let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        let url = url.unwrap_or_else(|| format!("https://{service}.{region}.{suffix}"));
        match url.parse::<Uri>() {
            Ok(url) if is_http(&url) => Ok(Endpoint { url, service, region: region.to_owned() }),
            // Not the value: a URL may hold a secret.
            _ => Err(Fault {
                error: format!("{name} is not the URL of an endpoint"),
                hint: "endpoints look like https://kinesis.eu-west-1.amazonaws.com, without a user or a password",
            }),
        }
    }

    /// Posts an operation, signed. The host is signed as the URL's authority and not set as a header.
    pub(crate) fn post(&self, credentials: &Credentials, post: Post<'_>) -> Result<Exchange, Failure> {
        let Post { target, kind, body, at, deadline, limit } = post;
        // The signature writes a year with four digits.
        if at > clock::YEAR_9999 {
            return Err(Failure::Permanent(format!("the host's clock is past the year 9999: {at} ms")));
        }
        let identity = credentials.clone().into();
        let params = SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(self.service)
            .time(UNIX_EPOCH + Duration::from_millis(at))
            .settings(SigningSettings::default())
            .build()
            .map_err(cannot_sign)?
            .into();
        let own = [("content-type", kind), ("x-amz-target", target)];
        let signable = SignableRequest::new("POST", self.url.to_string(), own.into_iter(), SignableBody::Bytes(&body))
            .map_err(cannot_sign)?;
        let (instructions, _) = sign(signable, &params).map_err(cannot_sign)?.into_parts();
        let signed = instructions.into_parts().0;
        let mut headers: Vec<(String, Vec<u8>)> =
            signed.iter().map(|header| (header.name().to_owned(), header.value().as_bytes().to_vec())).collect();
        headers.extend(own.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec())));
        headers.push(("content-length".to_owned(), body.len().to_string().into_bytes()));
        Exchange::start(Request { url: &self.url, headers, deadline, limit }, std::iter::once(body))
    }
}

/// How far the service's clock is ahead of ours, in milliseconds: known only after it refused a signature for its time.
/// It moves signatures and nothing else.
#[derive(Default)]
pub(crate) struct Correction(i64);

/// AWS takes a signature that is up to five minutes old or early, so one that is off by less was refused for another
/// reason.
const SKEW_MIN: u64 = 4 * 60 * 1000;

/// From 2015 to 2100. A date beyond is no service's, and as it is not believed the next one may be right.
const DATES: std::ops::Range<u64> = 1_420_070_400_000..4_102_444_800_000;

/// The errors by which AWS refuses a signature, for its time or otherwise.
const SIGNATURE_ERRORS: [&str; 4] =
    ["InvalidSignatureException", "SignatureDoesNotMatch", "RequestExpired", "RequestTimeTooSkewed"];

impl Correction {
    /// The time to sign by.
    pub(crate) fn present(&self) -> u64 {
        clock::wall().saturating_add_signed(self.0)
    }

    /// Takes the service's time from an answer that refuses a signature, if it is far from the time that was signed. The
    /// reader sends the request again. A later refusal replaces what an earlier one told, so a false date heals.
    pub(crate) fn learn(&mut self, answer: &Response, signed: u64) {
        let header = answer.header("x-amzn-errortype").unwrap_or_default();
        let text = String::from_utf8_lossy(&answer.body);
        let refused = matches!(answer.status, 400 | 401 | 403)
            && SIGNATURE_ERRORS.iter().any(|name| header.contains(name) || text.contains(name));
        let Some(date) = answer.date().filter(|date| refused && DATES.contains(date)) else { return };
        if date.abs_diff(signed) < SKEW_MIN {
            return;
        }
        let wall = clock::wall();
        if let Ok(apart) = i64::try_from(date.abs_diff(wall)) {
            self.0 = if date < wall { -apart } else { apart };
        }
    }
}

fn cannot_sign(error: impl std::error::Error) -> Failure {
    Failure::Permanent(format!("the request cannot be signed: {error}"))
}
