//! Without a sink, the lines are the answer, and they count as delivered once the next call acknowledges them.

use edge_tests::Options;
use edge_tests::client::{Answer, drain, status};
use edge_tests::sink::messages;
use serde_json::json;
use simulation::aggregate::{UserRecord, aggregate};

use super::{Fixture, STREAM, host, positions};

fn numbers(answer: &Answer) -> Vec<u64> {
    messages(&answer.text, None).iter().map(|message| message.number).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_come_again_until_they_are_acknowledged() {
    let fixture = Fixture::new().await;
    fixture.emulator.put(STREAM, 0..250).await;
    let (_host, url) = host(fixture.pull()).await;

    let first = drain(&url, "max-messages=100").await;
    assert_eq!((first.status, first.header("content-type")), (200, "application/x-ndjson"));
    assert_eq!((first.header("x-kinesis-outcome"), &first.report()["messages"]), ("max-messages", &json!(100)));
    assert_eq!(positions(&url).await, [], "nothing is acknowledged yet");
    assert_eq!(status(&url).await["unacknowledged"], first.header("x-kinesis-ack"));

    let again = drain(&url, "max-messages=100").await;
    // Which shards they come from depends on which of Kinesis's answers comes first.
    assert_eq!(numbers(&again).len(), 100);
    assert_ne!(again.header("x-kinesis-ack"), first.header("x-kinesis-ack"));
    let late = drain(&url, &format!("ack={}", first.header("x-kinesis-ack"))).await;
    assert_eq!(late.status, 400, "the lines were sent again under another name: {late:?}");

    let ack = again.header("x-kinesis-ack");
    let next = drain(&url, &format!("ack={ack}&max-messages=100")).await;
    // If the answer was lost, the caller repeats the acknowledgement.
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

/// A record of 12 KB becomes 900 KB of lines. The lines are bounded, with and without a sink.
#[tokio::test(flavor = "multi_thread")]
async fn answers_and_batches_are_bounded_by_the_bytes_of_their_lines() {
    const BYTES_MAX: usize = 100_000;
    let fixture = Fixture::new().await;
    let user_record = |n| UserRecord {
        explicit_hash_key: Some(0),
        ..UserRecord::new(&"\u{1}".repeat(256), format!("{{\"n\":{n}}}"))
    };
    let user_records: Vec<UserRecord> = (0..500).map(user_record).collect();
    fixture.emulator.put_data(STREAM, &aggregate(&user_records), 0).await;

    let (_host, url) = host(fixture.push()).await;
    let mut drains = 0;
    while fixture.sink.count() < user_records.len() {
        let report = drain(&url, &format!("max-bytes={BYTES_MAX}")).await.json();
        assert!(report["bytes"].as_u64().is_some_and(|bytes| (1..=2 * BYTES_MAX as u64).contains(&bytes)), "{report}");
        drains += 1;
    }
    assert!(fixture.sink.batches().iter().all(|batch| batch.bytes <= BYTES_MAX), "{drains} drains");
    let received: Vec<u64> = fixture.sink.batches().iter().flat_map(|b| &b.messages).map(|m| m.number).collect();
    assert_eq!(received, (0..500).collect::<Vec<u64>>());
    assert!(drains >= 5, "{drains} drains");

    let (_host, url) = host(Options { store: fixture.folder.path().join("other.db"), ..fixture.pull() }).await;
    let (mut all, mut ack) = (Vec::new(), String::new());
    while all.len() < user_records.len() {
        let answer = drain(&url, &format!("max-bytes={BYTES_MAX}&ack={ack}")).await;
        assert!((1..=2 * BYTES_MAX).contains(&answer.text.len()), "{} bytes", answer.text.len());
        all.extend(numbers(&answer));
        answer.header("x-kinesis-ack").clone_into(&mut ack);
    }
    assert_eq!(all, (0..500).collect::<Vec<u64>>());
}
