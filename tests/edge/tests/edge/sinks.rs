//! What sinks receive, and what happens for each of their answers.

use std::collections::{BTreeMap, BTreeSet};

use edge_tests::client::drain;
use edge_tests::sink::{Batch, Message, Sink, check};
use serde_json::json;

use super::{Fixture, STREAM, host, positions};

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_the_sink_does_not_accept_comes_again() {
    let fixture = Fixture::new().await;
    fixture.emulator.put(STREAM, 0..50).await;
    let (_host, url) = host(fixture.push()).await;
    drain(&url, "max-messages=10").await;
    let before = positions(&url).await;

    for (status, outcome) in [
        (400, "blocked"),
        (413, "blocked"),
        (422, "blocked"),
        (401, "sink-failed"),
        (404, "sink-failed"),
        (429, "sink-failed"),
        (500, "sink-failed"),
        (503, "sink-failed"),
        (302, "sink-failed"),
    ] {
        fixture.sink.answer_with(status);
        let answer = drain(&url, "").await;
        let report = answer.json();
        assert_eq!((answer.status, &report["outcome"], &report["messages"]), (502, &json!(outcome), &json!(0)));
        assert_eq!(report["why"], format!("the sink answered {status}: scripted answer"));
        assert_eq!(positions(&url).await, before);
    }

    // A sink that cannot be reached, and one that takes too long.
    let (_host, unreachable) = host(fixture.push().set("SINK_URL", "http://127.0.0.1:1/")).await;
    let answer = drain(&unreachable, "").await;
    assert_eq!((answer.status, &answer.json()["outcome"]), (502, &json!("sink-failed")), "{answer:?}");
    fixture.sink.answer_with(500);
    fixture.sink.delay(std::time::Duration::from_secs(30));
    let (_host, slow) = host(fixture.push().set("SINK_TIMEOUT_SECONDS", "1")).await;
    let answer = drain(&slow, "").await;
    assert_eq!((answer.status, &answer.json()["outcome"]), (502, &json!("sink-failed")), "{answer:?}");
    assert_eq!(positions(&url).await, before);

    fixture.sink.delay(std::time::Duration::ZERO);
    fixture.sink.answer_with(204);
    assert_eq!(drain(&url, "").await.json()["messages"], 40);
    assert_eq!((fixture.sink.count(), fixture.sink.numbers().len()), (50, 50));
}

/// If a delivery did, this test would take an hour.
#[tokio::test(flavor = "multi_thread")]
async fn no_delivery_outlasts_the_callers_time_or_the_lease() {
    let fixture = Fixture::new().await;
    fixture.emulator.put(STREAM, 0..10).await;
    fixture.sink.hold(true);
    let options = || fixture.push().set("SINK_TIMEOUT_SECONDS", "3600");
    let (_host, url) = host(options().set("LEASE_SECONDS", "3600")).await;
    let answer = drain(&url, "max-ms=500").await;
    assert_eq!((answer.status, &answer.json()["outcome"]), (502, &json!("sink-failed")), "max-ms: {answer:?}");
    let (_host, url) = host(options().set("LEASE_SECONDS", "2")).await;
    let answer = drain(&url, "").await;
    assert_eq!((answer.status, &answer.json()["outcome"]), (502, &json!("sink-failed")), "the lease: {answer:?}");
    fixture.sink.hold(false);
    assert_eq!(drain(&url, "").await.json()["messages"], 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_batch_goes_to_the_dead_letters() {
    let fixture = Fixture::new().await;
    fixture.emulator.put(STREAM, 0..50).await;
    let dead_letters = Sink::start().await;
    let options = fixture.push().set("DEAD_LETTER_URL", &dead_letters.url);
    let (_host, url) = host(options.set("DEAD_LETTER_AUTHORIZATION", "Basic eA==")).await;
    fixture.sink.answer_with(422);
    dead_letters.answer_with(503);
    let answer = drain(&url, "").await;
    assert_eq!((answer.status, &answer.json()["outcome"]), (502, &json!("sink-failed")), "{answer:?}");
    assert!(answer.text.contains("dead letters: the sink answered 503"), "{answer:?}");

    dead_letters.answer_with(200);
    let report = drain(&url, "").await.json();
    assert_eq!((&report["outcome"], &report["dead_letters"]), (&json!("caught-up"), &json!(50)), "{report}");
    assert_eq!((dead_letters.numbers(), fixture.sink.count()), ((0..50).collect(), 0));
    for batch in dead_letters.batches() {
        assert_eq!(batch.headers["x-kinesis-reason"], "the sink answered 422: scripted answer");
        assert_eq!(batch.headers["authorization"], "Basic eA==");
    }
    fixture.sink.answer_with(500);
    fixture.emulator.put(STREAM, 50..60).await;
    let answer = drain(&url, "").await;
    assert_eq!((answer.status, dead_letters.count()), (502, 50), "a batch that failed is not a dead letter");
}

#[tokio::test(flavor = "multi_thread")]
async fn idempotency_keys_identify_the_messages_of_a_batch() {
    let fixture = Fixture::new().await;
    fixture.emulator.put(STREAM, 0..40).await;
    fixture.emulator.put_aggregated(STREAM, 40..100, 1000).await;
    let (_host, url) = host(fixture.push().set("SINK_AUTHORIZATION", "Bearer sink")).await;
    // Some batches end within an aggregated record.
    while drain(&url, "max-messages=7").await.json()["messages"] != 0 {}
    let batches = fixture.sink.batches();
    assert_eq!((fixture.sink.numbers(), fixture.sink.count()), ((0..100).collect(), 100));
    let mut keys = BTreeSet::new();
    for batch in &batches {
        let header = |name: &str| batch.headers[name].as_str();
        let (first, last) = (header("x-kinesis-first"), header("x-kinesis-last"));
        assert_eq!(first.split('.').next(), batch.messages.first().map(|message| message.sequence.as_str()));
        assert_eq!(last.split('.').next(), batch.messages.last().map(|message| message.sequence.as_str()));
        assert_eq!(header("idempotency-key"), format!("{STREAM}/{}/{first}-{last}", batch.shard));
        assert_eq!((header("content-type"), header("authorization")), ("application/x-ndjson", "Bearer sink"));
        assert_eq!(header("x-kinesis-stream"), STREAM);
        keys.insert(header("idempotency-key").to_owned());
    }
    assert_eq!(keys.len(), batches.len(), "two batches have the same key");
    let firsts = batches.iter().map(|batch| &batch.headers["x-kinesis-first"]);
    let starts_within_aggregate = |first: &&String| first.contains('.') && !first.ends_with(".0");
    assert!(firsts.filter(starts_within_aggregate).count() > 0, "{keys:?}");
}

#[test]
fn the_check_detects_repeated_and_reordered_messages() {
    let batch = |epoch: u64, sequences: &[&str]| Batch {
        shard: "shardId-000000000000".to_owned(),
        epoch,
        headers: BTreeMap::new(),
        bytes: 0,
        messages: sequences.iter().map(|one| Message { sequence: (*one).to_owned(), number: 0 }).collect(),
    };
    let repeated = [batch(1, &["1", "2", "3"]), batch(2, &["3", "4", "20"])];
    assert_eq!(check(&repeated, &BTreeSet::from([2])), Ok(1));
    assert!(check(&repeated, &BTreeSet::from([1])).is_err_and(|error| error.contains("came again")));
    for unordered in [&["1", "1"], &["20", "3"]] {
        assert!(check(&[batch(1, unordered)], &BTreeSet::new()).is_err_and(|error| error.contains("out of order")));
    }
}
