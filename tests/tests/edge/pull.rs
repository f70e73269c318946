//! Without a sink the lines are the answer, and count as delivered when the next call says so.

use serde_json::json;
use tests::aggregate::{UserRecord, aggregate};
use tests::edge::Options;
use tests::edge::client::{Answer, drain, status};
use tests::edge::sink::messages;

use super::{STREAM, World, host, positions};

fn numbers(answer: &Answer) -> Vec<u64> {
    messages(&answer.text, None).iter().map(|message| message.number).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_come_again_until_they_are_acknowledged() {
    let world = World::new().await;
    world.emulator.put(STREAM, 0..250).await;
    let (_host, url) = host(world.pull()).await;

    let first = drain(&url, "max-messages=100").await;
    assert_eq!((first.status, first.header("content-type")), (200, "application/x-ndjson"));
    assert_eq!((first.header("x-kinesis-outcome"), &first.report()["messages"]), ("max-messages", &json!(100)));
    assert_eq!(positions(&url).await, [], "nothing is delivered yet");
    assert_eq!(status(&url).await["unacknowledged"], first.header("x-kinesis-ack"));

    let again = drain(&url, "max-messages=100").await;
    // Of which shards they are depends on whose answer comes first.
    assert_eq!(numbers(&again).len(), 100);
    assert_ne!(again.header("x-kinesis-ack"), first.header("x-kinesis-ack"));
    let late = drain(&url, &format!("ack={}", first.header("x-kinesis-ack"))).await;
    assert_eq!(late.status, 400, "these were given out anew, under another name: {late:?}");

    let ack = again.header("x-kinesis-ack");
    let next = drain(&url, &format!("ack={ack}&max-messages=100")).await;
    // The answer may have been lost, and the caller says it again.
    let same = drain(&url, &format!("ack={ack}&max-messages=100")).await;
    assert_eq!(numbers(&next).len(), numbers(&same).len());
    let rest = drain(&url, &format!("ack={}", same.header("x-kinesis-ack"))).await;
    assert_eq!((rest.status, rest.header("x-kinesis-outcome")), (200, "caught-up"));

    let mut all: Vec<u64> = [&again, &same, &rest].into_iter().flat_map(numbers).collect();
    all.sort_unstable();
    assert_eq!(all, (0..250).collect::<Vec<u64>>());
    let none = drain(&url, &format!("ack={}", rest.header("x-kinesis-ack"))).await;
    assert_eq!((none.status, none.text.as_str()), (200, ""));
    assert!(positions(&url).await.iter().all(|(_, position)| position.contains("after")));
}

/// A record of 12 KB that is 900 KB of lines. What is bounded is what is given, with a sink and without.
#[tokio::test(flavor = "multi_thread")]
async fn answers_and_batches_are_bounded_by_the_bytes_of_their_lines() {
    const MOST: usize = 100_000;
    let world = World::new().await;
    let user = |n| UserRecord {
        explicit_hash_key: Some(0),
        ..UserRecord::new(&"\u{1}".repeat(256), format!("{{\"n\":{n}}}"))
    };
    let users: Vec<UserRecord> = (0..500).map(user).collect();
    world.emulator.put_data(STREAM, &aggregate(&users), 0).await;

    let (_host, url) = host(world.push()).await;
    let mut drains = 0;
    while world.sink.count() < users.len() {
        let report = drain(&url, &format!("max-bytes={MOST}")).await.json();
        assert!(report["bytes"].as_u64().is_some_and(|bytes| (1..=2 * MOST as u64).contains(&bytes)), "{report}");
        drains += 1;
    }
    assert!(world.sink.batches().iter().all(|batch| batch.bytes <= MOST), "{drains} drains");
    let came: Vec<u64> = world.sink.batches().iter().flat_map(|b| &b.messages).map(|m| m.number).collect();
    assert_eq!(came, (0..500).collect::<Vec<u64>>());
    assert!(drains >= 5, "{drains} drains");

    let (_host, url) = host(Options { store: world.folder.path().join("other.db"), ..world.pull() }).await;
    let (mut all, mut ack) = (Vec::new(), String::new());
    while all.len() < users.len() {
        let answer = drain(&url, &format!("max-bytes={MOST}&ack={ack}")).await;
        assert!((1..=2 * MOST).contains(&answer.text.len()), "{} bytes", answer.text.len());
        all.extend(numbers(&answer));
        answer.header("x-kinesis-ack").clone_into(&mut ack);
    }
    assert_eq!(all, (0..500).collect::<Vec<u64>>());
}
