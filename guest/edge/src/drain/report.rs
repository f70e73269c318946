//! What the caller is told of a drain.

use serde_json::{Value, json};

use super::{Counts, End};
use crate::answer::{Answer, NDJSON, ascii, clean};
use crate::reading::{self, Cause, Operation, Position, ShardState, ShardStatus};

/// Gaps of which a header has room to name the shard.
const HEADER_GAPS: usize = 3;

/// The longest text in a header's report, in characters, and the longest report, in bytes. Servers and proxies bound all
/// headers of an answer together, many of them by 8 KiB.
const HEADER_TEXT: usize = 200;
const HEADER_MAX: usize = 4096;

/// The answer. `handed`: the lines, and the name by which they are acknowledged, where there is no sink.
pub(super) fn answer(
    end: &End,
    counts: &Counts,
    epoch: u64,
    shards: &[ShardStatus],
    warning: Option<String>,
    handed: Option<(String, Vec<u8>)>,
) -> Answer {
    let Verdict { status, outcome, why, hint } = verdict(end);
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
        "gaps_total": counts.gaps_total,
    });
    if let Some(hint) = hint {
        body["hint"] = json!(hint);
    }
    if let Some(warning) = warning {
        body["warning"] = json!(warning);
    }
    // Lines are given only where their name is kept, and with an error only where there are some.
    let kept = !matches!(end, End::LeaseLost | End::StoreFailed(_));
    let answer = match handed {
        Some((ack, lines)) if kept && (status == 200 || !lines.is_empty()) => {
            Answer { status: 200, headers: Vec::new(), kind: NDJSON, body: lines }
                .with("x-kinesis-ack", ack)
                .with("x-kinesis-outcome", outcome)
                .with("x-kinesis-report", header(&body, &counts.gaps))
        }
        Some(_) | None => {
            body["gaps"] = counts.gaps.iter().map(gap).collect();
            // A header has no room for them; beside lines, `GET /status` tells of the shards.
            body["shards"] = shards.iter().map(shard).collect();
            Answer::json(status, body)
        }
    };
    match status {
        409 | 503 => answer.with("retry-after", "5"),
        _ => answer,
    }
}

/// The report as a header: the counts, and of texts and gaps as much as there is room for.
fn header(report: &Value, gaps: &[reading::Gap]) -> String {
    let mut whole = report.clone();
    whole["gaps"] = gaps.iter().take(HEADER_GAPS).map(gap).collect();
    clean(&mut whole);
    for name in TEXTS {
        if let Some(Value::String(text)) = whole.get_mut(name)
            && let Some((end, _)) = text.char_indices().nth(HEADER_TEXT)
        {
            text.truncate(end);
            text.push_str("...");
        }
    }
    let text = ascii(&whole);
    if text.len() <= HEADER_MAX {
        return text;
    }
    for name in TEXTS.into_iter().chain(["gaps"]) {
        whole[name] = Value::Null;
    }
    ascii(&whole)
}

/// What a report has in words.
const TEXTS: [&str; 3] = ["why", "hint", "warning"];

fn gap(gap: &reading::Gap) -> Value {
    json!({"shard": gap.shard, "after": gap.after, "ahead": gap.ahead})
}

/// What to do about a store that did not keep how far it came.
const STORE_HINT: &str = "what was delivered since the last commit comes again; if the store finds the value too large, \
     take one that holds more, or merge shards";

/// What to do about a time that is too short for anything.
const SHORT_HINT: &str = "call with a larger max-ms: this one was over before what was read could be delivered";

/// How an end is answered.
struct Verdict<'a> {
    status: u16,
    outcome: &'static str,
    why: Option<&'a str>,
    hint: Option<&'static str>,
}

fn verdict(end: &End) -> Verdict<'_> {
    let verdict = |status, outcome, why| Verdict { status, outcome, why, hint: None };
    match end {
        End::CaughtUp => verdict(200, "caught-up", None),
        End::Exhausted => verdict(200, "exhausted", None),
        End::Messages => verdict(200, "max-messages", None),
        End::Bytes => verdict(200, "max-bytes", None),
        End::Requests => verdict(200, "max-requests", None),
        End::Time(why) => verdict(200, "max-ms", why.as_deref()),
        End::TooShort => Verdict { hint: Some(SHORT_HINT), ..verdict(504, "too-short", None) },
        End::Blocked(why) => verdict(502, "blocked", Some(why)),
        End::SinkFailed(why) => verdict(502, "sink-failed", Some(why)),
        End::Failed(why) => verdict(502, "failed", Some(why)),
        End::LeaseLost => verdict(409, "lease-lost", Some("another has taken it; what was not committed comes again")),
        End::StoreFailed(why) => Verdict { hint: Some(STORE_HINT), ..verdict(503, "store-failed", Some(why)) },
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
    let position = match &status.position {
        Position::TrimHorizon => json!({"at": "trim-horizon"}),
        Position::At(time) => json!({"at": time}),
        Position::After(last) => match last.subsequence {
            Some(sub) => json!({"after": last.sequence, "sub": sub}),
            None => json!({"after": last.sequence}),
        },
        Position::End => json!({"at": "end"}),
    };
    json!({"shard": status.shard, "state": state, "position": position, "behind_ms": status.behind})
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
        Cause::Gap(reading::Gap { shard, ahead: Some(ahead), .. }) => {
            format!("the checkpoint of {shard} is ahead of the present, at {ahead} ms since 1970")
        }
        Cause::Gap(gap) => format!("records of {} have left the stream unread", gap.shard),
        Cause::Recreated(stream) => format!(
            "the stream was deleted and made again under its name; the checkpoint is of {stream} (hint: to read the new \
             one from its oldest record, set KINESIS_RECREATED to follow)"
        ),
    };
    format!("{operation}, {} tries: {cause}", error.attempts)
}
