//! What is answered to whom, and what it leaves behind.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::json;
use tests::edge::client::{TOKEN, ask, drain, status};
use tests::edge::events::Event;

use super::{KEY, World, ahead, host, positions};

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_brings_what_is_new_within_its_bounds() {
    let world = World::new().await;
    world.emulator.put(super::STREAM, 0..1000).await;
    let (_host, url) = host(world.push()).await;
    assert_eq!(status(&url).await, json!({"stream": "orders", "begun": false}));

    let answer = drain(&url, "max-messages=300").await;
    let report = answer.json();
    assert_eq!((answer.status, &report["outcome"], &report["messages"]), (200, &json!("max-messages"), &json!(300)));
    assert_eq!((report["epoch"].clone(), world.sink.count()), (json!(1), 300));

    let report = drain(&url, "max-bytes=20000").await.json();
    assert_eq!((&report["outcome"], &report["epoch"]), (&json!("max-bytes"), &json!(2)));
    assert!(report["bytes"].as_u64() >= Some(20_000), "{report}");

    // A description, a listing and an iterator for each shard: nothing of it is a page.
    let before = world.sink.count();
    let report = drain(&url, "max-requests=4").await.json();
    assert_eq!((&report["outcome"], &report["requests"]), (&json!("max-requests"), &json!(4)));
    assert_eq!(world.sink.count(), before);

    let answer = drain(&url, "").await;
    let report = answer.json();
    assert_eq!((answer.status, &report["outcome"]), (200, &json!("caught-up")), "{report}");
    let shards = report["shards"].as_array().expect("it tells of each shard");
    assert!(shards.len() == 2 && shards.iter().all(|shard| shard["position"]["after"].is_string()), "{report}");
    assert_eq!((world.sink.count(), world.sink.numbers().len()), (1000, 1000));

    world.emulator.put(super::STREAM, 1000..1100).await;
    let report = drain(&url, "").await.json();
    assert_eq!((&report["outcome"], &report["messages"]), (&json!("caught-up"), &json!(100)));
    assert_eq!(world.sink.numbers(), (0..1100).collect());
    let told = status(&url).await;
    assert_eq!((&told["lease"]["held"], &told["lease"]["epoch"]), (&json!(false), &json!(5)));
    assert_eq!(told["shards"]["shardId-000000000001"]["behind_ms"], json!(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_drain_is_refused_before_anything_is_done() {
    let world = World::new().await;
    let (host, url) = host(world.push()).await;
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
        let answer = ask(method, &format!("{url}/{path}"), token).await.expect("the host answers");
        assert_eq!(answer.status, expected, "{method} /{path}: {answer:?}");
        let told = answer.json();
        assert!(told["error"].is_string() && told["hint"].is_string() && answer.text.len() < 4_000, "{told}");
        match expected {
            401 => assert_eq!(answer.header("www-authenticate"), "Bearer"),
            405 => assert!(["GET", "POST"].contains(&answer.header("allow"))),
            _ => {}
        }
    }
    assert_eq!(host.events.count(Event::KinesisAsked), 0);
    let told = status(&url).await;
    assert_eq!(told["lease"]["held"].as_bool(), Some(false), "the unknown `ack` gave the lease back: {told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_set_right_is_told_to_who_may_know() {
    let world = World::new().await;
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
        let (_host, url) = host(world.push().set(name, value)).await;
        let answer = drain(&url, "").await;
        assert_eq!(answer.status, 500, "{answer:?}");
        assert!(answer.text.contains(name) && answer.text.contains("hint"), "{answer:?}");
        assert!(!answer.text.contains("SECRET\\n") && !answer.text.contains("user:SECRET"), "{answer:?}");
        let answer = ask("POST", &format!("{url}/drain"), Some("no")).await.expect("the host answers");
        assert_eq!(answer.status, 401, "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_finds_it_held_is_sent_away_and_asks_kinesis_nothing() {
    let world = World::new().await;
    world.emulator.put(super::STREAM, 0..10).await;
    world.sink.holds(true);
    let (first, url) = host(world.push().set("SINK_TIMEOUT_SECONDS", "600")).await;
    let (second, other) = host(world.push()).await;
    let working = tokio::spawn(async move { drain(&url, "").await });
    while first.events.count(Event::SinkAsked) == 0 && !working.is_finished() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let answer = drain(&other, "").await;
    assert_eq!(answer.status, 409, "{answer:?}");
    let retry: u64 = answer.header("retry-after").parse().expect("a number of seconds");
    assert!((1..=62).contains(&retry), "{answer:?}");
    assert_eq!(second.events.count(Event::KinesisAsked), 0);
    assert_eq!(status(&other).await["lease"]["held"], true);
    world.sink.holds(false);
    assert_eq!(working.await.expect("it ends").status, 200);
    assert_eq!(drain(&other, "").await.json()["messages"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_down_before_the_read_or_after_it() {
    let world = World::new().await;
    let clock = world.folder.path().join("clock");
    ahead(&clock, 0);
    let mut options = world.push();
    options.clock = Some(clock.clone());
    let (host, url) = host(options).await;
    world.emulator.put(super::STREAM, 0..10).await;
    assert_eq!(drain(&url, "").await.status, 200);
    world.emulator.put(super::STREAM, 10..20).await;
    let before = positions(&url).await;
    let asked = host.events.count(Event::KinesisAsked);

    // The drain goes on asking the store for some seconds, which pass faster here.
    let unavailable = async |calls: usize, jump: i64| {
        host.database.go_down_after(calls);
        let answer = drain(&url, "");
        let jumped = async {
            while !host.database.has_refused() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            ahead(&clock, jump);
        };
        let (answer, ()) = tokio::join!(answer, jumped);
        host.database.go_down_after(usize::MAX);
        answer
    };
    let answer = unavailable(0, 10_000).await;
    assert_eq!((answer.status, host.events.count(Event::KinesisAsked)), (503, asked), "{answer:?}");
    assert_eq!((positions(&url).await, world.sink.count()), (before.clone(), 10));

    // It is acquired with a read, a swap and a read.
    let answer = unavailable(3, 20_000).await;
    assert_eq!((answer.status, &answer.json()["outcome"]), (503, &json!("store-failed")), "{answer:?}");
    assert!(!answer.header("retry-after").is_empty(), "{answer:?}");
    assert_eq!((positions(&url).await, world.sink.count()), (before, 20), "delivered, and not kept");

    // The lease ends by itself.
    assert_eq!(drain(&url, "").await.status, 409);
    ahead(&clock, 100_000);
    assert_eq!(drain(&url, "").await.json()["messages"], 10, "they come again");
    assert_eq!(world.sink.numbers(), (0..20).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_is_not_ours_is_told_of_and_left() {
    let world = World::new().await;
    let (host, url) = host(world.push()).await;
    for value in [&b"\x00\xff"[..], b"{}", br#"{"version":2,"epoch":7,"more":true}"#] {
        host.database.put(KEY, value);
        let answer = drain(&url, "").await;
        assert_eq!(answer.status, 500, "{answer:?}");
        assert!(answer.text.contains("hint"), "{answer:?}");
        let answer = ask("GET", &format!("{url}/status"), Some(TOKEN)).await.expect("the host answers");
        assert_eq!(answer.status, 500, "{answer:?}");
        assert_eq!(host.database.value(KEY).as_deref(), Some(value));
    }
    assert_eq!(host.events.count(Event::KinesisAsked), 0);
}

/// A Kinesis that always answers this error.
async fn errs(name: &'static str) -> String {
    let body = format!(r#"{{"__type":"{name}","message":"as it was told"}}"#);
    let app = axum::Router::new().fallback(async move || (StatusCode::BAD_REQUEST, body.clone()));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kinesis_that_gives_nothing_moves_nothing() {
    let world = World::new().await;
    world.emulator.put(super::STREAM, 0..20).await;
    let (_host, good) = host(world.push()).await;
    drain(&good, "max-messages=5").await;
    let before = positions(&good).await;

    // The pause after a failure is longer than what is left.
    let throttled = errs("LimitExceededException").await;
    let (_host, url) = host(world.push().set("KINESIS_ENDPOINT_URL", &throttled)).await;
    let answer = drain(&url, "max-ms=400").await;
    let report = answer.json();
    assert_eq!(
        (answer.status, &report["outcome"], &report["messages"]),
        (200, &json!("max-ms"), &json!(0)),
        "{report}"
    );
    assert_eq!(positions(&url).await, before);

    let denied = errs("ResourceNotFoundException").await;
    let (_host, url) = host(world.push().set("KINESIS_ENDPOINT_URL", &denied)).await;
    let answer = drain(&url, "").await;
    assert_eq!((answer.status, &answer.json()["outcome"]), (502, &json!("failed")), "{answer:?}");
    assert!(answer.text.contains("ResourceNotFoundException"), "{answer:?}");
    assert_eq!(positions(&url).await, before);

    // Nobody listens there: it is tried until the time is over, or until that is plain.
    let (_host, url) = host(world.push().set("KINESIS_ENDPOINT_URL", "http://127.0.0.1:1")).await;
    let answer = drain(&url, "max-ms=300").await;
    assert!(["max-ms", "failed"].map(|outcome| json!(outcome)).contains(&answer.json()["outcome"]), "{answer:?}");
    assert_eq!(positions(&url).await, before);

    drain(&good, "").await;
    assert_eq!((world.sink.count(), world.sink.numbers().len()), (20, 20));
}
