//! A gate that checks signatures like the one in front of Kinesis. It has a clock of its own, and refuses requests that
//! are signed with another key or for another time, with the same messages as Kinesis.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use serde_json::Value;

use super::message::Message;
use crate::emulator::REGION;

/// How far the time of a signature may be off. The messages are those of
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html>.
const SKEW_MAX_S: i64 = 5 * 60;

/// The key that requests must be signed with, and the time at the service.
#[derive(Clone, Debug)]
pub struct Gate {
    pub access_key: &'static str,
    pub secret_key: &'static str,
    /// How far the service's clock is ahead of this machine's.
    pub ahead_s: i64,
    /// The name of the error for a signature with another time.
    pub name: &'static str,
}

impl Gate {
    /// Returns the refusal of a request whose signature is not valid.
    pub(super) fn refusal(&self, request: &Message) -> Option<Message> {
        let refused = |message: String| Some(Message::rejection("400 Bad Request", self.name, &message));
        let signed = request.header("x-amz-date").and_then(seconds);
        let Some(signed) = signed else { return refused("Authorization header requires 'X-Amz-Date'".to_owned()) };
        let now = self.now();
        if signed < now - SKEW_MAX_S {
            let (signed, now, least) = (text(signed), text(now), text(now - SKEW_MAX_S));
            return refused(format!("Signature expired: {signed} is now earlier than {least} ({now} - 5 min.)"));
        }
        if signed > now + SKEW_MAX_S {
            let (signed, now, most) = (text(signed), text(now), text(now + SKEW_MAX_S));
            return refused(format!("Signature not yet current: {signed} is still later than {most} ({now} + 5 min.)"));
        }
        let given = request.header("authorization").unwrap_or_default();
        if given == self.authorization(request, signed) {
            return None;
        }
        Some(Message::rejection(
            "400 Bad Request",
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
             Access Key and signing method. Consult the service documentation for details.",
        ))
    }

    /// Shifts the times in an answer to the service's clock: the `Date` header and the arrival times of records.
    pub(super) fn date(&self, answer: &mut Message) {
        let mut body = answer.json();
        if let Some(records) = body["Records"].as_array_mut() {
            for record in records {
                let arrived = record["ApproximateArrivalTimestamp"].as_f64().unwrap_or_default();
                record["ApproximateArrivalTimestamp"] = Value::from(arrived + self.ahead_s as f64);
            }
            answer.body = body.to_string().into_bytes();
            answer.set_header("Content-Length", &answer.body.len().to_string());
        }
        let now = jiff::Timestamp::from_second(self.now()).expect("a time in range");
        answer.set_header("Date", &now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string());
    }

    fn now(&self) -> i64 {
        let here = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        here.as_secs() as i64 + self.ahead_s
    }

    /// Computes the `Authorization` header that a valid request has.
    fn authorization(&self, request: &Message, signed: i64) -> String {
        let identity = Credentials::new(self.access_key, self.secret_key, None, None, "gate").into();
        let params = SigningParams::builder()
            .identity(&identity)
            .region(REGION)
            .name("kinesis")
            .time(UNIX_EPOCH + Duration::from_secs(signed.unsigned_abs()))
            .settings(SigningSettings::default())
            .build()
            .expect("all parameters are set")
            .into();
        let url = format!("http://{}/", request.header("host").unwrap_or_default());
        let headers = ["content-type", "x-amz-target"].map(|name| (name, request.header(name).unwrap_or_default()));
        let signable = SignableRequest::new("POST", url, headers.into_iter(), SignableBody::Bytes(&request.body))
            .expect("valid headers");
        let (instructions, _) = sign(signable, &params).expect("a valid request").into_parts();
        let (headers, _) = instructions.into_parts();
        let authorization = headers.iter().find(|header| header.name() == "authorization");
        authorization.map(|header| header.value().to_owned()).unwrap_or_default()
    }
}

/// Formats a time like `X-Amz-Date`.
fn text(seconds: i64) -> String {
    let time = jiff::Timestamp::from_second(seconds).expect("a time in range");
    time.strftime("%Y%m%dT%H%M%SZ").to_string()
}

fn seconds(text: &str) -> Option<i64> {
    let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?;
    Some(jiff::tz::Offset::UTC.to_timestamp(time).ok()?.as_second())
}
