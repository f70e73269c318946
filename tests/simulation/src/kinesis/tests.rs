//! Checks that the model behaves as the service is documented.

use super::quirks::{IdleLag, Lag, Sequences};
use super::*;
use serde_json::{Value, json};

/// A service without faults. Its stream was created at time 0.
struct Service(Kinesis);

impl Service {
    fn new(shards: u32, change: impl FnOnce(&mut Quirks)) -> Service {
        let mut quirks = Quirks::plain();
        quirks.sequences = Sequences::Counted;
        change(&mut quirks);
        let stream = Stream::new("orders", 0, shards, quirks.sequences, quirks.retention_ms, 0);
        Service(Kinesis::new(quirks, stream, Chance::new(1, 1)))
    }

    fn call(&mut self, operation: &str, body: Value, now: u64) -> Result<(u16, Value), String> {
        let answer = self.0.call(&format!("Kinesis_20131202.{operation}"), &Body::Json(body.to_string()), now)?;
        Ok((answer.status, body::parse(&answer.body).expect("JSON")))
    }

    fn ok(&mut self, operation: &str, body: Value, now: u64) -> Value {
        let (status, answer) = self.call(operation, body, now).expect("allowed");
        assert_eq!(status, 200, "{answer}");
        answer
    }

    fn refused(&mut self, operation: &str, body: Value, now: u64) -> String {
        let (status, answer) = self.call(operation, body, now).expect("allowed");
        assert_eq!(status, 400);
        answer["__type"].as_str().expect("a name").to_owned()
    }

    fn forbidden(&mut self, operation: &str, body: Value) -> String {
        self.call(operation, body, 1000).expect_err("forbidden")
    }

    fn put(&mut self, shard: usize, count: u64, now: u64) {
        for _ in 0..count {
            self.0.stream.put(shard, Some("k".to_owned()), b"{}".to_vec(), now, now);
        }
    }

    fn iterator(&mut self, body: Value, now: u64) -> String {
        self.ok("GetShardIterator", body, now)["ShardIterator"].as_str().expect("an iterator").to_owned()
    }

    fn oldest(&mut self, shard: usize, now: u64) -> String {
        let id = format!("shardId-{shard:012}");
        self.iterator(json!({"StreamName": "orders", "ShardId": id, "ShardIteratorType": "TRIM_HORIZON"}), now)
    }

    fn read(&mut self, iterator: &Value, now: u64) -> Value {
        self.ok("GetRecords", json!({"ShardIterator": iterator, "Limit": 2}), now)
    }
}

#[test]
fn a_shard_is_read_page_by_page_and_its_end_names_its_children() {
    let mut service = Service::new(1, |_| ());
    service.put(0, 3, 500);
    service.0.stream.split(0, 600);
    let iterator = Value::from(service.oldest(0, 1000));
    let first = service.read(&iterator, 1000);
    assert_eq!(first["Records"].as_array().map(Vec::len), Some(2));
    assert_eq!(first["Records"][1]["SequenceNumber"], "3");
    assert_eq!(first["Records"][1]["ApproximateArrivalTimestamp"], json!(0.5));
    assert_eq!(first["MillisBehindLatest"], 500);
    let second = service.read(&first["NextShardIterator"], 1200);
    assert_eq!(second["Records"].as_array().map(Vec::len), Some(1));
    assert!(second["NextShardIterator"].is_string(), "the end is a page of its own");
    let third = service.read(&second["NextShardIterator"], 1400);
    assert_eq!(third["Records"], json!([]));
    assert!(third.get("NextShardIterator").is_none());
    assert_eq!(third["ChildShards"][1]["ShardId"], "shardId-000000000002");
    assert_eq!(third["ChildShards"][1]["ParentShards"], json!(["shardId-000000000000"]));
}

#[test]
fn a_listing_has_pages_and_its_tokens_allow_no_other_parameter() {
    let mut service = Service::new(3, |quirks| quirks.listing_page = 2);
    let first = service.ok("ListShards", json!({"StreamName": "orders"}), 1000);
    assert_eq!(first["Shards"].as_array().map(Vec::len), Some(2));
    service.0.stream.merge(0, 1500);
    let second = service.ok("ListShards", json!({"NextToken": first["NextToken"]}), 2000);
    assert!(second["Shards"].as_array().is_some_and(|shards| !shards.is_empty()));
    let refused = service.refused("ListShards", json!({"NextToken": first["NextToken"]}), 400_000);
    assert_eq!(refused, "ExpiredNextTokenException");
    let why = service.forbidden("ListShards", json!({"StreamName": "orders", "NextToken": first["NextToken"]}));
    assert!(why.contains("together with NextToken"), "{why}");
}

#[test]
fn a_stale_listing_lacks_new_shards_and_shows_their_parent_as_open() {
    let mut service = Service::new(1, |quirks| quirks.stale_ms = 5_000);
    service.0.stream.split(0, 9_000);
    let mut seen = [false; 2];
    for _ in 0..50 {
        let listing = service.ok("ListShards", json!({"StreamName": "orders"}), 10_000);
        let shards = listing["Shards"].as_array().expect("shards");
        let closed = shards[0]["SequenceNumberRange"].get("EndingSequenceNumber").is_some();
        assert_eq!(closed, shards.len() == 3);
        seen[usize::from(closed)] = true;
    }
    assert_eq!(seen, [true, true]);
}

