//! Requests to AWS: where they go, and their signature by aws-sigv4.

use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use http::Uri;

use crate::clock;
use crate::fetch::{Exchange, Failure, Request};
use crate::settings::{Fault, fault};

/// A service of AWS in a region.
#[derive(Clone)]
pub(crate) struct Endpoint {
    url: Uri,
    service: &'static str,
    region: String,
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
            Ok(uri) if uri.authority().is_some() && matches!(uri.scheme_str(), Some("http" | "https")) => {
                Ok(Endpoint { url: uri, service, region: region.to_owned() })
            }
            _ => Err(fault(name, &url, "endpoints look like https://kinesis.eu-west-1.amazonaws.com")),
        }
    }

    /// Posts an operation, signed. The host is signed as the URL's authority and not set as a header.
    pub(crate) fn post(
        &self,
        credentials: &Credentials,
        target: &str,
        kind: &str,
        body: Vec<u8>,
        deadline: u64,
    ) -> Result<Exchange, Failure> {
        let at = UNIX_EPOCH + Duration::from_millis(clock::present());
        let identity = credentials.clone().into();
        let params = SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(self.service)
            .time(at)
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
        Exchange::start(Request { url: &self.url, headers, deadline }, std::iter::once(body))
    }
}

fn cannot_sign(error: impl std::error::Error) -> Failure {
    Failure::Permanent(format!("the request cannot be signed: {error}"))
}
