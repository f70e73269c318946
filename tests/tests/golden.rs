//! Tests the wire formats against recordings, independent parsers, and garbage.
//!
//! `golden/exchanges` holds the requests and responses of real servers (see `golden/README.md`). Their meaning is
//! either parsed by serde_json or recorded in decoded form; the machine must read the same from the raw bodies.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use kinesis_reader_machine::HashRange;
use kinesis_reader_machine::page::{Data, Page};
use kinesis_reader_machine::sequence::Sequence;
use kinesis_reader_machine::wire::model::ERRORS;
use kinesis_reader_machine::wire::{
    Body, Class, Operation, Query, StartingPosition, StreamRef, Wire, classify, decode_iterator, decode_listing,
    decode_page, decode_rejection, decode_summary, encode, hint,
};
use num_bigint::BigUint;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

// ------------------------------------------------------------------------------------------------ recorded exchanges

#[test]
fn recorded_responses_are_decoded_correctly() {
    let mut read = [0; 4];
    for exchange in exchanges().iter().filter(|exchange| exchange.status == 200) {
        let (body, expected) = (exchange.response.clone(), &exchange.decoded_response);
        let name = &exchange.name;
        match exchange.operation {
            Some(Operation::DescribeStreamSummary) => {
                let summary = decode_summary(&body).unwrap_or_else(|error| panic!("{name}: {error}"));
                let expected = &expected["StreamDescriptionSummary"];
                assert_eq!(summary.name, expected["StreamName"], "{name}");
                assert_eq!(summary.arn, expected["StreamARN"], "{name}");
                assert_eq!(summary.created, Some(exchange.time(&expected["StreamCreationTimestamp"])), "{name}");
                assert_eq!(json!(summary.retention_hours), expected["RetentionPeriodHours"], "{name}");
                assert_eq!(json!(summary.status), expected["StreamStatus"], "{name}");
            }
            Some(Operation::ListShards) => {
                let listing = decode_listing(&body).unwrap_or_else(|error| panic!("{name}: {error}"));
                assert_eq!(json!(listing.next_token), expected["NextToken"], "{name}");
                let shards: Vec<Value> = listing
                    .shards
                    .iter()
                    .map(|shard| {
                        assert_eq!(shard.closed, shard.ending.is_some(), "{name}");
                        let HashRange { first, last } = shard.hash_range.unwrap();
                        json!({
                            "ShardId": shard.id,
                            "ParentShardId": shard.parents.first(),
                            "AdjacentParentShardId": shard.parents.get(1),
                            "HashKeyRange": {"StartingHashKey": first.to_string(), "EndingHashKey": last.to_string()},
                            "SequenceNumberRange": {
                                "StartingSequenceNumber": shard.starting.as_ref().map(Sequence::as_str),
                                "EndingSequenceNumber": shard.ending.as_ref().map(Sequence::as_str),
                            },
                        })
                    })
                    .collect();
                assert_eq!(without_nulls(json!(shards)), without_nulls(expected["Shards"].clone()), "{name}");
            }
            Some(Operation::GetShardIterator) => {
                assert_eq!(decode_iterator(&body).unwrap(), expected["ShardIterator"], "{name}");
            }
            Some(Operation::GetRecords) => {
                let page = decode_page(body).unwrap_or_else(|error| panic!("{name}: {error}"));
                check_page(&page, exchange);
            }
            None => continue,
        }
        read[exchange.operation.unwrap() as usize] += 1;
    }
    assert_eq!(read, [3, 23, 26, 46], "summaries, listings, iterators, pages");
}

