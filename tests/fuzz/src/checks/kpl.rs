//! Aggregated records of the Kinesis Producer Library: any bytes as the data of a record, or as the body of an
//! aggregated record with a valid checksum.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use kinesis_reader_machine::wire::{Body, Operation};
use kinesis_reader_machine::{Action, Config, Instant, Message, Reader, Response, Source, Timestamp};
use md5::{Digest, Md5};
use serde_json::{Value, json};

const MAGIC: [u8; 4] = [0xF3, 0x89, 0x9A, 0xC2];

/// Reads a record from base64 and from bytes. The first byte selects whether the rest is its data or its aggregated
/// body.
pub fn check(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    let data = match kind & 1 {
        0 => data.to_vec(),
        _ => [&MAGIC, data, &*Md5::digest(data)].concat(),
    };
    let whole = read(&data, false, None);
    assert_eq!(whole, read(&data, true, None), "different from bytes");
    let body = data.strip_prefix(&MAGIC).and_then(|rest| rest.split_last_chunk::<16>());
    let body = body.filter(|(body, digest)| Md5::digest(body).as_slice() == digest.as_slice()).map(|(body, _)| body);
    match (body, &whole[..]) {
        // Not aggregated, or malformed: one message with all the data.
        (_, [Message { subsequence: None, data: same, .. }]) => assert_eq!(same, &data),
        (None, _) => panic!("{} messages in a record that is not aggregated", whole.len()),
        (Some(body), messages) => {
            assert!(messages.is_sorted_by(|a, b| a.subsequence < b.subsequence));
            for message in messages {
                assert!(message.data.is_empty() || body.windows(message.data.len()).any(|part| part == message.data));
            }
            // From a checkpoint in the middle, the rest is delivered.
            let middle = &messages[messages.len() / 2];
            let rest = read(&data, false, middle.subsequence);
            assert_eq!(rest, messages[messages.len() / 2 + 1..]);
        }
    }
}

/// Returns what a reader delivers from a stream with only this record, after the user record `after`.
fn read(data: &[u8], raw: bool, after: Option<u32>) -> Vec<Message> {
    let saved = after.map(|sub| {
        json!({"version": 1, "stream": {"name": "orders"}, "shards": {"a": {"after": "7", "sub": sub}}}).to_string()
    });
    let config = Config::new(Source::Name("orders".to_owned()));
    let opened = Reader::open(config, saved.as_deref(), 1, Instant(0), Timestamp(0));
    let mut reader = opened.unwrap_or_else(|error| panic!("{error}"));
    let mut now = Instant(0);
    let (mut messages, mut pages) = (Vec::new(), 0);
    for _ in 0..200 {
        match reader.poll_action() {
            Action::Send(request) => {
                let body = match request.operation {
                    Operation::DescribeStreamSummary => json!({"StreamDescriptionSummary": {
                        "StreamName": "orders", "StreamARN": "arn:aws:kinesis:eu-west-1:123456789012:stream/orders",
                    }}),
                    Operation::ListShards => json!({"Shards": [{"ShardId": "a"}]}),
                    Operation::GetShardIterator => json!({"ShardIterator": "i"}),
                    Operation::GetRecords => {
                        pages += 1;
                        let record = (pages == 1).then_some(data);
                        answer(&mut reader, request.id, page(record, raw), now);
                        continue;
                    }
                };
                answer(&mut reader, request.id, Body::Json(body.to_string()), now);
            }
            Action::Deliver(batch) => {
                let lines = batch.lines(0, u32::MAX);
                assert_eq!((lines.count, lines.text.lines().count()), (batch.count(), batch.count() as usize));
                assert_eq!(batch.size(), batch.messages(0, u32::MAX).iter().map(|m| m.data.len() as u64).sum::<u64>());
                messages.extend(batch.messages(0, u32::MAX));
                reader.handle_delivered(batch.id(), now).unwrap_or_else(|misuse| panic!("{misuse}"));
            }
            Action::Notice(_) => {}
            Action::Wait(wait) => {
                now = wait.until.unwrap_or_else(|| panic!("a wait for nothing: {wait:?}"));
                reader.handle_timeout(now);
            }
            Action::Finish(_) => return messages,
        }
    }
    panic!("the run does not end");
}

fn answer(reader: &mut Reader, id: kinesis_reader_machine::RequestId, body: Body, now: Instant) {
    let response = Response { status: 200, body, aws_request_id: None, date: None, signed: None };
    reader.handle_response(id, response, now).unwrap_or_else(|misuse| panic!("{misuse}"));
}

fn page(data: Option<&[u8]>, raw: bool) -> Body {
    if !raw {
        let record = |data| json!({"SequenceNumber": "7", "PartitionKey": "k", "Data": BASE64_STANDARD.encode(data)});
        let records: Vec<Value> = data.into_iter().map(record).collect();
        let page = json!({"Records": records, "NextShardIterator": "i", "MillisBehindLatest": 0});
        return Body::Json(page.to_string());
    }
    // Encoded by hand: <https://www.rfc-editor.org/rfc/rfc8949#section-3>.
    let mut cbor = Vec::from(*b"\xa3\x71NextShardIterator\x61i\x72MillisBehindLatest\x00\x67Records");
    match data {
        None => cbor.push(0x80),
        Some(data) => {
            cbor.extend_from_slice(b"\x81\xa3\x6eSequenceNumber\x617\x6cPartitionKey\x61k\x64Data\x5a");
            cbor.extend_from_slice(&(data.len() as u32).to_be_bytes());
            cbor.extend_from_slice(data);
        }
    }
    Body::Cbor(cbor)
}

/// Returns every recorded record, and the bodies of those that are aggregated.
pub fn seeds() -> Vec<Vec<u8>> {
    let vectors: Value = serde_json::from_str(include_str!("../../../golden/kpl_vectors.json")).expect("valid JSON");
    let data = vectors["vectors"].as_array().into_iter().flatten();
    let data = data.filter_map(|vector| BASE64_STANDARD.decode(vector["data_base64"].as_str()?).ok());
    data.flat_map(|data| {
        let body = data.strip_prefix(&MAGIC).and_then(|rest| rest.split_last_chunk::<16>());
        let body = body.map(|(body, _)| [&[1], body].concat());
        std::iter::once([&[0], &*data].concat()).chain(body)
    })
    .collect()
}
