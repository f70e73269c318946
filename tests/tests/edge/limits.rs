//! The value grows with each shard, and stores take values of some size.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use serde_json::json;
use tests::edge::client::{Answer, drain};
use tests::edge::events::Event;
use tests::edge::{Build, Options};

use super::{STREAM, World, ahead, host, positions};

const SHARDS: u32 = 50;

/// The most that a shard takes in the value: what the README says of it.
const BYTES_PER_SHARD: usize = 170;

/// What stands in the value beside the shards.
const BYTES_BESIDE: usize = 400;

/// A drain that is refused a write, and goes on asking for some seconds, which pass faster here.
async fn refused(url: &str, clock: &Path, has_refused: impl Fn() -> bool) -> Answer {
    let answer = drain(url, "");
    tokio::pin!(answer);
    let mut jumped = 0;
    loop {
        tokio::select! {
            answer = &mut answer => return answer,
            () = tokio::time::sleep(Duration::from_millis(20)) => {
                // Far less than the lease lasts.
                if has_refused() && jumped < 30_000 {
                    jumped += 500;
                    ahead(clock, jumped);
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_the_store_finds_too_large_loses_nothing() {
    let world = World::new().await;
    world.emulator.create("wide", SHARDS).await;
    world.emulator.put("wide", 0..1000).await;
    let clock = world.folder.path().join("clock");
    ahead(&clock, 0);
    let mut options = world.push().set("KINESIS_STREAM", "wide");
    options.clock = Some(clock.clone());
    let (host, url) = host(options).await;
    assert_eq!(drain(&url, "max-messages=1").await.status, 200);
    let size = || host.database.value("kinesis-reader/wide").expect("it is there").len();
    let before = positions(&url).await;
    assert_eq!(before.len(), SHARDS as usize);

    host.database.takes_at_most(size() + 500);
    let answer = refused(&url, &clock, || host.database.has_refused()).await;
    let report = answer.json();
    assert_eq!((answer.status, &report["outcome"]), (503, &json!("store-failed")), "{report}");
    assert!(report["why"].as_str().is_some_and(|why| why.contains("too large")), "{report}");
    assert!(
        report["hint"].as_str().is_some_and(|hint| hint.contains("too large") && hint.contains("shards")),
        "{report}"
    );
    assert_eq!((positions(&url).await, world.sink.numbers().len()), (before, 1000), "delivered, and not kept");

    // The lease ends by itself, and a store that takes more goes on where the last commit was.
    host.database.takes_at_most(usize::MAX);
    ahead(&clock, 200_000);
    assert_eq!(drain(&url, "").await.json()["messages"], 999, "they come again");
    assert_eq!(world.sink.numbers(), (0..1000).collect());
    assert!(size() < BYTES_BESIDE + SHARDS as usize * BYTES_PER_SHARD, "{} bytes for {SHARDS} shards", size());
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_wait_for_their_acknowledgement_take_as_much_again() {
    let world = World::new().await;
    world.emulator.create("wide", SHARDS).await;
    world.emulator.put("wide", 0..1000).await;
    let (host, url) = host(world.pull().set("KINESIS_STREAM", "wide")).await;
    let first = drain(&url, "max-messages=500").await;
    let second = drain(&url, &format!("ack={}", first.header("x-kinesis-ack"))).await;
    assert_eq!(
        (second.status, positions(&url).await.len()),
        (200, SHARDS as usize),
        "some wait, and some were acknowledged"
    );
    let size = host.database.value("kinesis-reader/wide").expect("it is there").len();
    assert!(size < BYTES_BESIDE + 2 * SHARDS as usize * BYTES_PER_SHARD, "{size} bytes for {SHARDS} shards");
}

/// As DynamoDB answers where the item is too large, or where we may not write.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_takes_no_write_is_given_up_before_anything_is_read() {
    let world = World::new().await;
    let puts = Arc::new(AtomicUsize::new(0));
    let counted = puts.clone();
    let app = axum::Router::new().fallback(async move |headers: HeaderMap| {
        if headers["x-amz-target"] == "DynamoDB_20120810.GetItem" {
            return (StatusCode::OK, "{}");
        }
        counted.fetch_add(1, Ordering::SeqCst);
        let name = r#"{"__type":"com.amazon.coral.validate#ValidationException","message":"Item size has exceeded"}"#;
        (StatusCode::BAD_REQUEST, name)
    });
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
    let database = format!("http://{}", listener.local_addr().expect("it is bound"));
    tokio::spawn(async move { axum::serve(listener, app).await });

    let clock = world.folder.path().join("clock");
    ahead(&clock, 0);
    let mut options = Options::new(Build::Http, world.store(), &world.emulator.url, STREAM);
    options = options.set("SINK_URL", &world.sink.url).set("DYNAMODB_ENDPOINT_URL", &database);
    options.clock = Some(clock.clone());
    let (host, url) = host(options).await;
    let answer = refused(&url, &clock, || puts.load(Ordering::SeqCst) > 0).await;
    assert_eq!((answer.status, host.events.count(Event::KinesisAsked)), (503, 0), "{answer:?}");
    assert!(answer.text.contains("ValidationException: Item size has exceeded"), "{answer:?}");
    assert!(puts.load(Ordering::SeqCst) < 20, "it is not asked without a pause");
}