#[test]
fn requests_that_the_service_never_accepts_are_forbidden() {
    let mut service = Service::new(1, |_| ());
    let shard = "shardId-000000000000";
    for (operation, body, why) in [
        ("ListShards", json!({}), "names no stream"),
        ("ListShards", json!({"StreamName": "others"}), "another stream"),
        ("ListShards", json!({"StreamName": "orders", "Color": 1}), "unknown field"),
        ("ListShards", json!({"StreamName": "orders", "MaxResults": 0}), "MaxResults"),
        ("GetRecords", json!({"ShardIterator": "x"}), "unknown iterator"),
        ("GetRecords", json!({"ShardIterator": "x", "Limit": 10_001}), "Limit"),
        (
            "GetShardIterator",
            json!({"StreamName": "orders", "ShardId": shard, "ShardIteratorType": "AT_TIMESTAMP", "Timestamp": 1.001}),
            "future",
        ),
        (
            "GetShardIterator",
            json!({"StreamName": "orders", "ShardId": shard, "ShardIteratorType": "LATEST", "Timestamp": 1}),
            "does not go",
        ),
        (
            "GetShardIterator",
            json!({"StreamName": "orders", "ShardId": shard, "ShardIteratorType": "AFTER_SEQUENCE_NUMBER",
                   "StartingSequenceNumber": "77"}),
            "does not belong to shardId",
        ),
        (
            "GetShardIterator",
            json!({"StreamName": "orders", "ShardId": "x", "ShardIteratorType": "LATEST"}),
            "never existed",
        ),
        ("PutRecord", json!({}), "unknown operation"),
    ] {
        let reason = service.forbidden(operation, body);
        assert!(reason.contains(why), "{reason}");
    }
}

#[test]
fn iterators_expire_and_calls_are_limited() {
    let mut service = Service::new(1, |_| ());
    let iterator = service.oldest(0, 1000);
    let body = json!({"ShardIterator": iterator});
    for i in 0..5 {
        service.ok("GetRecords", body.clone(), 1000 + i);
    }
    assert_eq!(service.refused("GetRecords", body.clone(), 1005), "ProvisionedThroughputExceededException");
    service.ok("GetRecords", body.clone(), 301_000);
    assert_eq!(service.refused("GetRecords", body, 301_001), "ExpiredIteratorException");
}

#[test]
fn positions_and_shards_that_left_the_stream_are_refused() {
    let mut service = Service::new(1, |quirks| quirks.retention_ms = 1000);
    service.put(0, 1, 0);
    service.put(0, 1, 900);
    let shard = "shardId-000000000000";
    let after = |sequence: &str| {
        json!({"StreamName": "orders", "ShardId": shard, "ShardIteratorType": "AFTER_SEQUENCE_NUMBER",
               "StartingSequenceNumber": sequence})
    };
    assert_eq!(service.refused("GetShardIterator", after("2"), 1500), "InvalidArgumentException");
    let rest = service.iterator(after("3"), 1500);
    assert_eq!(service.read(&rest.into(), 1500)["MillisBehindLatest"], 0);
    service.0.stream.split(0, 1600);
    assert_eq!(service.refused("GetShardIterator", after("3"), 2700), "ResourceNotFoundException");
    let listing = service.ok("ListShards", json!({"StreamName": "orders"}), 2700);
    assert_eq!(listing["Shards"].as_array().map(Vec::len), Some(2));
}

#[test]
fn each_kind_of_lag_is_reported_as_documented() {
    for (lag, idle_lag, expected) in [
        (Lag::Age, IdleLag::Zero, [700, 0, 0]),
        (Lag::Age, IdleLag::Constant(5), [700, 5, 5]),
        (Lag::Age, IdleLag::Growing, [700, 1000, 1000]),
        (Lag::ZeroOnRecords, IdleLag::Zero, [0, 0, 0]),
        (Lag::BehindTipRecord, IdleLag::Zero, [100, 0, 0]),
    ] {
        let mut service = Service::new(1, |quirks| (quirks.lag, quirks.idle_lag) = (lag, idle_lag));
        service.put(0, 2, 300);
        service.put(0, 1, 400);
        let mut iterator = Value::from(service.oldest(0, 1000));
        for (i, lag_ms) in expected.into_iter().enumerate() {
            let page = service.read(&iterator, 1000 + i as u64 * 200);
            assert_eq!(page["MillisBehindLatest"], lag_ms, "{lag:?} {idle_lag:?} {i}");
            iterator = page["NextShardIterator"].clone();
        }
    }
}

#[test]
fn equal_seeds_give_equal_services() {
    let run = || {
        let mut chance = Chance::new(9, 2);
        let quirks = Quirks::draw(&mut chance);
        let stream = Stream::new("orders", 0, 4, quirks.sequences, quirks.retention_ms, 0);
        let mut kinesis = Kinesis::new(quirks, stream, chance);
        (0..200u64)
            .map(|i| {
                kinesis.call("Kinesis_20131202.ListShards", &Body::Json(r#"{"StreamName":"orders"}"#.into()), i * 10)
            })
            .map(|answer| answer.expect("allowed").body)
            .collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}
