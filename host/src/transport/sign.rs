//! Signs requests with Signature Version 4, by aws-sigv4.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign as sign_http};
use aws_sigv4::sign::v4::SigningParams;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use http_body_util::Full;

use super::endpoint::Endpoint;
use super::request::Failure;

/// Creates the `POST` request of an operation, signed at the given time.
pub(super) fn sign(
    endpoint: &Endpoint,
    target: &str,
    kind: &'static str,
    body: Bytes,
    credentials: &Credentials,
    at: SystemTime,
) -> Result<http::Request<Full<Bytes>>, Failure> {
    let identity = credentials.clone().into();
    let params = SigningParams::builder()
        .identity(&identity)
        .region(endpoint.region())
        .name("kinesis")
        .time(at)
        .settings(SigningSettings::default())
        .build()
        .map_err(cannot_sign)?
        .into();
    let headers = [("content-type", kind), ("x-amz-target", target)];
    let signable =
        SignableRequest::new("POST", endpoint.uri().to_string(), headers.into_iter(), SignableBody::Bytes(&body))
            .map_err(cannot_sign)?;
    let (instructions, _) = sign_http(signable, &params).map_err(cannot_sign)?.into_parts();

    let mut request = http::Request::new(Full::new(body));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = endpoint.uri().clone();
    let map = request.headers_mut();
    map.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    map.insert(X_AMZ_TARGET, HeaderValue::from_str(target).map_err(cannot_sign)?);
    map.insert(USER_AGENT, HeaderValue::from_static(concat!("kinesis-reader/", env!("CARGO_PKG_VERSION"))));
    for header in instructions.into_parts().0 {
        // aws-sigv4 could insert the headers itself, but would panic if credentials contain a line break.
        let mut value = HeaderValue::from_str(header.value()).map_err(|_| {
            Failure::Permanent("the AWS credentials contain a character that is invalid in a header".to_owned())
        })?;
        value.set_sensitive(true);
        map.insert(HeaderName::from_static(header.name()), value);
    }
    Ok(request)
}

const X_AMZ_TARGET: HeaderName = HeaderName::from_static("x-amz-target");

fn cannot_sign(error: impl std::error::Error) -> Failure {
    Failure::Permanent(format!("cannot sign the request: {error}"))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::super::clock::SIGNABLE_MAX;
    use super::super::endpoint::Known;
    use super::super::request::JSON;
    use super::*;

    /// 2025-11-23T12:34:56Z
    const AT: u64 = 1_763_901_296;

    /// The expected signatures were made by botocore 1.44.5.
    #[test]
    fn signatures_match_those_of_botocore() {
        let request = signed("https://kinesis.eu-central-1.amazonaws.com", None).unwrap();
        assert_eq!(header(&request, "x-amz-date"), "20251123T123456Z");
        assert_eq!(
            header(&request, "authorization"),
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20251123/eu-central-1/kinesis/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date;x-amz-target, \
             Signature=dc15ed28339f7f33b06e962504cf277ea84fadcd3a37e9a2e245a430745ad5a6"
        );
        assert_eq!(header(&request, "x-amz-target"), "Kinesis_20131202.ListShards");
        assert!(request.headers().get("x-amz-security-token").is_none());

        let request = signed("http://127.0.0.1:4567", Some("FwoGZXIvYXdzEXAMPLETOKEN")).unwrap();
        assert_eq!(
            header(&request, "authorization"),
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20251123/eu-central-1/kinesis/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target, \
             Signature=cfad17aded3b31b2607ad1decc2485ae88885763ba5b3efa44c54004cc3e5b72"
        );
        assert_eq!(header(&request, "x-amz-security-token"), "FwoGZXIvYXdzEXAMPLETOKEN");
    }

    #[test]
    fn debug_output_contains_no_secret() {
        let request = signed("http://127.0.0.1:4567", Some("MARKED-TOKEN")).unwrap();
        let debug = format!("{request:?}");
        for secret in ["MARKED-TOKEN", "Signature=", "wJalr"] {
            assert!(!debug.contains(secret), "{debug}");
        }
    }

    #[test]
    fn a_line_break_in_a_token_is_a_failure() {
        let failure = signed("http://127.0.0.1:4567", Some("MARKED\nTOKEN")).unwrap_err();
        assert!(matches!(&failure, Failure::Permanent(why) if !why.contains("MARKED")), "{failure:?}");
    }

    #[test]
    fn the_first_and_last_time_of_the_clock_can_be_signed() {
        for (at, date) in [(Duration::ZERO, "19700101T000000Z"), (SIGNABLE_MAX, "99991231T235959Z")] {
            let request = signed_at("http://127.0.0.1:4567", None, at).unwrap();
            assert_eq!(header(&request, "x-amz-date"), date);
        }
    }

    fn signed(url: &str, token: Option<&str>) -> Result<http::Request<Full<Bytes>>, Failure> {
        signed_at(url, token, Duration::from_secs(AT))
    }

    fn signed_at(url: &str, token: Option<&str>, at: Duration) -> Result<http::Request<Full<Bytes>>, Failure> {
        let endpoint = Endpoint::resolve(Known {
            region: Some("eu-central-1".to_owned()),
            url: Some(url.to_owned()),
            ..Known::default()
        })
        .unwrap();
        let credentials = Credentials::new(
            "AKIAIOSFODNN7EXAMPLE",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            token.map(str::to_owned),
            None,
            "test",
        );
        let body = Bytes::from_static(br#"{"StreamName":"orders"}"#);
        sign(&endpoint, "Kinesis_20131202.ListShards", JSON, body, &credentials, UNIX_EPOCH + at)
    }

    fn header<'a>(request: &'a http::Request<Full<Bytes>>, name: &str) -> &'a str {
        request.headers().get(name).unwrap().to_str().unwrap()
    }
}
