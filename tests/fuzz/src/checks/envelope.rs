//! The envelope: any payload in any form becomes one line, which is a valid JSON value and contains exactly the
//! payload.
//!
//! The expected line is made here with serde_json, base64 and chrono.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, SecondsFormat, Utc};
use kinesis_reader_machine::envelope::{Envelope, Message, Rendered};
use kinesis_reader_machine::page::Data;
use kinesis_reader_machine::{MessageId, Payload};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::config::PAYLOADS;
use super::{Bytes, payloads};

/// 2025-11-23T12:13:20Z
const ARRIVED: u64 = 1_763_900_000_000;

/// Renders a message in each form.
pub fn check(data: &[u8]) {
    let mut bytes = Bytes(data);
    let id = bytes.one(&[MessageId::Sha256, MessageId::Dlt]);
    let key = bytes.below(2) == 1;
    let key = key.then(|| String::from_utf8_lossy(bytes.some()).into_owned());
    let payload = bytes.0;
    for form in PAYLOADS {
        assert_line(form, id, key.as_deref(), payload);
    }
}

/// The shard of all messages.
pub const SHARD: &str = "shardId-000000000001";

/// Returns the expected line of a message of the stream `orders`, and whether its data is in the requested form.
pub fn line(
    form: Payload,
    id: MessageId,
    sequence: &str,
    key: Option<&str>,
    arrived: u64,
    payload: &[u8],
) -> (Vec<u8>, bool) {
    let time = i64::try_from(arrived).ok().and_then(DateTime::<Utc>::from_timestamp_millis).expect("a time");
    let head = format!(
        concat!(
            r#"{{"_kinesis":{{"shard_id":"{}","seq_no":"{}","ts":"{}","partition":{},"stream_name":"orders"}},"#,
            r#""_kinesis_msg_id":"{}""#
        ),
        SHARD,
        sequence,
        time.to_rfc3339_opts(SecondsFormat::Millis, true),
        Value::from(key),
        Envelope::new(SHARD, "orders", form, id).message_id(sequence, None),
    );
    let (member, as_asked) = member(form, payload);
    ([head.as_bytes(), &member, b"\n"].concat(), as_asked)
}

/// Renders a payload from bytes and from base64, and panics unless both give the expected line.
pub fn assert_line(form: Payload, id: MessageId, key: Option<&str>, payload: &[u8]) {
    let envelope = Envelope::new(SHARD, "orders", form, id);
    let base64 = BASE64_STANDARD.encode(payload);
    let (expected, as_asked) = line(form, id, "7", key, ARRIVED, payload);
    for data in [Data::Raw(payload), Data::Base64(&base64)] {
        let message =
            Message { sequence: "7", subsequence: None, partition_key: key, plain_key: false, arrived: ARRIVED, data };
        let mut line = Vec::from(*b"before");
        let rendered = envelope.lines().write(&message, &mut line);
        let line = line.strip_prefix(b"before").expect("the buffer's contents stay");
        let text = String::from_utf8_lossy;
        assert!(line == expected, "{form:?}\n    line: {}\nexpected: {}", text(line), text(&expected));
        assert_eq!(rendered == Rendered::AsAsked, as_asked, "{form:?}: {}", text(line));
    }
    assert_eq!(expected.iter().position(|byte| *byte == b'\n'), Some(expected.len() - 1));
    assert!(serde_json::from_slice::<IgnoredAny>(&expected).is_ok() && str::from_utf8(&expected).is_ok());
}

/// Returns the part of the line after the message id, and whether the data is in the requested form.
fn member(form: Payload, payload: &[u8]) -> (Vec<u8>, bool) {
    let base64 = format!(",\"data_base64\":\"{}\"}}", BASE64_STANDARD.encode(payload));
    let Ok(text) = str::from_utf8(payload) else { return (base64.into(), form == Payload::Base64) };
    let string = format!(",\"data\":{}}}", Value::from(text));
    let json = serde_json::from_str::<&RawValue>(text).map(|raw| raw.get().replace(['\n', '\r'], " "));
    let (member, as_asked) = match (form, json) {
        (Payload::Base64, _) => (base64, true),
        (Payload::Text, _) => (string, true),
        (Payload::Merged | Payload::Json, Err(_)) => (string, false),
        (Payload::Json, Ok(json)) => (format!(",\"data\":{json}}}"), true),
        (Payload::Merged, Ok(json)) => match serde_json::from_str::<Names>(&json) {
            Err(_) => (format!(",\"data\":{json}}}"), true),
            Ok(Names { reserved: true, .. }) => (format!(",\"data\":{json}}}"), true),
            Ok(Names { count: 0, .. }) => ("}".to_owned(), true),
            Ok(Names { .. }) => (format!(",{}", &json[1..]), true),
        },
    };
    (member.into(), as_asked)
}

/// What matters about the names of an object's members. They need not be valid text, since a lone surrogate is allowed.
struct Names {
    count: usize,
    reserved: bool,
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Names, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                let mut names = Names { count: 0, reserved: false };
                while let Some((name, IgnoredAny)) = map.next_entry::<Name, IgnoredAny>()? {
                    names.count += 1;
                    names.reserved |= [&b"_kinesis"[..], b"_kinesis_msg_id"].contains(&&*name.0);
                }
                Ok(names)
            }
        }
        deserializer.deserialize_map(Members)
    }
}

struct Name(Vec<u8>);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Name, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Name, E> {
                Ok(Name(bytes.to_vec()))
            }

            fn visit_str<E>(self, text: &str) -> Result<Name, E> {
                Ok(Name(text.into()))
            }
        }
        deserializer.deserialize_bytes(Text)
    }
}

/// Returns every recorded payload.
pub fn seeds() -> Vec<Vec<u8>> {
    payloads().iter().map(|payload| [&[0, 1, 3], &b"key"[..], payload].concat()).collect()
}
