//! Sinks that are slow, on a clock that passes when a batch comes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use serde_json::json;
use tests::edge::Options;
use tests::edge::client::drain;
use tests::edge::events::Event;
use tests::edge::sink::Sink;
use tests::edge::stub::before;

use super::{STREAM, World, ahead, host, positions};

/// With this many shards a drain has as many batches.
const SHARDS: u32 = 8;

/// A stream of which each batch takes the sink so long, in milliseconds.
async fn slow(world: &World, takes: i64) -> Options {
    world.emulator.create("wide", SHARDS).await;
    world.emulator.put("wide", 0..400).await;
    let clock = world.folder.path().join("monotonic");
    ahead(&clock, 0);
    passes(&world.sink, &clock, takes);
    let mut options = world.push().set("KINESIS_STREAM", "wide").set("SINK_TIMEOUT_SECONDS", "3600");
    options = options.set("LEASE_SECONDS", "3600");
    options.monotonic = Some(clock);
    options
}

/// With each batch so much time passes.
fn passes(sink: &Sink, clock: &Path, takes: i64) {
    let (passed, clock): (_, PathBuf) = (Arc::new(AtomicI64::new(0)), clock.to_owned());
    sink.calls(move || ahead(&clock, passed.fetch_add(takes, Ordering::SeqCst) + takes));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_batch_is_begun_without_time_for_it() {
    let world = World::new().await;
    let (host, url) = host(slow(&world, 200_000).await).await;
    let mut batches = 0;
    loop {
        let before = host.events.count(Event::SinkAsked);
        // Room for three, and not for four.
        let answer = drain(&url, "max-ms=750000").await;
        let report = answer.json();
        let begun = host.events.count(Event::SinkAsked) - before;
        assert_eq!(
            (answer.status, report["batches"].as_u64()),
            (200, Some(begun as u64)),
            "each was finished: {report}"
        );
        assert!(begun <= 3, "{report}");
        batches += begun;
        if report["outcome"] == "caught-up" {
            break;
        }
        assert_eq!((&report["outcome"], begun), (&json!("max-ms"), 3), "{report}");
    }
    assert_eq!(batches, world.sink.batches().len());
    assert_eq!((world.sink.count(), world.sink.numbers()), (400, (0..400).collect()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_is_too_slow_for_a_single_batch_is_told_as_failed() {
    let world = World::new().await;
    let options = slow(&world, 0).await;
    let clock = options.monotonic.clone().expect("it is set");
    let (_host, url) = host(options).await;
    // It thinks for as long as the drain waits.
    world.sink.holds(true);
    for (query, whose) in [("max-ms=300", "max-ms"), ("max-ms=500&max-messages=1", "max-ms")] {
        let answer = drain(&url, query).await;
        let report = answer.json();
        assert_eq!((answer.status, &report["outcome"], &report["messages"]), (502, &json!("sink-failed"), &json!(0)));
        assert!(report["why"].as_str().is_some_and(|why| why.contains(whose)), "{report}");
        assert!(report["why"].as_str().is_some_and(|why| why.contains("larger")), "what to do: {report}");
    }
    assert_eq!(world.sink.count(), 0);
    world.sink.holds(false);
    // A batch that takes all there is, is kept; the next is not begun.
    passes(&world.sink, &clock, 590_000);
    let report = drain(&url, "").await.json();
    assert_eq!((&report["outcome"], &report["batches"]), (&json!("max-ms"), &json!(1)), "{report}");
    assert!(positions(&url).await.iter().any(|(_, position)| position.contains("after")));
}

/// Kinesis takes all the time there is.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_that_brought_nothing_says_what_was_in_the_way() {
    let world = World::new().await;
    world.emulator.put(STREAM, 0..10).await;
    let clock = world.folder.path().join("monotonic");
    ahead(&clock, 0);
    let passing = clock.clone();
    let kinesis = before(&world.emulator.url, move |operation, reply| {
        if operation == "GetRecords" {
            ahead(&passing, 700_000);
        }
        reply
    })
    .await;
    let mut options = world.push().set("KINESIS_ENDPOINT_URL", &kinesis);
    options.monotonic = Some(clock);
    let (host, url) = host(options).await;
    let report = drain(&url, "").await.json();
    assert_eq!((&report["outcome"], &report["messages"]), (&json!("max-ms"), &json!(0)), "{report}");
    assert!(report["why"].as_str().is_some_and(|why| why.contains("GetRecords")), "{report}");
    assert_eq!(host.events.count(Event::SinkAsked), 0);
}
