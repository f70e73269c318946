//! A lease that does not end by itself, and the operator who frees it.

use std::time::Duration;

use serde_json::{Value, json};
use tests::edge::client::{Answer, TOKEN, ask, drain, status};
use tests::edge::events::Event;
use tests::edge::host::Host;

use super::{KEY, STREAM, World, ahead, host, positions};

async fn release(url: &str) -> Answer {
    ask("POST", &format!("{url}/lease/release"), Some(TOKEN)).await.expect("the host answers")
}

/// The value in the store.
fn value(host: &Host) -> Value {
    serde_json::from_slice(&host.database.value(KEY).expect("it is there")).expect("it is JSON")
}

/// Changes the value as an operator does by hand.
fn change(host: &Host, member: &str, to: Value) {
    let mut value = value(host);
    value[member] = to;
    host.database.put(KEY, value.to_string().as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_until_the_year_9999_is_freed_with_its_checkpoint() {
    let world = World::new().await;
    world.emulator.put(STREAM, 0..100).await;
    let (host, url) = host(world.push()).await;
    drain(&url, "max-messages=40").await;
    let before = positions(&url).await;
    let asked = host.events.count(Event::KinesisAsked);
    for until in [253_402_300_799_999_u64, u64::MAX] {
        change(&host, "until", json!(until));
        let there = value(&host);

        let answer = drain(&url, "").await;
        assert_eq!((answer.status, answer.header("retry-after")), (409, ""), "to wait does not help: {answer:?}");
        let told = answer.json();
        let hint = told["hint"].as_str().expect("it has a hint");
        assert!(hint.contains("POST /lease/release") && hint.contains("clock"), "{told}");
        assert_eq!((value(&host), host.events.count(Event::KinesisAsked)), (there, asked), "nothing was touched");
        let lease = status(&url).await["lease"].clone();
        assert_eq!((&lease["held"], &lease["until"]), (&json!(true), &json!(until)));
        assert!(lease["hint"].as_str().is_some_and(|hint| hint.contains("POST /lease/release")), "{lease}");

        let answer = release(&url).await;
        assert_eq!((answer.status, &answer.json()["released"]), (200, &json!(true)), "{answer:?}");
        assert_eq!(value(&host)["until"], 0);
        assert_eq!(positions(&url).await, before);
        assert_eq!(release(&url).await.json()["released"], false, "there is nothing left to free");
    }
    assert_eq!(drain(&url, "").await.json()["messages"], 60);
    assert_eq!((world.sink.count(), world.sink.numbers()), (100, (0..100).collect()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_whose_end_is_set_to_0_by_hand_is_free() {
    let world = World::new().await;
    world.emulator.put(STREAM, 0..100).await;
    let (host, url) = host(world.push()).await;
    drain(&url, "max-messages=40").await;
    change(&host, "until", json!(253_402_300_799_999_u64));
    assert_eq!(drain(&url, "").await.status, 409);
    change(&host, "until", json!(0));
    assert_eq!(drain(&url, "").await.json()["messages"], 60);
    assert_eq!(world.sink.count(), 100);
}

/// Of a host whose clock is ahead, or behind, by anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_with_a_wrong_clock_is_told_and_changes_nothing_for_the_others() {
    const YEAR: i64 = 365 * 86_400_000;
    let world = World::new().await;
    world.emulator.put(STREAM, 0..100).await;
    let clock = world.folder.path().join("clock");
    let mut options = world.push();
    options.clock = Some(clock.clone());
    let (wrong, wrong_url) = host(options).await;
    let (_right, url) = host(world.push()).await;
    let mut drained = 0;
    for beside in [0, 3_000_000, YEAR, 14 * YEAR, 7_973 * YEAR, -YEAR, -126 * YEAR] {
        ahead(&clock, beside);
        // It dies with the lease in its hands.
        change_or_begin(&wrong, &wrong_url, beside).await;
        let answer = drain(&url, "max-messages=5").await;
        if answer.status == 409 {
            assert!(answer.json()["hint"].as_str().is_some_and(|hint| hint.contains("/lease/release")), "{answer:?}");
            assert_eq!(release(&url).await.json()["released"], true);
            assert_eq!(drain(&url, "max-messages=5").await.status, 200);
        }
        drained += 5;
        assert_eq!(world.sink.count(), drained, "{beside}");
    }
    assert_eq!(drain(&url, "").await.json()["outcome"], "caught-up");
    assert_eq!((world.sink.count(), world.sink.numbers()), (100, (0..100).collect()));
}

/// Leaves the value as a host leaves it that took the lease by its clock and died.
async fn change_or_begin(host: &Host, url: &str, beside: i64) {
    if host.database.value(KEY).is_none() {
        // A drain that is refused what it acknowledges has made the value, and gave it back.
        ask("POST", &format!("{url}/drain?ack=none"), Some(TOKEN)).await.expect("the host answers");
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is past 1970");
    let now = i64::try_from(now.as_millis()).expect("not for long").saturating_add(beside).max(0);
    change(host, "until", json!(now + 60_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_drain_may_not_free_the_lease() {
    let world = World::new().await;
    let (host, url) = host(world.push()).await;
    drain(&url, "").await;
    change(&host, "until", json!(253_402_300_799_999_u64));
    let there = value(&host);
    for (method, path, token, expected) in [
        ("POST", "lease/release", None, 401),
        ("POST", "lease/release", Some("another secret"), 401),
        ("GET", "lease/release", Some(TOKEN), 405),
        ("DELETE", "lease/release", Some(TOKEN), 405),
        ("POST", "lease/release?force=1", Some(TOKEN), 400),
        ("POST", "release", Some(TOKEN), 404),
        ("POST", "drain/release", Some(TOKEN), 404),
    ] {
        let answer = ask(method, &format!("{url}/{path}"), token).await.expect("the host answers");
        assert_eq!(answer.status, expected, "{method} /{path}: {answer:?}");
        assert!(answer.json()["hint"].is_string(), "{answer:?}");
    }
    assert_eq!(value(&host), there);
    // As Spin routes it.
    let answer = ask("POST", &format!("{url}/kinesis/lease/release"), Some(TOKEN)).await.expect("the host answers");
    assert_eq!((answer.status, &answer.json()["released"]), (200, &json!(true)), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_there_is_nothing_to_free() {
    let world = World::new().await;
    let (host, url) = host(world.push()).await;
    assert_eq!(release(&url).await.json()["released"], false);
    assert_eq!(host.database.value(KEY), None, "and nothing is made");
    for damaged in [&b"\xff"[..], b"{}", br#"{"version":2}"#] {
        host.database.put(KEY, damaged);
        let answer = release(&url).await;
        assert_eq!((answer.status, host.database.value(KEY).as_deref()), (500, Some(damaged)), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_at_work_loses_a_lease_that_is_freed() {
    let world = World::new().await;
    world.emulator.put(STREAM, 0..100).await;
    world.sink.holds(true);
    let (first, url) = host(world.push().set("SINK_TIMEOUT_SECONDS", "600")).await;
    let (_second, other) = host(world.push()).await;
    let working = {
        let url = url.clone();
        tokio::spawn(async move { drain(&url, "").await })
    };
    while first.events.count(Event::SinkAsked) == 0 && !working.is_finished() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(release(&other).await.json()["released"], true);
    world.sink.holds(false);
    let answer = working.await.expect("it ends");
    assert_eq!((answer.status, &answer.json()["outcome"]), (409, &json!("lease-lost")), "{answer:?}");
    assert!(positions(&url).await.is_empty(), "what it delivered is not kept");
    assert_eq!(drain(&other, "").await.json()["messages"], 100, "and comes again");
    assert_eq!(world.sink.numbers(), (0..100).collect());
}
