//! Leases that do not end by themselves, and operators who free them.

use std::time::Duration;

use edge_tests::TOKEN;
use edge_tests::client::{Answer, call, drain, status};
use edge_tests::events::Event;
use edge_tests::host::Host;
use serde_json::{Value, json};

use super::{Fixture, KEY, STREAM, host, positions, set_clock};

async fn release(url: &str) -> Answer {
    call("POST", &format!("{url}/lease/release"), Some(TOKEN)).await.expect("the host answers")
}

/// Returns the value in the store.
fn value(host: &Host) -> Value {
    serde_json::from_slice(&host.database.value(KEY).expect("there is a value")).expect("the value is JSON")
}

/// Changes a member of the value by hand, as an operator may.
fn set_member(host: &Host, name: &str, member: Value) {
    let mut value = value(host);
    value[name] = member;
    host.database.put(KEY, value.to_string().as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn freeing_a_lease_until_the_year_9999_keeps_the_checkpoint() {
    let fixture = Fixture::new().await;
    fixture.emulator.put(STREAM, 0..100).await;
    let (host, url) = host(fixture.push()).await;
    drain(&url, "max-messages=40").await;
    let before = positions(&url).await;
    let requests = host.events.count(Event::KinesisAsked);
    for until in [253_402_300_799_999_u64, u64::MAX] {
        set_member(&host, "until", json!(until));
        let stored = value(&host);

        let answer = drain(&url, "").await;
        assert_eq!((answer.status, answer.header("retry-after")), (409, ""), "waiting does not help: {answer:?}");
        let error = answer.json();
        let hint = error["hint"].as_str().expect("an error has a hint");
        assert!(hint.contains("POST /lease/release") && hint.contains("clock"), "{error}");
        assert_eq!((value(&host), host.events.count(Event::KinesisAsked)), (stored, requests), "nothing was done");
        let lease = status(&url).await["lease"].clone();
        assert_eq!((&lease["held"], &lease["until"]), (&json!(true), &json!(until)));
        assert!(lease["hint"].as_str().is_some_and(|hint| hint.contains("POST /lease/release")), "{lease}");

        let answer = release(&url).await;
        assert_eq!((answer.status, &answer.json()["released"]), (200, &json!(true)), "{answer:?}");
        assert_eq!(value(&host)["until"], 0);
        assert_eq!(positions(&url).await, before);
        assert_eq!(release(&url).await.json()["released"], false, "the lease is free already");
    }
    assert_eq!(drain(&url, "").await.json()["messages"], 60);
    assert_eq!((fixture.sink.count(), fixture.sink.numbers()), (100, (0..100).collect()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_whose_end_is_set_to_0_by_hand_is_free() {
    let fixture = Fixture::new().await;
    fixture.emulator.put(STREAM, 0..100).await;
    let (host, url) = host(fixture.push()).await;
    drain(&url, "max-messages=40").await;
    set_member(&host, "until", json!(253_402_300_799_999_u64));
    assert_eq!(drain(&url, "").await.status, 409);
    set_member(&host, "until", json!(0));
    assert_eq!(drain(&url, "").await.json()["messages"], 60);
    assert_eq!(fixture.sink.count(), 100);
}

/// A host's clock may be ahead or behind by any amount.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_with_a_wrong_clock_does_no_harm_to_the_others() {
    const YEAR: i64 = 365 * 86_400_000;
    let fixture = Fixture::new().await;
    fixture.emulator.put(STREAM, 0..100).await;
    let clock = fixture.folder.path().join("clock");
    let mut options = fixture.push();
    options.clock = Some(clock.clone());
    let (wrong, wrong_url) = host(options).await;
    let (_right, url) = host(fixture.push()).await;
    let mut drained = 0;
    for offset in [0, 3_000_000, YEAR, 14 * YEAR, 7_973 * YEAR, -YEAR, -126 * YEAR] {
        set_clock(&clock, offset);
        leave_lease(&wrong, &wrong_url, offset).await;
        let answer = drain(&url, "max-messages=5").await;
        if answer.status == 409 {
            assert!(answer.json()["hint"].as_str().is_some_and(|hint| hint.contains("/lease/release")), "{answer:?}");
            assert_eq!(release(&url).await.json()["released"], true);
            assert_eq!(drain(&url, "max-messages=5").await.status, 200);
        }
        drained += 5;
        assert_eq!(fixture.sink.count(), drained, "{offset}");
    }
    assert_eq!(drain(&url, "").await.json()["outcome"], "caught-up");
    assert_eq!((fixture.sink.count(), fixture.sink.numbers()), (100, (0..100).collect()));
}

/// Changes the value as if a host with this clock had taken the lease and died.
async fn leave_lease(host: &Host, url: &str, offset: i64) {
    if host.database.value(KEY).is_none() {
        // This creates the value, although it fails because of the unknown `ack`.
        call("POST", &format!("{url}/drain?ack=none"), Some(TOKEN)).await.expect("the host answers");
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is past 1970");
    let now = i64::try_from(now.as_millis()).expect("the time fits").saturating_add(offset).max(0);
    set_member(host, "until", json!(now + 60_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn freeing_the_lease_requires_the_token() {
    let fixture = Fixture::new().await;
    let (host, url) = host(fixture.push()).await;
    drain(&url, "").await;
    set_member(&host, "until", json!(253_402_300_799_999_u64));
    let stored = value(&host);
    for (method, path, token, expected) in [
        ("POST", "lease/release", None, 401),
        ("POST", "lease/release", Some("another secret"), 401),
        ("GET", "lease/release", Some(TOKEN), 405),
        ("DELETE", "lease/release", Some(TOKEN), 405),
        ("POST", "lease/release?force=1", Some(TOKEN), 400),
        ("POST", "release", Some(TOKEN), 404),
        ("POST", "drain/release", Some(TOKEN), 404),
    ] {
        let answer = call(method, &format!("{url}/{path}"), token).await.expect("the host answers");
        assert_eq!(answer.status, expected, "{method} /{path}: {answer:?}");
        assert!(answer.json()["hint"].is_string(), "{answer:?}");
    }
    assert_eq!(value(&host), stored);
    // Spin routes with a prefix.
    let answer = call("POST", &format!("{url}/kinesis/lease/release"), Some(TOKEN)).await.expect("the host answers");
    assert_eq!((answer.status, &answer.json()["released"]), (200, &json!(true)), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_or_damaged_value_is_not_changed_by_a_release() {
    let fixture = Fixture::new().await;
    let (host, url) = host(fixture.push()).await;
    assert_eq!(release(&url).await.json()["released"], false);
    assert_eq!(host.database.value(KEY), None, "no value is created");
    for damaged in [&b"\xff"[..], b"{}", br#"{"version":2}"#] {
        host.database.put(KEY, damaged);
        let answer = release(&url).await;
        assert_eq!((answer.status, host.database.value(KEY).as_deref()), (500, Some(damaged)), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn freeing_the_lease_takes_it_from_a_running_drain() {
    let fixture = Fixture::new().await;
    fixture.emulator.put(STREAM, 0..100).await;
    fixture.sink.hold(true);
    let (first, url) = host(fixture.push().set("SINK_TIMEOUT_SECONDS", "600")).await;
    let (_second, other) = host(fixture.push()).await;
    let running = {
        let url = url.clone();
        tokio::spawn(async move { drain(&url, "").await })
    };
    while first.events.count(Event::SinkAsked) == 0 && !running.is_finished() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(release(&other).await.json()["released"], true);
    fixture.sink.hold(false);
    let answer = running.await.expect("the drain does not panic");
    assert_eq!((answer.status, &answer.json()["outcome"]), (409, &json!("lease-lost")), "{answer:?}");
    assert!(positions(&url).await.is_empty(), "what it delivered is not committed");
    assert_eq!(drain(&other, "").await.json()["messages"], 100, "the messages come again");
    assert_eq!(fixture.sink.numbers(), (0..100).collect());
}
