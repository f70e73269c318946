//! Answers: pages, listings, summaries, iterators and rejections, in JSON and CBOR.

use kinesis_reader_machine::sequence::Sequence;
use kinesis_reader_machine::wire::{
    Body, Operation, classify, decode_iterator, decode_listing, decode_page, decode_rejection, decode_summary, hint,
};
use serde_json::Value;

use super::recorded;

/// Decodes a body as every kind of answer. The first byte selects the encoding.
pub fn check(data: &[u8]) {
    let Some((kind, body)) = data.split_first() else { return };
    let body = match kind & 1 {
        0 => Body::Json(String::from_utf8_lossy(body).into_owned()),
        _ => Body::Cbor(body.to_vec()),
    };
    read(&body, 200 + u16::from(*kind));
    if let Body::Json(text) = &body {
        // A page that the reader accepts must be JSON for serde_json as well.
        let is_json = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
        assert!(is_json || decode_page(body.clone()).is_err(), "a page that is not JSON: {text}");
        compare_page(text);
    }
}

fn read(body: &Body, status: u16) {
    let _ = (decode_summary(body), decode_iterator(body));
    if let Ok(listing) = decode_listing(body) {
        assert!(listing.shards.iter().all(|shard| shard.parents.len() <= 2));
    }
    let rejection = decode_rejection(status, body);
    assert!(!rejection.code.is_empty() && !rejection.message.contains(char::is_control));
    hint(&rejection.code);
    for operation in
        [Operation::DescribeStreamSummary, Operation::ListShards, Operation::GetShardIterator, Operation::GetRecords]
    {
        classify(operation, &rejection);
    }
    let Ok(mut page) = decode_page(body.clone()) else { return };
    let size: u64 = page.records().map(|record| record.data.size()).sum();
    assert_eq!(page.data_size(), size);
    assert!(page.records().all(|record| Sequence::parse(record.sequence).is_ok()));
    page.truncate(page.len() / 2);
    let half: u64 = page.records().map(|record| record.data.size()).sum();
    assert_eq!(page.data_size(), half);
}

/// If serde_json can parse the text, the page must have the same records as its value.
fn compare_page(text: &str) {
    let (Ok(page), Ok(value)) = (decode_page(Body::Json(text.to_owned())), serde_json::from_str::<Value>(text)) else {
        return;
    };
    let none = Vec::new();
    let records = value["Records"].as_array().unwrap_or(&none);
    assert_eq!(page.len(), records.len(), "{text}");
    for (record, value) in page.records().zip(records) {
        assert_eq!(record.sequence, value["SequenceNumber"], "{text}");
        assert_eq!(record.partition_key, value["PartitionKey"].as_str(), "{text}");
    }
    assert_eq!(page.next_iterator(), value["NextShardIterator"].as_str(), "{text}");
}

/// Returns every recorded answer, and CBOR answers with members of the wrong types.
pub fn seeds() -> Vec<Vec<u8>> {
    let kind = |body: &Body| matches!(body, Body::Cbor(_)) as u8;
    let recorded = recorded();
    let odd: [&[u8]; 3] = [
        b"\x01\xa1\x66Shards\x05",
        b"\x01\xa1\x67Records\x81\xa1\x64Data\x05",
        b"\x01\xa1\x67Records\x81\xa2\x6eSequenceNumber\x617\x64Data\xf6",
    ];
    let recorded = recorded.iter().map(|body| [&[kind(body)], body.as_bytes()].concat());
    recorded.chain(odd.map(<[u8]>::to_vec)).collect()
}