fn check_page(page: &Page, exchange: &Exchange) {
    let (name, expected) = (&exchange.name, &exchange.decoded_response);
    assert_eq!(json!(page.next_iterator()), expected["NextShardIterator"], "{name}");
    assert_eq!(json!(page.behind()), expected["MillisBehindLatest"], "{name}");
    let children: Vec<Value> = page
        .children()
        .iter()
        .map(|child| {
            let HashRange { first, last } = child.hash_range.unwrap();
            json!({
                "ShardId": child.id,
                "ParentShards": child.parents,
                "HashKeyRange": {"StartingHashKey": first.to_string(), "EndingHashKey": last.to_string()},
            })
        })
        .collect();
    assert_eq!(children, expected["ChildShards"].as_array().cloned().unwrap_or_default(), "{name}");

    let records = expected["Records"].as_array().unwrap();
    assert_eq!((page.len(), page.is_empty()), (records.len(), records.is_empty()), "{name}");
    assert!(page.record(records.len()).is_none(), "{name}");
    let mut size = 0;
    for (record, expected) in page.records().zip(records) {
        assert_eq!(record.sequence, expected["SequenceNumber"], "{name}");
        assert_eq!(json!(record.partition_key), expected["PartitionKey"], "{name}");
        assert_eq!(record.arrived, exchange.time(&expected["ApproximateArrivalTimestamp"]), "{name}");
        assert_eq!(record.data, Data::Base64(expected["Data"].as_str().unwrap()), "{name}");
        size += BASE64_STANDARD.decode(expected["Data"].as_str().unwrap()).unwrap().len() as u64;
    }
    assert_eq!(page.data_size(), size, "{name}");
}

#[test]
fn recorded_requests_are_encoded_identically() {
    let mut written = 0;
    for exchange in exchanges() {
        let Some(query) = exchange.query() else { continue };
        assert_eq!(Some(query.operation()), exchange.operation);
        assert_eq!(query.operation().target(), exchange.target);
        let (name, wire) = (&exchange.name, exchange.wire);
        match (encode(&query, wire), &exchange.request) {
            (Body::Json(ours), Body::Json(theirs)) => assert_eq!(parse(&ours), parse(theirs), "{name}"),
            (Body::Cbor(ours), Body::Cbor(theirs)) => {
                // The recorded time lacks the tag that AWS's own clients add.
                let tag = ours.windows(10).position(|window| window == b"\xc1\x1b\x00\x00\x01\xa2\x08\xf2\x28\xcf");
                let untagged: Vec<u8> = match tag {
                    Some(at) => [&ours[..at], &ours[at + 1..]].concat(),
                    None => ours,
                };
                assert_eq!(
                    tag.is_some(),
                    matches!(query, Query::GetShardIterator { position: StartingPosition::AtTimestamp(_), .. })
                );
                assert_eq!(&untagged, theirs, "{name}");
            }
            _ => unreachable!("encoded in the requested format"),
        }
        written += 1;
    }
    assert_eq!(written, 96);
}

