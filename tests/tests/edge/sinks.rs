//! Sinks: what they are told, and what follows from what they answer.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use tests::edge::client::drain;
use tests::edge::sink::{Batch, Message, Sink, check};

use super::{STREAM, World, host, positions};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_sink_does_not_take_comes_again() {
    let world = World::new().await;
    world.emulator.put(STREAM, 0..50).await;
    let (_host, url) = host(world.push()).await;
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
        world.sink.answers(status);
        let answer = drain(&url, "").await;
        let report = answer.json();
        assert_eq!((answer.status, &report["outcome"], &report["messages"]), (502, &json!(outcome), &json!(0)));
        assert_eq!(report["why"], format!("the sink answers {status}: as it was told"));
        assert_eq!(positions(&url).await, before);
    }

    // One that nobody hears, and one that thinks for longer than it may.
    let (_host, dead) = host(world.push().set("SINK_URL", "http://127.0.0.1:1/")).await;
    let answer = drain(&dead, "").await;
    assert_eq!((answer.status, &answer.json()["outcome"]), (502, &json!("sink-failed")), "{answer:?}");
    world.sink.answers(500);
    world.sink.thinks(std::time::Duration::from_secs(30));
    let (_host, slow) = host(world.push().set("SINK_TIMEOUT_SECONDS", "1")).await;
    let answer = drain(&slow, "").await;
    assert_eq!((answer.status, &answer.json()["outcome"]), (502, &json!("sink-failed")), "{answer:?}");
    assert_eq!(positions(&url).await, before);

    world.sink.thinks(std::time::Duration::ZERO);
    world.sink.answers(204);
    assert_eq!(drain(&url, "").await.json()["messages"], 40);
    assert_eq!((world.sink.count(), world.sink.numbers().len()), (50, 50));
}

/// Where it did, this would take an hour.
#[tokio::test(flavor = "multi_thread")]
async fn no_delivery_outlasts_what_is_left() {
    let world = World::new().await;
    world.emulator.put(STREAM, 0..10).await;
    world.sink.holds(true);
    let patient = || world.push().set("SINK_TIMEOUT_SECONDS", "3600");
    let (_host, url) = host(patient().set("LEASE_SECONDS", "3600")).await;
    let answer = drain(&url, "max-ms=500").await;
    assert_eq!((answer.status, &answer.json()["outcome"]), (502, &json!("sink-failed")), "of the caller's time");
    let (_host, url) = host(patient().set("LEASE_SECONDS", "2")).await;
    let answer = drain(&url, "").await;
    assert_eq!((answer.status, &answer.json()["outcome"]), (502, &json!("sink-failed")), "of the lease: {answer:?}");
    world.sink.holds(false);
    assert_eq!(drain(&url, "").await.json()["messages"], 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_sink_refuses_goes_to_the_dead_letters() {
    let world = World::new().await;
    world.emulator.put(STREAM, 0..50).await;
    let dead_letters = Sink::start().await;
    let options = world.push().set("DEAD_LETTER_URL", &dead_letters.url);
    let (_host, url) = host(options.set("DEAD_LETTER_AUTHORIZATION", "Basic eA==")).await;
    world.sink.answers(422);
    dead_letters.answers(503);
    let answer = drain(&url, "").await;
    assert_eq!((answer.status, &answer.json()["outcome"]), (502, &json!("sink-failed")), "{answer:?}");
    assert!(answer.text.contains("dead letters: the sink answers 503"), "{answer:?}");

    dead_letters.answers(200);
    let report = drain(&url, "").await.json();
    assert_eq!((&report["outcome"], &report["dead_letters"]), (&json!("caught-up"), &json!(50)), "{report}");
    assert_eq!((dead_letters.numbers(), world.sink.count()), ((0..50).collect(), 0));
    for batch in dead_letters.batches() {
        assert_eq!(batch.headers["x-kinesis-reason"], "the sink answers 422: as it was told");
        assert_eq!(batch.headers["authorization"], "Basic eA==");
    }
    world.sink.answers(500);
    world.emulator.put(STREAM, 50..60).await;
    let answer = drain(&url, "").await;
    assert_eq!((answer.status, dead_letters.count()), (502, 50), "what may yet be taken is no dead letter");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_named_after_what_it_holds() {
    let world = World::new().await;
    world.emulator.put(STREAM, 0..40).await;
    world.emulator.put_aggregated(STREAM, 40..100, 1000).await;
    let (_host, url) = host(world.push().set("SINK_AUTHORIZATION", "Bearer sink")).await;
    // Some end within an aggregate.
    while drain(&url, "max-messages=7").await.json()["messages"] != 0 {}
    let batches = world.sink.batches();
    assert_eq!((world.sink.numbers(), world.sink.count()), ((0..100).collect(), 100));
    let mut names = BTreeSet::new();
    for batch in &batches {
        let header = |name: &str| batch.headers[name].as_str();
        let (first, last) = (header("x-kinesis-first"), header("x-kinesis-last"));
        assert_eq!(first.split('.').next(), batch.messages.first().map(|message| message.sequence.as_str()));
        assert_eq!(last.split('.').next(), batch.messages.last().map(|message| message.sequence.as_str()));
        assert_eq!(header("idempotency-key"), format!("{STREAM}/{}/{first}-{last}", batch.shard));
        assert_eq!((header("content-type"), header("authorization")), ("application/x-ndjson", "Bearer sink"));
        assert_eq!(header("x-kinesis-stream"), STREAM);
        names.insert(header("idempotency-key").to_owned());
    }
    assert_eq!(names.len(), batches.len(), "two batches under one name");
    let cut = batches.iter().filter(|batch| !batch.headers["x-kinesis-first"].ends_with(".0"));
    assert!(cut.filter(|batch| batch.headers["x-kinesis-first"].contains('.')).count() > 0, "{names:?}");
}

#[test]
fn what_must_hold_of_all_that_came_is_noticed_where_it_does_not() {
    let batch = |epoch: u64, sequences: &[&str]| Batch {
        shard: "shardId-000000000000".to_owned(),
        epoch,
        headers: BTreeMap::new(),
        bytes: 0,
        messages: sequences.iter().map(|one| Message { sequence: (*one).to_owned(), number: 0 }).collect(),
    };
    let died = [batch(1, &["1", "2", "3"]), batch(2, &["3", "4", "20"])];
    assert_eq!(check(&died, &BTreeSet::from([2])), Ok(1));
    assert!(check(&died, &BTreeSet::from([1])).is_err_and(|wrong| wrong.contains("came again")));
    for wrong in [&["1", "1"], &["20", "3"]] {
        assert!(check(&[batch(1, wrong)], &BTreeSet::new()).is_err_and(|wrong| wrong.contains("out of order")));
    }
}
