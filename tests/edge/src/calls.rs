//! Drains a stream of 10,000 messages over several calls, on any host.

use std::time::Duration;

use serde_json::json;

use super::client::{drain, status};
use super::sink::Sink;

/// Drains the stream through two hosts in turn, and checks that each message is delivered once. While the first host is
/// draining, the second must answer 409; then `check` is called. Returns the number of calls.
pub async fn drain_ten_thousand([first, second]: [&str; 2], sink: &Sink, check: impl FnOnce()) -> u64 {
    sink.hold(true);
    let running = {
        let url = first.to_owned();
        tokio::spawn(async move { drain(&url, "max-messages=3000").await })
    };
    while status(second).await["lease"]["held"] != true && !running.is_finished() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let answer = drain(second, "").await;
    assert_eq!(answer.status, 409, "{answer:?}");
    assert!(answer.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds <= 62), "{answer:?}");
    check();
    sink.hold(false);
    assert_eq!(running.await.expect("the drain does not panic").status, 200);

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
