//! What the caller is told of a drain.

use serde_json::{Value, json};

use super::{Counts, End};
use crate::answer::{Answer, NDJSON};
use crate::reading::{self, Cause, Operation, Place, ShardState, ShardStatus};

/// The answer. `handed`: the lines, and the name by which they are acknowledged, where there is no sink.
pub(super) fn answer(
    end: &End,
    counts: &Counts,
    epoch: u64,
    shards: &[ShardStatus],
    handed: Option<(String, Vec<u8>)>,
) -> Answer {
    let (status, outcome, why) = verdict(end);
    let mut body = json!({
        "outcome": outcome,
        "why": why,
        "messages": counts.messages,
        "bytes": counts.bytes,
        "batches": counts.batches,
        "requests": counts.requests,
        "retries": counts.retries,
        "dead_letters": counts.dead_letters,
        "epoch": epoch,
        "lost": counts.lost.iter().map(|l| json!({"shard": l.shard, "after": l.after, "ahead": l.ahead})).collect::<Vec<Value>>(),
    });
    if let End::StoreFailed(_) = end {
        body["hint"] = json!(STORE_HINT);
    }
    // Lines are given only where their name is kept, and with an error only where there are some.
    let kept = !matches!(end, End::LeaseLost | End::StoreFailed(_));
    let answer = match handed {
        Some((ack, lines)) if kept && (status == 200 || !lines.is_empty()) => {
            Answer { status: 200, headers: Vec::new(), kind: NDJSON, body: lines }
                .with("x-kinesis-ack", ack)
                .with("x-kinesis-outcome", outcome)
                .with("x-kinesis-report", body.to_string())
        }
        Some(_) | None => {
            // A header has no room for them; beside lines, `GET /status` tells of the shards.
            body["shards"] = shards.iter().map(shard).collect();
            Answer::json(status, &body)
        }
    };
    match status {
        409 | 503 => answer.with("retry-after", "5"),
        _ => answer,
    }
}

/// What to do about a store that did not keep how far it came.
const STORE_HINT: &str = "what was delivered since the last commit comes again; if the store finds the value too large, \
     take one that holds more, or merge shards";

/// Status, name, and words.
fn verdict(end: &End) -> (u16, &'static str, Option<&str>) {
    match end {
        End::CaughtUp => (200, "caught-up", None),
        End::Exhausted => (200, "exhausted", None),
        End::Messages => (200, "max-messages", None),
        End::Bytes => (200, "max-bytes", None),
        End::Requests => (200, "max-requests", None),
        End::Time => (200, "max-ms", None),
        End::Blocked(why) => (502, "blocked", Some(why)),
        End::SinkFailed(why) => (502, "sink-failed", Some(why)),
        End::Failed(why) => (502, "failed", Some(why)),
        End::LeaseLost => (409, "lease-lost", Some("another has taken it; what was not committed comes again")),
        End::StoreFailed(why) => (503, "store-failed", Some(why)),
    }
}

fn shard(status: &ShardStatus) -> Value {
    let state = match status.state {
        ShardState::Blocked => "blocked",
        ShardState::Seeking => "seeking",
        ShardState::Sought => "sought",
        ShardState::Ready => "ready",
        ShardState::Reading => "reading",
        ShardState::Delivering => "delivering",
        ShardState::Ending => "ending",
        ShardState::CaughtUp => "caught-up",
        ShardState::Drained => "drained",
        ShardState::Failed => "failed",
    };
    let place = match &status.place {
        Place::TrimHorizon => json!({"at": "trim-horizon"}),
        Place::At(time) => json!({"at": time}),
        Place::After(last) => match last.subsequence {
            Some(sub) => json!({"after": last.sequence, "sub": sub}),
            None => json!({"after": last.sequence}),
        },
        Place::End => json!({"at": "end"}),
    };
    json!({"shard": status.shard, "state": state, "place": place, "behind_ms": status.behind})
}

/// A failure of Kinesis, for a person.
pub(super) fn words(error: &reading::ServiceError) -> String {
    let operation = match error.operation {
        Operation::DescribeStreamSummary => "DescribeStreamSummary",
        Operation::ListShards => "ListShards",
        Operation::GetShardIterator => "GetShardIterator",
        Operation::GetRecords => "GetRecords",
    };
    let cause = match &error.cause {
        Cause::Rejected(rejection) => {
            let hint = rejection.hint.as_ref().map(|hint| format!(" (hint: {hint})")).unwrap_or_default();
            format!("{} {}: {}{hint}", rejection.status, rejection.code, rejection.message)
        }
        Cause::Unintelligible(why) => format!("an answer that is none: {why}"),
        Cause::Failure(reading::Failure::Transient(why) | reading::Failure::Permanent(why)) => why.clone(),
        Cause::Timeout => "no answer in time".to_owned(),
        Cause::Lost(reading::Lost { shard, ahead: Some(ahead), .. }) => {
            format!("the checkpoint of {shard} is ahead of the present, at {ahead} ms since 1970")
        }
        Cause::Lost(lost) => format!("records of {} have left the stream unread", lost.shard),
        Cause::Recreated(stream) => format!("the stream was made again under its name; the checkpoint is of {stream}"),
    };
    format!("{operation}, {} tries: {cause}", error.attempts)
}
