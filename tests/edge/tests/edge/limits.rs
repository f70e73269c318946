//! The value in the store grows with each shard, and stores limit its size.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use edge_tests::client::{Answer, drain};
use edge_tests::events::Event;
use edge_tests::{Build, Options};
use serde_json::json;

use super::{Fixture, STREAM, host, positions, set_clock};

const SHARDS: u32 = 50;

/// The most that a shard takes in the value, as the README says.
const BYTES_PER_SHARD: usize = 170;

/// The most that the rest of the value takes.
const OTHER_BYTES: usize = 400;

/// Drains while the store rejects writes. The drain retries for some seconds, which pass faster here.
async fn drain_with_failing_writes(url: &str, clock: &Path, has_failed: impl Fn() -> bool) -> Answer {
    let answer = drain(url, "");
    tokio::pin!(answer);
    let mut jumped = 0;
    loop {
        tokio::select! {
            answer = &mut answer => return answer,
            () = tokio::time::sleep(Duration::from_millis(20)) => {
                // Far less than a lease.
                if has_failed() && jumped < 30_000 {
                    jumped += 500;
                    set_clock(clock, jumped);
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_too_large_for_the_store_loses_nothing() {
    let fixture = Fixture::new().await;
    fixture.emulator.create("wide", SHARDS).await;
    fixture.emulator.put("wide", 0..1000).await;
    let clock = fixture.folder.path().join("clock");
    set_clock(&clock, 0);
    let mut options = fixture.push().set("KINESIS_STREAM", "wide");
    options.clock = Some(clock.clone());
    let (host, url) = host(options).await;
    assert_eq!(drain(&url, "max-messages=1").await.status, 200);
    let size = || host.database.value("kinesis-reader/wide").expect("there is a value").len();
    let before = positions(&url).await;
    assert_eq!(before.len(), SHARDS as usize);

    host.database.limit_size(size() + 500);
    let answer = drain_with_failing_writes(&url, &clock, || host.database.has_failed()).await;
    let report = answer.json();
    assert_eq!((answer.status, &report["outcome"]), (503, &json!("store-failed")), "{report}");
    assert!(report["why"].as_str().is_some_and(|why| why.contains("too large")), "{report}");
    assert!(
        report["hint"].as_str().is_some_and(|hint| hint.contains("too large") && hint.contains("shards")),
        "{report}"
    );
    assert_eq!((positions(&url).await, fixture.sink.numbers().len()), (before, 1000), "delivered but not committed");

    // The lease ends by itself, and with a larger store, the next drain continues from the last commit.
    host.database.limit_size(usize::MAX);
    set_clock(&clock, 200_000);
    assert_eq!(drain(&url, "").await.json()["messages"], 999, "the messages come again");
    assert_eq!(fixture.sink.numbers(), (0..1000).collect());
    assert!(size() < OTHER_BYTES + SHARDS as usize * BYTES_PER_SHARD, "{} bytes for {SHARDS} shards", size());
}

#[tokio::test(flavor = "multi_thread")]
async fn unacknowledged_lines_at_most_double_the_value() {
    let fixture = Fixture::new().await;
    fixture.emulator.create("wide", SHARDS).await;
    fixture.emulator.put("wide", 0..1000).await;
    let (host, url) = host(fixture.pull().set("KINESIS_STREAM", "wide")).await;
    let first = drain(&url, "max-messages=500").await;
    let second = drain(&url, &format!("ack={}", first.header("x-kinesis-ack"))).await;
    assert_eq!(
        (second.status, positions(&url).await.len()),
        (200, SHARDS as usize),
        "some lines are acknowledged, and some are not"
    );
    let size = host.database.value("kinesis-reader/wide").expect("there is a value").len();
    assert!(size < OTHER_BYTES + 2 * SHARDS as usize * BYTES_PER_SHARD, "{size} bytes for {SHARDS} shards");
}

/// DynamoDB rejects writes if the item is too large, or if we lack permission.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_rejects_writes_ends_the_drain_before_it_reads() {
    let fixture = Fixture::new().await;
    let puts = Arc::new(AtomicUsize::new(0));
    let counted = puts.clone();
    let app = axum::Router::new().fallback(async move |headers: HeaderMap| {
        if headers["x-amz-target"] == "DynamoDB_20120810.GetItem" {
            return (StatusCode::OK, "{}");
        }
        counted.fetch_add(1, Ordering::SeqCst);
        let error = r#"{"__type":"com.amazon.coral.validate#ValidationException","message":"Item size has exceeded"}"#;
        (StatusCode::BAD_REQUEST, error)
    });
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
    let database = format!("http://{}", listener.local_addr().expect("the listener is bound"));
    tokio::spawn(async move { axum::serve(listener, app).await });

    let clock = fixture.folder.path().join("clock");
    set_clock(&clock, 0);
    let mut options = Options::new(Build::Http, fixture.store(), &fixture.emulator.url, STREAM);
    options = options.set("SINK_URL", &fixture.sink.url).set("DYNAMODB_ENDPOINT_URL", &database);
    options.clock = Some(clock.clone());
    let (host, url) = host(options).await;
    let answer = drain_with_failing_writes(&url, &clock, || puts.load(Ordering::SeqCst) > 0).await;
    assert_eq!((answer.status, host.events.count(Event::KinesisAsked)), (503, 0), "{answer:?}");
    assert!(answer.text.contains("ValidationException: Item size has exceeded"), "{answer:?}");
    assert!(puts.load(Ordering::SeqCst) < 20, "the drain pauses between its attempts");
}
