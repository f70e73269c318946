//! A stream of 10,000 messages drained over several calls, on whatever host.

use std::time::Duration;

use serde_json::json;

use super::client::{drain, status};
use super::sink::Sink;

/// Drains them by two URLs in turn, one of which is sent away while the other is at work, and looks whether each came
/// once. Tells over how many calls.
pub async fn ten_thousand([first, second]: [&str; 2], sink: &Sink, sent_away: impl FnOnce()) -> u64 {
    sink.holds(true);
    let working = {
        let url = first.to_owned();
        tokio::spawn(async move { drain(&url, "max-messages=3000").await })
    };
    while status(second).await["lease"]["held"] != true && !working.is_finished() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let answer = drain(second, "").await;
    assert_eq!(answer.status, 409, "{answer:?}");
    assert!(answer.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds <= 62), "{answer:?}");
    sent_away();
    sink.holds(false);
    assert_eq!(working.await.expect("it ends").status, 200);

    let mut epochs = 1;
    loop {
        let answer = drain(if epochs % 2 == 0 { first } else { second }, "max-messages=3000").await;
        let report = answer.json();
        epochs += 1;
        assert_eq!((answer.status, &report["epoch"]), (200, &json!(epochs)), "{report}");
        if report["outcome"] == "caught-up" {
            break;
        }
    }
    assert_eq!((sink.count(), sink.numbers()), (10_000, (0..10_000).collect()));
    epochs
}