#[test]
fn requests_contain_only_what_is_needed() {
    let check = |query, text: &str| assert_eq!(encode(&query, Wire::Json), Body::Json(text.to_string()));
    let arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/s";
    let stream = StreamRef::Arn(arn);
    check(Query::ListShards { stream }, &format!(r#"{{"StreamARN":"{arn}"}}"#));
    check(Query::ListShardsNext { token: "a\"b\n" }, r#"{"NextToken":"a\"b\u000a"}"#);
    check(
        Query::GetRecords { arn: Some(arn), iterator: "AAA=", limit: 10_000 },
        &format!(r#"{{"StreamARN":"{arn}","ShardIterator":"AAA=","Limit":10000}}"#),
    );
    for (time_ms, seconds) in
        [(1_763_900_000_123, "1763900000.123"), (1_763_900_000_000, "1763900000.000"), (7, "0.007")]
    {
        check(
            Query::GetShardIterator { stream, shard: "s", position: StartingPosition::AtTimestamp(time_ms) },
            &format!(
                r#"{{"StreamARN":"{arn}","ShardId":"s","ShardIteratorType":"AT_TIMESTAMP","Timestamp":{seconds}}}"#
            ),
        );
    }
}

#[test]
fn recorded_rejections_are_classified() {
    use Class::*;
    let classes: Vec<(&str, &str, Class)> = vec![
        ("AFTER_SEQUENCE_NUMBER without a sequence number", "InvalidArgumentException", Fatal),
        ("AT_TIMESTAMP in the future", "InvalidArgumentException", Fatal),
        ("CBOR GetRecords with an iterator older than 5 minutes", "ExpiredIteratorException", ExpiredIterator),
        ("GetRecords with an iterator older than 5 minutes", "ExpiredIteratorException", ExpiredIterator),
        ("InvalidArgument iterator", "Http500", Transient),
        ("Limit too large", "InvalidArgumentException", Fatal),
        ("Limit zero", "InvalidArgumentException", Fatal),
        ("ListShards StreamName+NextToken (must be rejected)", "InvalidArgumentException", Fatal),
        ("ResourceNotFound shard", "ResourceNotFoundException", ShardGone),
        ("ResourceNotFound stream", "ResourceNotFoundException", Fatal),
        ("ResourceNotFound summary", "ResourceNotFoundException", Fatal),
        ("bad iterator type", "SerializationException", Fatal),
        ("bad iterator type", "InvalidArgumentException", Fatal),
        ("bad sequence number", "ResourceNotFoundException", Trimmed),
        ("bogus NextToken", "InvalidArgumentException", Fatal),
        ("ListShards page 2", "InvalidToken", Fatal),
        ("malformed body", "ResourceNotFoundException", Fatal),
        ("malformed body", "SerializationException", Fatal),
        ("neither StreamName nor token", "InvalidArgumentException", Fatal),
        ("page 2: NextToken + same MaxResults (no StreamName)", "InvalidToken", Fatal),
        ("tampered iterator", "Http500", Transient),
    ];
    let mut met = BTreeSet::new();
    for exchange in exchanges() {
        // Some recordings are of operations that do not exist.
        let Some(operation) = exchange.operation.filter(|_| exchange.status != 200) else { continue };
        let rejection = decode_rejection(exchange.status, &exchange.response);
        let expected = classes.iter().find(|(name, code, _)| exchange.name == *name && rejection.code == *code);
        let &(name, code, class) = expected.unwrap_or_else(|| panic!("{}: {rejection:?}", exchange.name));
        assert_eq!(classify(operation, &rejection), class, "{name}: {code}");
        if let Some(message) = exchange.decoded_response["message"].as_str() {
            assert_eq!(rejection.message, message.split_whitespace().collect::<Vec<_>>().join(" "), "{name}");
        }
        met.insert((name, code));
    }
    assert_eq!(met.len(), classes.len());
}

#[test]
fn every_error_name_of_the_service_is_in_the_table() {
    let data = fs::read_to_string(golden("error_names.tsv")).unwrap();
    let names: BTreeSet<&str> = data
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| line.split_once('\t').expect("origin and name").1)
        .collect();
    let table: BTreeSet<&str> = ERRORS.iter().flat_map(|row| row.names).copied().collect();
    assert_eq!(names, table);
    // Errors that only a person can fix have a hint. We never request a dry run.
    for row in ERRORS.iter().filter(|row| row.class == Class::Fatal && row.names != ["DryRunOperationException"]) {
        assert!(row.names.iter().all(|name| hint(name).is_some()), "{:?}", row.names);
    }
    assert_eq!(hint("NoSuchName"), None);
}

// ------------------------------------------------------------------------------------------------- unusual responses

#[test]
fn unusual_json_is_decoded() {
    let page = page(
        r#" { "Unknown" : [ { "a" : [ -1.5e-3 , true , null , "\ud800" ] } ] , "Records" : [ ] , "Records" :
            [ { "SequenceNumber" : "1" , "Sequence\u004eumber" : "2" , "PartitionKey" : null , "Data" : "YW\/\/" ,
            "ApproximateArrivalTimestamp" : 1763900000.1239998 , "EncryptionType" : "NONE" } , { "SequenceNumber" : "10" ,
            "PartitionKey" : "\u00e9\ud83d\ude00\n" , "Data" : "YQ==" , "ApproximateArrivalTimestamp" : 1.7639E9 } ] ,
            "NextShardIterator" : "AAA=\n" , "MillisBehindLatest" : 9223372036854775807 , "ChildShards" : [ ] } "#,
    )
    .unwrap();
    assert_eq!((page.len(), page.data_size()), (2, 4));
    let (first, second) = (page.record(0).unwrap(), page.record(1).unwrap());
    assert_eq!((first.sequence, first.partition_key), ("2", None));
    assert_eq!((first.arrived, first.data), (1_763_900_000_124, Data::Base64("YW//")));
    assert_eq!((second.sequence, second.partition_key), ("10", Some("é😀\n")));
    assert_eq!((second.arrived, second.data), (1_763_900_000_000, Data::Base64("YQ==")));
    assert_eq!((page.next_iterator(), page.behind()), (Some("AAA=\n"), Some(i64::MAX as u64)));
}

#[test]
fn null_and_missing_members_are_absent() {
    for text in [
        r#"{"Records":[]}"#,
        r#"{"Records":[],"NextShardIterator":null,"MillisBehindLatest":null,"ChildShards":null}"#,
        r#"{"NextShardIterator":"A","NextShardIterator":"","Records":[]}"#,
    ] {
        let page = page(text).unwrap();
        assert!(page.is_empty() && page.children().is_empty(), "{text}");
        assert_eq!((page.next_iterator(), page.behind()), (None, None), "{text}");
    }
    let page = page(r#"{"Records":[{"SequenceNumber":"0"}]}"#).unwrap();
    let record = page.record(0).unwrap();
    assert_eq!((record.partition_key, record.arrived, record.data), (None, 0, Data::Raw(b"")));

    let listing = decode_listing(&Body::Json(
        r#"{"Shards":[{"ShardId":"a","ParentShardId":"","SequenceNumberRange":{"EndingSequenceNumber":"null"}},
            {"ShardId":"b","AdjacentParentShardId":"a","SequenceNumberRange":{"EndingSequenceNumber":"7"}},
            {"ShardId":"c","SequenceNumberRange":null,"HashKeyRange":{"StartingHashKey":"0"}}],"NextToken":""}"#
            .to_string(),
    ))
    .unwrap();
    assert_eq!(listing.next_token, None);
    let shards: Vec<_> = listing.shards.iter().map(|shard| (shard.closed, shard.parents.clone())).collect();
    assert_eq!(shards, [(false, vec![]), (true, vec!["a".to_string()]), (false, vec![])]);
    assert_eq!(listing.shards[1].ending, Sequence::parse("7").ok());
    assert!(listing.shards.iter().all(|shard| shard.starting.is_none() && shard.hash_range.is_none()));
}

#[test]
fn invalid_responses_are_rejected_with_their_location() {
    for (text, words) in [
        ("", "expected an object at byte 0"),
        ("null", "missing"),
        ("[]", "expected an object at byte 0"),
        ("{}", "Records: missing"),
        (r#"{"Records":null}"#, "Records: missing"),
        (r#"{"Records":[]} x"#, "more than one JSON value at byte 15"),
        (r#"{"Records":[{}]}"#, "Records[0].SequenceNumber: missing"),
        (
            r#"{"Records":[{"SequenceNumber":"1"},{"SequenceNumber":"01"}]}"#,
            "Records[1].SequenceNumber: not a sequence number: \"01\"",
        ),
        (r#"{"Records":[{"SequenceNumber":1}]}"#, "Records[0].SequenceNumber: expected a string at byte 30"),
        (r#"{"Records":[null]}"#, "Records[0]: missing"),
        (r#"{"Records":[],"ChildShards":[{"ParentShards":["a"]}]}"#, "ChildShards[0].ShardId: missing"),
        (
            r#"{"Records":[],"ChildShards":[{"ShardId":"a","ParentShards":[1]}]}"#,
            "ChildShards[0].ParentShards[0]: expected a string at byte 60",
        ),
        (
            r#"{"Records":[{"SequenceNumber":"1","ApproximateArrivalTimestamp":"1"}]}"#,
            "Records[0].ApproximateArrivalTimestamp: expected a number at byte 64",
        ),
        (r#"{"Records":[],"MillisBehindLatest":1e99}"#, "MillisBehindLatest: number out of range: \"1e99\""),
    ] {
        assert_eq!(page(text).unwrap_err(), words, "{text}");
    }
    assert_eq!(
        decode_listing(&Body::Json(r#"{"Shards":[{"HashKeyRange":{"StartingHashKey":1}}]}"#.into())).unwrap_err().why,
        "Shards[0].HashKeyRange.StartingHashKey: expected a string at byte 46"
    );
    assert_eq!(decode_iterator(&Body::Json("{}".into())).unwrap_err().why, "ShardIterator: missing");
    assert_eq!(
        decode_summary(&Body::Json(r#"{"StreamDescriptionSummary":{"StreamName":"s"}}"#.into())).unwrap_err().why,
        "StreamDescriptionSummary.StreamARN: missing"
    );
}

#[test]
fn pages_are_limited_in_size() {
    let records =
        |count| format!(r#"{{"Records":[{}]}}"#, vec![r#"{"SequenceNumber":"1","Data":"YWI="}"#; count].join(","));
    let mut full = page(&records(10_000)).unwrap();
    assert_eq!((full.len(), full.data_size()), (10_000, 20_000));
    full.truncate(20_000);
    assert_eq!(full.len(), 10_000);
    full.truncate(3);
    assert_eq!((full.len(), full.data_size()), (3, 6));
    assert_eq!(page(&records(10_001)).unwrap_err(), "Records: more than 10000");
    let large = format!("{}{}", r#"{"Records":[]}"#, " ".repeat(64 << 20));
    assert_eq!(page(&large).unwrap_err(), "a body larger than 67108864 bytes: 67108878");
}

#[test]
fn all_forms_of_cbor_are_decoded() {
    // Indefinite lengths, chunked data and a tagged time; then definite lengths.
    let body = b"\xbf\x67Records\x9f\
        \xbf\x64Data\x5f\x41a\x42\xff\x00\xff\x6eSequenceNumber\x7f\x612\x611\xff\
        \x78\x1bApproximateArrivalTimestamp\xc1\x1b\x00\x00\x01\xa2\x08\xf3\x0c\xdb\xff\
        \xa3\x64Data\x42\x00\x01\x6eSequenceNumber\x622\x32\x6cPartitionKey\xf6\xff\
        \x71NextShardIterator\x61A\xff";
    let page = decode_page(Body::Cbor(body.to_vec())).unwrap();
    assert_eq!((page.len(), page.data_size(), page.next_iterator()), (2, 5, Some("A")));
    let (first, second) = (page.record(0).unwrap(), page.record(1).unwrap());
    assert_eq!((first.sequence, first.data, first.arrived), ("21", Data::Raw(b"a\xff\x00"), 1_795_446_475_995));
    assert_eq!((second.sequence, second.data, second.arrived), ("22", Data::Raw(b"\x00\x01"), 0));
    assert_eq!((first.partition_key, second.partition_key), (None, None));

    // Text that is not UTF-8.
    let body = b"\xa1\x67Records\x81\xa2\x6eSequenceNumber\x611\x6cPartitionKey\x61\xff";
    let error = decode_page(Body::Cbor(body.to_vec())).unwrap_err();
    assert!(error.why.starts_with("Records[0].PartitionKey: "), "{error}");
}

// ----------------------------------------------------------------------------------------------- properties, garbage

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sequence_numbers_compare_like_big_integers(a in "0|[1-9][0-9]{0,128}", b in "0|[1-9][0-9]{0,128}", same in 0..2) {
        let b = if same == 0 { a.clone() } else { b };
        let (x, y) = (Sequence::parse(&a).unwrap(), Sequence::parse(&b).unwrap());
        let (m, n) = (a.parse::<BigUint>().unwrap(), b.parse::<BigUint>().unwrap());
        prop_assert_eq!(x.cmp(&y), m.cmp(&n));
        prop_assert_eq!(x == y, m == n);
        prop_assert_eq!(x.to_string(), a);
    }

    #[test]
    fn times_are_rounded_exactly(whole in 0u64..200_000_000_000, fraction in "[0-9]{0,20}", exponent in -15i32..5) {
        let dot = if fraction.is_empty() { "" } else { "." };
        let text = format!(
            r#"{{"Records":[{{"SequenceNumber":"1","ApproximateArrivalTimestamp":{whole}{dot}{fraction}e{exponent}}}]}}"#
        );
        // whole.fraction × 10^exponent seconds, in milliseconds, rounded half up.
        let digits: BigUint = format!("{whole}{fraction}").parse().unwrap();
        let up = 10u8.into();
        let power = |n: i32| BigUint::pow(&up, n.max(0) as u32);
        let shift = exponent + 3 - fraction.len() as i32;
        let expected = (digits * power(shift) * 2u8 + power(-shift)) / (power(-shift) * 2u8);
        match page(&text) {
            Ok(page) => prop_assert_eq!(BigUint::from(page.record(0).unwrap().arrived), expected),
            Err(words) => prop_assert!(expected > BigUint::from(253_402_300_799_999u64), "{}", words),
        }
    }

    #[test]
    fn pages_are_decoded_like_serde_json(records in vec(record(), 0..8), pad in "[ \n\t]{0,3}", tail in any::<bool>()) {
        let mut text = format!("{{{pad}\"Records\":[{}]{pad}", records.join(&format!("{pad},{pad}")));
        if tail {
            text.push_str(",\"NextShardIterator\":\"A\\/B\",\"MillisBehindLatest\":5,\"ChildShards\":[]");
        }
        text.push('}');
        prop_assert!(agrees(&text), "{}", text);
    }

    #[test]
    fn skipped_values_must_be_valid_json(fragment in fragment()) {
        let text = format!(r#"{{"Unknown":{fragment},"Records":[]}}"#);
        prop_assert_eq!(page(&text).is_ok(), is_json(&text), "{}", text);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        read_all(&Body::Json(String::from_utf8_lossy(&bytes).into_owned()));
        read_all(&Body::Cbor(bytes));
    }

    #[test]
    fn damaged_answers_never_panic(which in any::<prop::sample::Index>(), damage in vec(damage(), 1..4)) {
        let bodies = bodies();
        let mut bytes = which.get(bodies).as_bytes().to_vec();
        for damage in damage {
            damage.do_to(&mut bytes);
        }
        match which.get(bodies) {
            Body::Json(_) => {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                prop_assert!(agrees(&text), "{}", text);
                read_all(&Body::Json(text));
            }
            Body::Cbor(_) => read_all(&Body::Cbor(bytes)),
        }
    }
}

/// Decodes a body as every kind of response, and uses the results.
fn read_all(body: &Body) {
    let _ = decode_summary(body);
    let _ = decode_listing(body);
    let _ = decode_iterator(body);
    let rejection = decode_rejection(400, body);
    assert!(!rejection.code.is_empty() && !rejection.message.contains(char::is_control));
    for operation in OPERATIONS {
        classify(operation, &rejection);
    }
    if let Ok(mut page) = decode_page(body.clone()) {
        let size: u64 = page.records().map(|record| record.data.size()).sum();
        assert_eq!(page.data_size(), size);
        for record in page.records() {
            assert!(Sequence::parse(record.sequence).is_ok());
        }
        page.truncate(1);
        assert!(page.len() <= 1);
    }
}

/// Returns whether the machine and serde_json decode the same page, or both reject the text.
fn agrees(text: &str) -> bool {
    match (page(text), reference(text)) {
        (Ok(page), Some(expected)) => {
            let records: Vec<_> = page
                .records()
                .map(|record| {
                    let data = match record.data {
                        Data::Base64(text) => text.to_string(),
                        Data::Raw(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
                    };
                    (record.sequence.to_string(), record.partition_key.map(str::to_string), data)
                })
                .collect();
            (records, page.next_iterator().map(str::to_string)) == expected
        }
        (Err(_), None) => true,
        // serde_json rejects lone surrogates, except in values it skips, and numbers beyond f64.
        (Ok(_), None) => is_json(text) && serde_json::from_str::<Value>(text).is_err(),
        (Err(words), Some(_)) => {
            // The reference does not check these members.
            ["ChildShards", "MillisBehindLatest", "ApproximateArrivalTimestamp"].iter().any(|name| words.contains(name))
        }
    }
}

type Reference = (Vec<(String, Option<String>, String)>, Option<String>);

fn reference(text: &str) -> Option<Reference> {
    let value: Value = serde_json::from_str(text).ok()?;
    let text = |value: &Value, key: &str| match value.get(key) {
        None | Some(Value::Null) => Some(None),
        Some(Value::String(text)) => Some(Some(text.clone())),
        Some(_) => None,
    };
    let mut records = Vec::new();
    for record in value.get("Records")?.as_array()? {
        let sequence = text(record, "SequenceNumber")??;
        Sequence::parse(&sequence).ok()?;
        records.push((sequence, text(record, "PartitionKey")?, text(record, "Data")?.unwrap_or_default()));
    }
    Some((records, text(&value, "NextShardIterator")?.filter(|iterator| !iterator.is_empty())))
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// A record as JSON, mostly valid.
fn record() -> impl Strategy<Value = String> {
    let sequence = prop_oneof![8 => "\"[1-9][0-9]{0,60}\"", 1 => string(), 1 => Just("null".to_string())];
    let data = prop_oneof![4 => "\"[A-Za-z0-9+/]{0,300}={0,2}\"", 2 => string(), 1 => fragment()];
    let key = prop_oneof![4 => string(), 1 => Just("null".to_string()), 1 => fragment()];
    (sequence, data, key, fragment(), "[ \r\n\t]{0,2}", 0..4usize).prop_map(
        |(sequence, data, key, other, pad, order)| {
            let mut members = [
                format!("\"SequenceNumber\":{pad}{sequence}"),
                format!("\"Data\"{pad}:{data}"),
                format!("\"PartitionKey\":{key}{pad}"),
                format!("{pad}\"Other\":{other}"),
            ];
            members.rotate_left(order);
            format!("{{{}}}", members.join(","))
        },
    )
}

/// A string with quotes, often with escapes, sometimes invalid.
fn string() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[ -!#-\\[\\]-~]{0,20}",
        2 => "\\\\[\"\\\\/bfnrt]",
        2 => "\\\\u[0-9a-fA-F]{4}",
        1 => "\\\\u[dD][89a-fA-F][0-9a-f]{2}",
        1 => "\\PC{0,5}",
        1 => "[\\x00-\\x1f\\\\\"]",
    ];
    vec(piece, 0..5).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

/// A JSON value, sometimes slightly invalid.
fn fragment() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        4 => string(),
        3 => "-?(0|[1-9][0-9]{0,5})(\\.[0-9]{1,4})?([eE][+-]?[0-9]{1,3})?",
        1 => "[-+0-9.eE]{1,6}",
        3 => prop::sample::select(vec!["null", "true", "false", "nul", "True", "", "[", "}", "{\"a\"}", "[,]", "{,}"]).prop_map(String::from),
    ];
    leaf.prop_recursive(4, 20, 4, |inner| {
        prop_oneof![
            (vec(inner.clone(), 0..4), prop_oneof![8 => Just(","), 1 => Just(",,"), 1 => Just(" ")])
                .prop_map(|(items, comma)| format!("[{}]", items.join(comma))),
            vec((string(), inner), 0..4).prop_map(|members| {
                let members: Vec<String> = members.iter().map(|(key, value)| format!("{key}: {value}")).collect();
                format!("{{{}}}", members.join(" ,"))
            }),
        ]
    })
}

#[derive(Clone, Debug)]
enum Damage {
    Put(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, usize),
    Cut(prop::sample::Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Damage::Put(at, byte)),
        (at(), prop::sample::select(b"{}[]\",:\\ 0-".to_vec())).prop_map(|(at, byte)| Damage::Put(at, byte)),
        (at(), vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        (at(), 1usize..20).prop_map(|(at, count)| Damage::Remove(at, count)),
        at().prop_map(Damage::Cut),
    ]
}

impl Damage {
    fn do_to(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        match self {
            Damage::Put(at, byte) => *at.get_mut(bytes) = *byte,
            Damage::Insert(at, put) => {
                let at = at.index(bytes.len());
                bytes.splice(at..at, put.iter().copied());
            }
            Damage::Remove(at, count) => {
                let at = at.index(bytes.len());
                bytes.drain(at..bytes.len().min(at + count));
            }
            Damage::Cut(at) => bytes.truncate(at.index(bytes.len())),
        }
    }
}

// ------------------------------------------------------------------------------------------------------------ helpers

const OPERATIONS: [Operation; 4] =
    [Operation::DescribeStreamSummary, Operation::ListShards, Operation::GetShardIterator, Operation::GetRecords];

/// Decodes a page, or returns the error text.
fn page(text: &str) -> Result<Page, String> {
    decode_page(Body::Json(text.to_string())).map_err(|error| error.to_string())
}

/// A recorded exchange.
struct Exchange {
    name: String,
    wire: Wire,
    /// `None` if the reader does not use the operation.
    operation: Option<Operation>,
    target: String,
    request: Body,
    /// The decoded request, for comparison.
    decoded_request: Value,
    status: u16,
    response: Body,
    /// The decoded response, for comparison.
    decoded_response: Value,
}

impl Exchange {
    /// Converts a time in this encoding to milliseconds.
    fn time(&self, value: &Value) -> u64 {
        match self.wire {
            Wire::Json => (value.as_f64().unwrap() * 1000.0).round() as u64,
            Wire::Cbor => value.as_u64().unwrap(),
        }
    }

    /// Returns the request as a query of ours, if it could be one.
    fn query(&self) -> Option<Query<'_>> {
        let decoded = self.decoded_request.as_object()?;
        let text = |key: &str| decoded.get(key).and_then(Value::as_str);
        let mut keys: Vec<&str> = decoded.keys().map(String::as_str).collect();
        keys.sort_unstable();
        let stream = text("StreamName").map(StreamRef::Name);
        match (self.operation?, keys.as_slice()) {
            (Operation::DescribeStreamSummary, ["StreamName"]) => {
                Some(Query::DescribeStreamSummary { stream: stream? })
            }
            (Operation::ListShards, ["StreamName"]) => Some(Query::ListShards { stream: stream? }),
            (Operation::ListShards, ["NextToken"]) => Some(Query::ListShardsNext { token: text("NextToken")? }),
            (Operation::GetShardIterator, _) => {
                let sequence = text("StartingSequenceNumber");
                let position = match text("ShardIteratorType")? {
                    "TRIM_HORIZON" => StartingPosition::TrimHorizon,
                    "LATEST" => StartingPosition::Latest,
                    "AT_SEQUENCE_NUMBER" => StartingPosition::AtSequence(sequence?),
                    "AFTER_SEQUENCE_NUMBER" => StartingPosition::AfterSequence(sequence?),
                    // We never send times with more precision than milliseconds.
                    "AT_TIMESTAMP" if decoded["Timestamp"].to_string().len() > 14 => return None,
                    "AT_TIMESTAMP" => StartingPosition::AtTimestamp(self.time(&decoded["Timestamp"])),
                    _ => return None,
                };
                Some(Query::GetShardIterator { stream: stream?, shard: text("ShardId")?, position })
            }
            (Operation::GetRecords, ["Limit", "ShardIterator"]) => Some(Query::GetRecords {
                arn: None,
                iterator: text("ShardIterator")?,
                limit: u32::try_from(decoded["Limit"].as_u64()?).ok()?,
            }),
            _ => None,
        }
    }
}

fn exchanges() -> Vec<Exchange> {
    let mut files: Vec<_> = fs::read_dir(golden("exchanges")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
        .iter()
        .flat_map(|file| {
            let Value::Array(exchanges) = parse(&fs::read_to_string(file).unwrap()) else {
                panic!("{}", file.display())
            };
            exchanges
        })
        .map(|exchange| {
            let wire = if exchange["protocol"] == "cbor" { Wire::Cbor } else { Wire::Json };
            let target = exchange["request"]["target"].as_str().unwrap().to_string();
            let (request, decoded_request) = recorded(wire, &exchange["request"]);
            let (response, decoded_response) = recorded(wire, &exchange["response"]);
            Exchange {
                name: exchange["name"].as_str().unwrap().to_string(),
                wire,
                operation: OPERATIONS.into_iter().find(|operation| target.ends_with(&format!(".{operation}"))),
                target,
                request,
                decoded_request,
                status: exchange["response"]["status"].as_u64().unwrap() as u16,
                response,
                decoded_response,
            }
        })
        .collect()
}

/// Returns a recorded body, raw and decoded.
fn recorded(wire: Wire, message: &Value) -> (Body, Value) {
    match wire {
        Wire::Json => {
            let text = message["body"].as_str().unwrap_or_default();
            (Body::Json(text.to_string()), serde_json::from_str(text).unwrap_or_default())
        }
        Wire::Cbor => {
            let bytes = BASE64_STANDARD.decode(message["body_base64"].as_str().unwrap_or_default()).unwrap();
            (Body::Cbor(bytes), message["body_decoded"].clone())
        }
    }
}

/// Returns all recorded responses, read from disk once.
fn bodies() -> &'static [Body] {
    static BODIES: std::sync::OnceLock<Vec<Body>> = std::sync::OnceLock::new();
    BODIES.get_or_init(|| exchanges().into_iter().map(|exchange| exchange.response).collect())
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name)
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        Value::Object(members) => Value::Object(
            members
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key, without_nulls(value)))
                .collect::<Map<_, _>>(),
        ),
        other => other,
    }
}
