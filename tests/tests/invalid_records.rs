//! Messages whose data is not in the requested payload form, each with its reason.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use kinesis_reader_machine::wire::{Body, Operation};
use kinesis_reader_machine::{Action, Batch, Config, Instant, Payload, Reader, Response, Source, Timestamp};
use serde_json::{Value, json};

#[test]
fn every_invalid_record_has_its_reason_and_none_is_skipped() {
    let encode = |data: &[u8]| BASE64_STANDARD.encode(data);
    let batch = batch(&[encode(b"{}"), encode(b"{"), encode(b"1"), encode(b"\xff"), "***".to_owned(), encode(b"[]")]);
    let reasons = [(1, "not JSON", "data"), (3, "not UTF-8", "data_base64"), (4, "not base64", "data")];
    assert_eq!(batch.lines(0, u32::MAX).invalid, reasons.len() as u32);

    // All at once, and one at a time.
    for size in [u32::MAX, 1] {
        let (mut next, mut found, mut calls) = (0, Vec::new(), 0);
        while next < batch.count() {
            let some = batch.invalid_lines(next, size);
            assert!(some.next > next && some.text.lines().count() == some.count as usize);
            found.extend(some.text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")));
            (next, calls) = (some.next, calls + 1);
        }
        assert_eq!(calls, if size == 1 { reasons.len() } else { 1 });
        assert_eq!(found.len(), reasons.len());
        for (line, (number, reason, member)) in found.iter().zip(reasons) {
            assert_eq!(line["_kinesis_reason"], reason, "{line}");
            assert_eq!(line["_kinesis"]["seq_no"], (number + 1).to_string(), "{line}");
            assert!(line[member].is_string(), "{line}");
        }
    }
}

/// Returns a batch of messages with these data, as encoded on the wire.
fn batch(data: &[String]) -> Batch {
    let mut config = Config::new(Source::Name("orders".to_owned()));
    config.payload = Payload::Json;
    let mut reader = Reader::open(config, None, 1, Instant(0), Timestamp(0)).expect("a valid configuration");
    loop {
        let request = match reader.poll_action() {
            Action::Send(request) => request,
            Action::Deliver(batch) => return batch,
            Action::Notice(_) => continue,
            other => panic!("no batch: {other:?}"),
        };
        let records = data.iter().enumerate();
        let record = |(n, data): (usize, &String)| json!({"SequenceNumber": (n + 1).to_string(), "Data": data});
        let (status, answer) = match request.operation {
            Operation::DescribeStreamSummary => (400, json!({"__type": "AccessDeniedException"})),
            Operation::ListShards => (200, json!({"Shards": [{"ShardId": "shardId-000000000000"}]})),
            Operation::GetShardIterator => (200, json!({"ShardIterator": "AAAA"})),
            Operation::GetRecords => {
                (200, json!({"Records": records.map(record).collect::<Vec<_>>(), "NextShardIterator": "BBBB"}))
            }
        };
        let response =
            Response { status, body: Body::Json(answer.to_string()), aws_request_id: None, date: None, signed: None };
        reader.handle_response(request.id, response, Instant(1)).expect("the request is pending");
    }
}
