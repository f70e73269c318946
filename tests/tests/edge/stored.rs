//! What lies in the store can be damaged, of another stream, or gone.

use serde_json::{Value, json};
use tests::edge::client::{TOKEN, ask, drain};
use tests::edge::events::Event;

use super::{KEY, STREAM, World, host, positions};

fn value(checkpoint: &Value) -> Vec<u8> {
    let value = json!({"version": 1, "epoch": 7, "revision": 9, "owner": "a", "until": 0, "begun": 1,
        "checkpoint": checkpoint});
    value.to_string().into_bytes()
}

fn kept(shards: Value) -> Value {
    json!({"kept": {"version": 1, "stream": {"name": STREAM}, "shards": shards}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_value_is_told_of_and_every_byte_of_it_stays() {
    let world = World::new().await;
    world.emulator.put(STREAM, 0..10).await;
    let (host, url) = host(world.push()).await;
    let good = value(&kept(json!({"shardId-000000000000": {"at": "trim-horizon"}})));
    let mut values: Vec<Vec<u8>> = vec![
        b"\x00\xff".to_vec(),
        b"null".to_vec(),
        vec![b'['; 100_000],
        value(&json!([])),
        value(&json!({"kept": 7})),
        value(&json!({"kept": {}})),
        value(&json!({"kept": {"version": 2, "stream": {"name": STREAM}, "shards": {}}})),
        value(&kept(json!({"shardId-000000000000": {"after": "not a number"}}))),
        value(&kept(json!({"shardId-000000000000": {"at": -1}}))),
        // Of a later version, which knows more.
        value(&json!({"kept": null, "pages": 7})),
        // What waits for its acknowledgement is read as well.
        value(&json!({"handed": {"ack": "1", "checkpoint": {"version": 1, "shards": "none"}}})),
    ];
    // Cut off, and with one byte that is not as it was written.
    values.extend([1, 20, 80].map(|left| good[..good.len() - left].to_vec()));
    values.extend([0, 10, 60].map(|at| [&good[..at], b"\x07", &good[at + 1..]].concat()));
    for value in values {
        host.database.put(KEY, &value);
        for (method, path) in [("POST", "drain"), ("POST", "drain?ack=1"), ("GET", "status")] {
            let answer = ask(method, &format!("{url}/{path}"), Some(TOKEN)).await.expect("the host answers");
            let shown = String::from_utf8_lossy(&value[..value.len().min(200)]).into_owned();
            // A status knows less of what a place may be.
            let fine = method == "GET" && answer.status == 200;
            assert!(fine || answer.status == 500, "{method} /{path} on {shown}: {answer:?}");
            if !fine {
                let hint = answer.json()["hint"].as_str().expect("it has a hint").to_owned();
                assert!(!hint.contains("delete") && hint.contains("backup"), "{hint}");
            }
            assert_eq!(host.database.value(KEY).as_deref(), Some(&value[..]), "{method} /{path} on {shown}");
        }
    }
    assert_eq!((host.events.count(Event::KinesisAsked), world.sink.count()), (0, 0));
    host.database.put(KEY, &good);
    assert_eq!(drain(&url, "").await.json()["messages"], 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_of_another_stream_is_left() {
    let world = World::new().await;
    let (host, url) = host(world.push()).await;
    let other = value(&json!({"kept": {"version": 1, "stream": {"name": "others"}, "shards": {}}}));
    host.database.put(KEY, &other);
    let answer = drain(&url, "").await;
    let told = answer.json();
    assert!(answer.status == 500 && told["error"].as_str().is_some_and(|error| error.contains("others")), "{told}");
    assert!(told["hint"].as_str().is_some_and(|hint| hint.contains("KEY_VALUE_STORE") && !hint.contains("delete")));
    assert_eq!(host.database.value(KEY), Some(other));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_lost_the_checkpoint_is_noticed_where_that_is_asked_for() {
    let world = World::new().await;
    world.emulator.put(STREAM, 0..10).await;
    let options = || world.push().set("KINESIS_START", "latest");
    let (first, url) = host(options()).await;
    assert_eq!(drain(&url, "").await.status, 200);
    world.emulator.put(STREAM, 10..20).await;
    let (second, strict) = host(options().set("REQUIRE_CHECKPOINT", "true")).await;
    let whole = first.database.value(KEY).expect("it is there");

    // Emptied, or with no more than who holds the lease.
    let nothing: [Option<Vec<u8>>; 3] = [None, Some(value(&Value::Null)), Some(value(&kept(json!({}))))];
    for lost in nothing {
        match &lost {
            Some(value) => first.database.put(KEY, value),
            None => first.database.remove(KEY),
        }
        let answer = drain(&strict, "").await;
        let told = answer.json();
        assert_eq!((answer.status, second.events.count(Event::KinesisAsked)), (412, 0), "{told}");
        let hint = told["hint"].as_str().expect("it says what to do");
        assert!(hint.contains("backup") && hint.contains("REQUIRE_CHECKPOINT"), "{hint}");
        assert_eq!(first.database.value(KEY), lost, "nothing was begun anew");
    }
    first.database.put(KEY, &whole);
    assert_eq!(drain(&strict, "").await.status, 200);
    assert!(world.sink.numbers().is_superset(&(10..20).collect()));
    assert!(!positions(&strict).await.is_empty());
}

/// As the first drain has nothing to acknowledge, lines that are out count as a checkpoint.
#[tokio::test(flavor = "multi_thread")]
async fn lines_that_wait_for_their_acknowledgement_are_a_checkpoint() {
    let world = World::new().await;
    world.emulator.put(STREAM, 0..10).await;
    let (_host, url) = host(world.pull()).await;
    let first = drain(&url, "max-messages=4").await;
    let (_host, strict) = host(world.pull().set("REQUIRE_CHECKPOINT", "true")).await;
    let again = drain(&strict, "max-messages=4").await;
    assert_eq!((again.status, again.text.lines().count()), (200, 4), "{again:?}");
    assert_ne!(first.header("x-kinesis-ack"), again.header("x-kinesis-ack"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_made_again_is_followed_where_that_is_asked_for() {
    let world = World::new().await;
    world.emulator.put(STREAM, 0..10).await;
    let (host_of, url) = host(world.push()).await;
    drain(&url, "").await;
    // The checkpoint is of a stream that was made a day before.
    let mut there: Value = serde_json::from_slice(&host_of.database.value(KEY).expect("it is there")).expect("JSON");
    let created = &mut there["checkpoint"]["kept"]["stream"]["created"];
    *created = json!(created.as_u64().expect("a time") - 86_400_000);
    host_of.database.put(KEY, there.to_string().as_bytes());
    let before = positions(&url).await;

    let answer = drain(&url, "").await;
    assert_eq!((answer.status, &answer.json()["outcome"]), (502, &json!("failed")), "{answer:?}");
    assert!(answer.text.contains("KINESIS_RECREATED") && !answer.text.contains("delete the"), "{answer:?}");
    assert_eq!(positions(&url).await, before);

    let (_host, follows) = host(world.push().set("KINESIS_RECREATED", "follow")).await;
    let report = drain(&follows, "").await.json();
    assert_eq!((&report["outcome"], &report["messages"]), (&json!("caught-up"), &json!(10)), "{report}");
    assert_eq!(report["gaps_total"], 2, "of the stream that is gone: {report}");
}
