//! Without a sink the lines are the answer, and count as delivered when the next call says so.

use serde_json::json;
use tests::edge::client::{Answer, drain, status};
use tests::edge::sink::messages;

use super::{STREAM, World, host, places};

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
    assert_eq!(places(&url).await, [], "nothing is delivered yet");
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
    assert!(places(&url).await.iter().all(|(_, place)| place.contains("after")));
}
