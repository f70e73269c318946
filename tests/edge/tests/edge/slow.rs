//! Slow sinks, with a clock that advances with each batch.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use edge_tests::Options;
use edge_tests::client::drain;
use edge_tests::events::Event;
use edge_tests::sink::Sink;
use edge_tests::stub::intercept;
use serde_json::json;

use super::{Fixture, STREAM, host, positions, set_clock};

/// A drain has as many batches as there are shards.
const SHARDS: u32 = 8;

/// The options of a host that drains a stream into a sink which takes this many milliseconds for each batch.
async fn with_slow_sink(fixture: &Fixture, duration: i64) -> Options {
    fixture.emulator.create("wide", SHARDS).await;
    fixture.emulator.put("wide", 0..400).await;
    let clock = fixture.folder.path().join("monotonic");
    set_clock(&clock, 0);
    advance_with_each_batch(&fixture.sink, &clock, duration);
    let mut options = fixture.push().set("KINESIS_STREAM", "wide").set("SINK_TIMEOUT_SECONDS", "3600");
    options = options.set("LEASE_SECONDS", "3600");
    options.monotonic = Some(clock);
    options
}

/// Advances the clock by this many milliseconds with each batch.
fn advance_with_each_batch(sink: &Sink, clock: &Path, duration: i64) {
    let (elapsed, clock): (_, PathBuf) = (Arc::new(AtomicI64::new(0)), clock.to_owned());
    sink.on_batch(move || set_clock(&clock, elapsed.fetch_add(duration, Ordering::SeqCst) + duration));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_batch_is_started_without_time_for_it() {
    let fixture = Fixture::new().await;
    let (host, url) = host(with_slow_sink(&fixture, 200_000).await).await;
    let mut batches = 0;
    loop {
        let before = host.events.count(Event::SinkAsked);
        // Enough time for three batches, but not for four.
        let answer = drain(&url, "max-ms=750000").await;
        let report = answer.json();
        let started = host.events.count(Event::SinkAsked) - before;
        assert_eq!(
            (answer.status, report["batches"].as_u64()),
            (200, Some(started as u64)),
            "each batch that was started is delivered: {report}"
        );
        assert!(started <= 3, "{report}");
        batches += started;
        if report["outcome"] == "caught-up" {
            break;
        }
        assert_eq!((&report["outcome"], started), (&json!("max-ms"), 3), "{report}");
    }
    assert_eq!(batches, fixture.sink.batches().len());
    assert_eq!((fixture.sink.count(), fixture.sink.numbers()), (400, (0..400).collect()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_too_slow_for_a_single_batch_is_reported_as_failed() {
    let fixture = Fixture::new().await;
    let options = with_slow_sink(&fixture, 0).await;
    let clock = options.monotonic.clone().expect("the options set a monotonic clock");
    let (_host, url) = host(options).await;
    // The sink takes longer than the drain waits.
    fixture.sink.hold(true);
    for (query, bound) in [("max-ms=300", "max-ms"), ("max-ms=500&max-messages=1", "max-ms")] {
        let answer = drain(&url, query).await;
        let report = answer.json();
        assert_eq!((answer.status, &report["outcome"], &report["messages"]), (502, &json!("sink-failed"), &json!(0)));
        assert!(report["why"].as_str().is_some_and(|why| why.contains(bound)), "{report}");
        assert!(report["why"].as_str().is_some_and(|why| why.contains("larger")), "no advice: {report}");
    }
    assert_eq!(fixture.sink.count(), 0);
    fixture.sink.hold(false);
    // A batch that takes nearly all the time is committed, and the next is not started.
    advance_with_each_batch(&fixture.sink, &clock, 590_000);
    let report = drain(&url, "").await.json();
    assert_eq!((&report["outcome"], &report["batches"]), (&json!("max-ms"), &json!(1)), "{report}");
    assert!(positions(&url).await.iter().any(|(_, position)| position.contains("after")));
}

/// Reading from Kinesis takes all the time.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_that_delivers_nothing_says_why() {
    let fixture = Fixture::new().await;
    fixture.emulator.put(STREAM, 0..10).await;
    let clock = fixture.folder.path().join("monotonic");
    set_clock(&clock, 0);
    let file = clock.clone();
    let kinesis = intercept(&fixture.emulator.url, move |operation, reply| {
        if operation == "GetRecords" {
            set_clock(&file, 700_000);
        }
        reply
    })
    .await;
    let mut options = fixture.push().set("KINESIS_ENDPOINT_URL", &kinesis);
    options.monotonic = Some(clock);
    let (host, url) = host(options).await;
    let report = drain(&url, "").await.json();
    assert_eq!((&report["outcome"], &report["messages"]), (&json!("max-ms"), &json!(0)), "{report}");
    assert!(report["why"].as_str().is_some_and(|why| why.contains("GetRecords")), "{report}");
    assert_eq!(host.events.count(Event::SinkAsked), 0);
}
