//! The value in the store can be damaged, belong to another stream, or be missing.

use edge_tests::TOKEN;
use edge_tests::client::{call, drain};
use edge_tests::events::Event;
use serde_json::{Value, json};

use super::{Fixture, KEY, STREAM, host, positions};

fn value(checkpoint: &Value) -> Vec<u8> {
    let value = json!({"version": 1, "epoch": 7, "revision": 9, "owner": "a", "until": 0, "begun": 1,
        "checkpoint": checkpoint});
    value.to_string().into_bytes()
}

fn kept(shards: Value) -> Value {
    json!({"kept": {"version": 1, "stream": {"name": STREAM}, "shards": shards}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_value_is_reported_and_stays_unchanged() {
    let fixture = Fixture::new().await;
    fixture.emulator.put(STREAM, 0..10).await;
    let (host, url) = host(fixture.push()).await;
    let good = value(&kept(json!({"shardId-000000000000": {"at": "trim-horizon"}})));
    let mut values: Vec<Vec<u8>> = vec![
        b"\x00\xff".to_vec(),
        b"null".to_vec(),
        vec![b'['; 100_000],
        value(&json!([])),
        value(&json!({"kept": 7})),
        value(&json!({"kept": {}})),
        value(&json!({"kept": {"version": 2, "stream": {"name": STREAM}, "shards": {}}})),
        value(&kept(json!({"shardId-000000000000": {"after": "not a number"}}))),
        value(&kept(json!({"shardId-000000000000": {"at": -1}}))),
        // A later version may have more members.
        value(&json!({"kept": null, "pages": 7})),
        // The checkpoint of unacknowledged lines is parsed too.
        value(&json!({"handed": {"ack": "1", "checkpoint": {"version": 1, "shards": "none"}}})),
    ];
    // Values that are cut off, or that have one wrong byte.
    values.extend([1, 20, 80].map(|left| good[..good.len() - left].to_vec()));
    values.extend([0, 10, 60].map(|at| [&good[..at], b"\x07", &good[at + 1..]].concat()));
    for value in values {
        host.database.put(KEY, &value);
        for (method, path) in [("POST", "drain"), ("POST", "drain?ack=1"), ("GET", "status")] {
            let answer = call(method, &format!("{url}/{path}"), Some(TOKEN)).await.expect("the host answers");
            let shown = String::from_utf8_lossy(&value[..value.len().min(200)]).into_owned();
            // The status checks less of a checkpoint.
            let is_shown = method == "GET" && answer.status == 200;
            assert!(is_shown || answer.status == 500, "{method} /{path} on {shown}: {answer:?}");
            if !is_shown {
                let hint = answer.json()["hint"].as_str().expect("an error has a hint").to_owned();
                assert!(!hint.contains("delete") && hint.contains("backup"), "{hint}");
            }
            assert_eq!(host.database.value(KEY).as_deref(), Some(&value[..]), "{method} /{path} on {shown}");
        }
    }
    assert_eq!((host.events.count(Event::KinesisAsked), fixture.sink.count()), (0, 0));
    host.database.put(KEY, &good);
    assert_eq!(drain(&url, "").await.json()["messages"], 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_of_another_stream_is_left_alone() {
    let fixture = Fixture::new().await;
    let (host, url) = host(fixture.push()).await;
    let other = value(&json!({"kept": {"version": 1, "stream": {"name": "others"}, "shards": {}}}));
    host.database.put(KEY, &other);
    let answer = drain(&url, "").await;
    let error = answer.json();
    assert!(answer.status == 500 && error["error"].as_str().is_some_and(|error| error.contains("others")), "{error}");
    assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("KEY_VALUE_STORE") && !hint.contains("delete")));
    assert_eq!(host.database.value(KEY), Some(other));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_checkpoint_is_an_error_if_one_is_required() {
    let fixture = Fixture::new().await;
    fixture.emulator.put(STREAM, 0..10).await;
    let options = || fixture.push().set("KINESIS_START", "latest");
    let (first, url) = host(options()).await;
    assert_eq!(drain(&url, "").await.status, 200);
    fixture.emulator.put(STREAM, 10..20).await;
    let (second, strict) = host(options().set("REQUIRE_CHECKPOINT", "true")).await;
    let original = first.database.value(KEY).expect("the drain wrote a value");

    // The value is missing, or has only the lease.
    let without_checkpoint: [Option<Vec<u8>>; 3] = [None, Some(value(&Value::Null)), Some(value(&kept(json!({}))))];
    for stored in without_checkpoint {
        match &stored {
            Some(value) => first.database.put(KEY, value),
            None => first.database.remove(KEY),
        }
        let answer = drain(&strict, "").await;
        let error = answer.json();
        assert_eq!((answer.status, second.events.count(Event::KinesisAsked)), (412, 0), "{error}");
        let hint = error["hint"].as_str().expect("an error has a hint");
        assert!(hint.contains("backup") && hint.contains("REQUIRE_CHECKPOINT"), "{hint}");
        assert_eq!(first.database.value(KEY), stored, "the value was not changed");
    }
    first.database.put(KEY, &original);
    assert_eq!(drain(&strict, "").await.status, 200);
    assert!(fixture.sink.numbers().is_superset(&(10..20).collect()));
    assert!(!positions(&strict).await.is_empty());
}

/// After the first drain without a sink, there is no other checkpoint than that of its lines.
#[tokio::test(flavor = "multi_thread")]
async fn unacknowledged_lines_count_as_a_checkpoint() {
    let fixture = Fixture::new().await;
    fixture.emulator.put(STREAM, 0..10).await;
    let (_host, url) = host(fixture.pull()).await;
    let first = drain(&url, "max-messages=4").await;
    let (_host, strict) = host(fixture.pull().set("REQUIRE_CHECKPOINT", "true")).await;
    let again = drain(&strict, "max-messages=4").await;
    assert_eq!((again.status, again.text.lines().count()), (200, 4), "{again:?}");
    assert_ne!(first.header("x-kinesis-ack"), again.header("x-kinesis-ack"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recreated_stream_is_followed_only_if_asked_for() {
    let fixture = Fixture::new().await;
    fixture.emulator.put(STREAM, 0..10).await;
    let (first, url) = host(fixture.push()).await;
    drain(&url, "").await;
    // Now the checkpoint belongs to a stream that was created a day earlier.
    let bytes = first.database.value(KEY).expect("the drain wrote a value");
    let mut value: Value = serde_json::from_slice(&bytes).expect("the value is JSON");
    let created = &mut value["checkpoint"]["kept"]["stream"]["created"];
    *created = json!(created.as_u64().expect("the creation time is a number") - 86_400_000);
    first.database.put(KEY, value.to_string().as_bytes());
    let before = positions(&url).await;

    let answer = drain(&url, "").await;
    assert_eq!((answer.status, &answer.json()["outcome"]), (502, &json!("failed")), "{answer:?}");
    assert!(answer.text.contains("KINESIS_RECREATED") && !answer.text.contains("delete the"), "{answer:?}");
    assert_eq!(positions(&url).await, before);

    let (_host, url) = host(fixture.push().set("KINESIS_RECREATED", "follow")).await;
    let report = drain(&url, "").await.json();
    assert_eq!((&report["outcome"], &report["messages"]), (&json!("caught-up"), &json!(10)), "{report}");
    assert_eq!(report["gaps_total"], 2, "each shard of the old stream is a gap: {report}");
}
