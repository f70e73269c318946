//! What the component answers to each request, and what it leaves in the store.

use std::time::Duration;

use axum::http::StatusCode;
use edge_tests::TOKEN;
use edge_tests::client::{call, drain, status};
use edge_tests::events::Event;
use serde_json::json;

use super::{Fixture, KEY, host, positions, set_clock};

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_delivers_new_messages_within_its_bounds() {
    let fixture = Fixture::new().await;
    fixture.emulator.put(super::STREAM, 0..1000).await;
    let (_host, url) = host(fixture.push()).await;
    assert_eq!(status(&url).await, json!({"stream": "orders", "begun": false}));

    let answer = drain(&url, "max-messages=300").await;
    let report = answer.json();
    assert_eq!((answer.status, &report["outcome"], &report["messages"]), (200, &json!("max-messages"), &json!(300)));
    assert_eq!((report["epoch"].clone(), fixture.sink.count()), (json!(1), 300));

    let report = drain(&url, "max-bytes=20000").await.json();
    assert_eq!((&report["outcome"], &report["epoch"]), (&json!("max-bytes"), &json!(2)));
    assert!(report["bytes"].as_u64() >= Some(20_000), "{report}");

    // One request describes the stream, one lists its shards, and each shard needs an iterator: none is left for a
    // page.
    let before = fixture.sink.count();
    let report = drain(&url, "max-requests=4").await.json();
    assert_eq!((&report["outcome"], &report["requests"]), (&json!("max-requests"), &json!(4)));
    assert_eq!(fixture.sink.count(), before);

    let answer = drain(&url, "").await;
    let report = answer.json();
    assert_eq!((answer.status, &report["outcome"]), (200, &json!("caught-up")), "{report}");
    let shards = report["shards"].as_array().expect("the report lists all shards");
    assert!(shards.len() == 2 && shards.iter().all(|shard| shard["position"]["after"].is_string()), "{report}");
    assert_eq!((fixture.sink.count(), fixture.sink.numbers().len()), (1000, 1000));

    fixture.emulator.put(super::STREAM, 1000..1100).await;
    let report = drain(&url, "").await.json();
    assert_eq!((&report["outcome"], &report["messages"]), (&json!("caught-up"), &json!(100)));
    assert_eq!(fixture.sink.numbers(), (0..1100).collect());
    let status = status(&url).await;
    assert_eq!((&status["lease"]["held"], &status["lease"]["epoch"]), (&json!(false), &json!(5)));
    assert_eq!(status["shards"]["shardId-000000000001"]["behind_ms"], json!(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_requests_are_rejected_before_anything_is_done() {
    let fixture = Fixture::new().await;
    let (host, url) = host(fixture.push()).await;
    let (long, empty) = (format!("drain?ack={}", "x".repeat(2_000)), format!("drain?{}", "&".repeat(2_000)));
    let cases = [
        ("GET", "drain", Some(TOKEN), 405),
        ("PUT", "drain", Some(TOKEN), 405),
        ("POST", "status", Some(TOKEN), 405),
        ("POST", "drain", None, 401),
        ("POST", "drain", Some("another secret"), 401),
        ("POST", "drain", Some("a long secre"), 401),
        ("GET", "status", Some(""), 401),
        ("POST", "", Some(TOKEN), 404),
        ("POST", "drain?max-ms=0", Some(TOKEN), 400),
        ("POST", "drain?max-messages=all", Some(TOKEN), 400),
        ("POST", "drain?messages=1", Some(TOKEN), 400),
        ("POST", "drain?ack=1234", Some(TOKEN), 400),
        ("POST", "drain?max-ms=18446744073709551615", Some(TOKEN), 400),
        ("POST", "drain?max-ms=18446744073709551616", Some(TOKEN), 400),
        ("POST", "drain?max-ms=-1", Some(TOKEN), 400),
        ("POST", "drain?max-ms=+1", Some(TOKEN), 400),
        ("POST", "drain?max-ms=1e3", Some(TOKEN), 400),
        ("POST", "drain?max-ms", Some(TOKEN), 400),
        ("POST", "drain?max-ms=1000&max-ms=1000", Some(TOKEN), 400),
        ("POST", "drain?ack=1&ack=2", Some(TOKEN), 400),
        ("POST", "drain?=", Some(TOKEN), 400),
        ("GET", "status?verbose", Some(TOKEN), 400),
        ("POST", long.as_str(), Some(TOKEN), 400),
        ("POST", empty.as_str(), Some(TOKEN), 400),
    ];
    for (method, path, token, expected) in cases {
        let answer = call(method, &format!("{url}/{path}"), token).await.expect("the host answers");
        assert_eq!(answer.status, expected, "{method} /{path}: {answer:?}");
        let error = answer.json();
        assert!(error["error"].is_string() && error["hint"].is_string() && answer.text.len() < 4_000, "{error}");
        match expected {
            401 => assert_eq!(answer.header("www-authenticate"), "Bearer"),
            405 => assert!(["GET", "POST"].contains(&answer.header("allow"))),
            _ => {}
        }
    }
    assert_eq!(host.events.count(Event::KinesisAsked), 0);
    let status = status(&url).await;
    assert_eq!(status["lease"]["held"].as_bool(), Some(false), "the drain did not give it back: {status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_settings_are_reported_to_authorized_callers() {
    let fixture = Fixture::new().await;
    for (name, value) in [
        ("KINESIS_STREAM", ""),
        ("AWS_REGION", "Mars!"),
        ("AWS_SECRET_ACCESS_KEY", ""),
        ("KINESIS_ENDPOINT_URL", "kinesis"),
        ("KINESIS_START", "yesterday"),
        ("KINESIS_START", "-1"),
        ("KINESIS_START", "253402300800000"),
        ("KINESIS_START", "18446744073709551615"),
        ("KINESIS_PACE", "fast"),
        ("KINESIS_RECREATED", "yes"),
        ("REQUIRE_CHECKPOINT", "perhaps"),
        ("SINK_URL", "ftp://sink"),
        ("SINK_URL", "http://user:SECRET@127.0.0.1:1/"),
        ("SINK_AUTHORIZATION", "Bearer SECRET\n"),
        ("DEAD_LETTER_URL", "http://user:SECRET@127.0.0.1:1/"),
        ("KINESIS_ENDPOINT_URL", "http://user:SECRET@127.0.0.1:1/"),
        ("LEASE_SECONDS", "18446744073709551615"),
        ("LEASE_SECONDS", "0"),
        ("LEASE_SECONDS", "soon"),
    ] {
        let (_host, url) = host(fixture.push().set(name, value)).await;
        let answer = drain(&url, "").await;
        assert_eq!(answer.status, 500, "{answer:?}");
        assert!(answer.text.contains(name) && answer.text.contains("hint"), "{answer:?}");
        assert!(!answer.text.contains("SECRET\\n") && !answer.text.contains("user:SECRET"), "{answer:?}");
        let answer = call("POST", &format!("{url}/drain"), Some("no")).await.expect("the host answers");
        assert_eq!(answer.status, 401, "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_that_finds_the_lease_held_sends_nothing_to_kinesis() {
    let fixture = Fixture::new().await;
    fixture.emulator.put(super::STREAM, 0..10).await;
    fixture.sink.hold(true);
    let (first, url) = host(fixture.push().set("SINK_TIMEOUT_SECONDS", "600")).await;
    let (second, other) = host(fixture.push()).await;
    let running = tokio::spawn(async move { drain(&url, "").await });
    while first.events.count(Event::SinkAsked) == 0 && !running.is_finished() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let answer = drain(&other, "").await;
    assert_eq!(answer.status, 409, "{answer:?}");
    let retry_after: u64 = answer.header("retry-after").parse().expect("a number of seconds");
    assert!((1..=62).contains(&retry_after), "{answer:?}");
    assert_eq!(second.events.count(Event::KinesisAsked), 0);
    assert_eq!(status(&other).await["lease"]["held"], true);
    fixture.sink.hold(false);
    assert_eq!(running.await.expect("the drain does not panic").status, 200);
    assert_eq!(drain(&other, "").await.json()["messages"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_may_fail_before_or_after_reading() {
    let fixture = Fixture::new().await;
    let clock = fixture.folder.path().join("clock");
    set_clock(&clock, 0);
    let mut options = fixture.push();
    options.clock = Some(clock.clone());
    let (host, url) = host(options).await;
    fixture.emulator.put(super::STREAM, 0..10).await;
    assert_eq!(drain(&url, "").await.status, 200);
    fixture.emulator.put(super::STREAM, 10..20).await;
    let before = positions(&url).await;
    let requests = host.events.count(Event::KinesisAsked);

    // The drain retries for some seconds, which pass faster here.
    let drain_with_failing_store = async |calls: usize, jump: i64| {
        host.database.fail_after(calls);
        let answer = drain(&url, "");
        let jumped = async {
            while !host.database.has_failed() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            set_clock(&clock, jump);
        };
        let (answer, ()) = tokio::join!(answer, jumped);
        host.database.fail_after(usize::MAX);
        answer
    };
    let answer = drain_with_failing_store(0, 10_000).await;
    assert_eq!((answer.status, host.events.count(Event::KinesisAsked)), (503, requests), "{answer:?}");
    assert_eq!((positions(&url).await, fixture.sink.count()), (before.clone(), 10));

    // Acquiring the lease takes three calls: a read, a swap and a read.
    let answer = drain_with_failing_store(3, 20_000).await;
    assert_eq!((answer.status, &answer.json()["outcome"]), (503, &json!("store-failed")), "{answer:?}");
    assert!(!answer.header("retry-after").is_empty(), "{answer:?}");
    assert_eq!((positions(&url).await, fixture.sink.count()), (before, 20), "delivered but not committed");

    // The lease ends by itself.
    assert_eq!(drain(&url, "").await.status, 409);
    set_clock(&clock, 100_000);
    assert_eq!(drain(&url, "").await.json()["messages"], 10, "the messages come again");
    assert_eq!(fixture.sink.numbers(), (0..20).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_cannot_be_parsed_is_reported_and_left_alone() {
    let fixture = Fixture::new().await;
    let (host, url) = host(fixture.push()).await;
    for value in [&b"\x00\xff"[..], b"{}", br#"{"version":2,"epoch":7,"more":true}"#] {
        host.database.put(KEY, value);
        let answer = drain(&url, "").await;
        assert_eq!(answer.status, 500, "{answer:?}");
        assert!(answer.text.contains("hint"), "{answer:?}");
        let answer = call("GET", &format!("{url}/status"), Some(TOKEN)).await.expect("the host answers");
        assert_eq!(answer.status, 500, "{answer:?}");
        assert_eq!(host.database.value(KEY).as_deref(), Some(value));
    }
    assert_eq!(host.events.count(Event::KinesisAsked), 0);
}

/// Starts a Kinesis that answers everything with this error.
async fn failing_kinesis(name: &'static str) -> String {
    let body = format!(r#"{{"__type":"{name}","message":"scripted answer"}}"#);
    let app = axum::Router::new().fallback(async move || (StatusCode::BAD_REQUEST, body.clone()));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
    let url = format!("http://{}", listener.local_addr().expect("the listener is bound"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_of_kinesis_do_not_move_the_positions() {
    let fixture = Fixture::new().await;
    fixture.emulator.put(super::STREAM, 0..20).await;
    let (_host, good) = host(fixture.push()).await;
    drain(&good, "max-messages=5").await;
    let before = positions(&good).await;

    // The pause after a failure is longer than the time left.
    let throttled = failing_kinesis("LimitExceededException").await;
    let (_host, url) = host(fixture.push().set("KINESIS_ENDPOINT_URL", &throttled)).await;
    let answer = drain(&url, "max-ms=400").await;
    let report = answer.json();
    assert_eq!(
        (answer.status, &report["outcome"], &report["messages"]),
        (200, &json!("max-ms"), &json!(0)),
        "{report}"
    );
    assert_eq!(positions(&url).await, before);

    let not_found = failing_kinesis("ResourceNotFoundException").await;
    let (_host, url) = host(fixture.push().set("KINESIS_ENDPOINT_URL", &not_found)).await;
    let answer = drain(&url, "").await;
    assert_eq!((answer.status, &answer.json()["outcome"]), (502, &json!("failed")), "{answer:?}");
    assert!(answer.text.contains("ResourceNotFoundException"), "{answer:?}");
    assert_eq!(positions(&url).await, before);

    // An endpoint that cannot be reached is retried until the time is up or the reader gives up.
    let (_host, url) = host(fixture.push().set("KINESIS_ENDPOINT_URL", "http://127.0.0.1:1")).await;
    let answer = drain(&url, "max-ms=300").await;
    assert!(["max-ms", "failed"].map(|outcome| json!(outcome)).contains(&answer.json()["outcome"]), "{answer:?}");
    assert_eq!(positions(&url).await, before);

    drain(&good, "").await;
    assert_eq!((fixture.sink.count(), fixture.sink.numbers().len()), (20, 20));
}
