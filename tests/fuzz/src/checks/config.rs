//! Opening a reader with any configuration and any saved checkpoint.

use std::time::Duration;

use kinesis_reader_machine::wire::Wire;
use kinesis_reader_machine::{
    Action, Config, Instant, Limits, MessageId, OpenError, Payload, Reader, Source, Start, Timestamp, Until,
};

use super::Bytes;

/// All payload forms.
pub const PAYLOADS: [Payload; 4] = [Payload::Merged, Payload::Json, Payload::Text, Payload::Base64];

/// Opens a reader, which must either return a clear error or send its first request.
pub fn check(data: &[u8]) {
    let mut bytes = Bytes(data);
    let name = |bytes: &mut Bytes<'_>| String::from_utf8_lossy(bytes.some()).into_owned();
    let length = |bytes: &mut Bytes<'_>| Duration::from_millis(bytes.number());
    let source = match bytes.below(4) {
        0 => Source::Name(name(&mut bytes)),
        1 => Source::Arn(name(&mut bytes)),
        2 => Source::Arn("arn:aws:kinesis:eu-west-1:123456789012:stream/orders".to_owned()),
        _ => Source::Name("orders".to_owned()),
    };
    let start = match bytes.below(3) {
        0 => Start::TrimHorizon,
        1 => Start::Latest,
        _ => Start::AtTimestamp(Timestamp(bytes.number())),
    };
    let until = match bytes.below(3) {
        0 => Until::CaughtUp(length(&mut bytes)),
        1 => Until::Time(Timestamp(bytes.number())),
        _ => Until::Stopped,
    };
    let mut config = Config::new(source);
    (config.start, config.until) = (start, until);
    config.payload = bytes.one(&PAYLOADS);
    config.message_id = bytes.one(&[MessageId::Sha256, MessageId::Dlt]);
    (config.wire, config.deaggregate) = bytes.one(&[(Wire::Json, true), (Wire::Cbor, true), (Wire::Json, false)]);
    if bytes.below(2) == 1 {
        config.limits = Limits {
            max_messages: bytes.optional_number(),
            page_records: bytes.number() as u32,
            requests: bytes.number() as u32,
            batches: bytes.number() as u32,
            batch_bytes: bytes.number() as u32,
            pace: bytes.optional_number().map(|share| share as u8),
            idle_interval: length(&mut bytes),
            list_interval: length(&mut bytes),
            request_timeout: length(&mut bytes),
            backoff_first: length(&mut bytes),
            backoff_max: length(&mut bytes),
            failures: bytes.optional_number().map(|failures| failures as u32),
        };
    }
    let (seed, now, present) = (bytes.number(), Instant(bytes.number()), Timestamp(bytes.number()));
    let saved = str::from_utf8(bytes.0).ok().filter(|text| !text.is_empty());
    match Reader::open(config, saved, seed, now, present) {
        Err(error @ OpenError::Config(_)) => {
            let words = error.to_string();
            assert!(words.split_once(": ").is_some_and(|(field, why)| !field.is_empty() && !why.is_empty()), "{words}");
        }
        Err(error @ OpenError::Checkpoint(_)) => {
            let words = error.to_string();
            assert!(saved.is_some() && words.contains("checkpoint"), "{words}");
        }
        Ok(mut reader) => {
            let Action::Send(request) = reader.poll_action() else { panic!("no request") };
            assert!(request.deadline > now || now.0 == u64::MAX, "{request:?} at {now:?}");
            let Action::Wait(wait) = reader.poll_action() else { panic!("no wait") };
            assert!(wait.until.is_some_and(|until| until > now || now.0 == u64::MAX), "{wait:?} at {now:?}");
            let text = reader.checkpoint();
            assert!(kinesis_reader_machine::Checkpoint::parse(&text).is_ok(), "{text}");
        }
    }
}

/// Returns the default configuration, with and without a checkpoint.
pub fn seeds() -> Vec<Vec<u8>> {
    let saved = r#"{"version":1,"stream":{"name":"orders"},"shards":{"a":{"after":"7"}}}"#;
    let defaults = [3, 0, 0, 0, 0, 0, 0, 0, 1, 42, 1, 7, 2, 1, 1];
    vec![
        defaults.to_vec(),
        [&defaults, saved.as_bytes()].concat(),
        [&defaults, saved.replace("orders", "others").as_bytes()].concat(),
        [&defaults, &b"{}"[..]].concat(),
        b"\x00\x06orders\x02\x01\x05\x01\x01\x09\x00\x01\x00\x01\x01\x01\x05\x01\x01\x01\x02\x01\x03".to_vec(),
    ]
}
