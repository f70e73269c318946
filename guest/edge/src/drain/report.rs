//! Turns the end of a drain into the answer to its caller.

use serde_json::{Value, json};

use super::end::{Counts, End};
use crate::answer::{Answer, NDJSON, ascii, clean};
use crate::bindings::reading::{self, Cause, Operation, Position, ShardState, ShardStatus};

/// The number of gaps listed in the report's header.
const HEADER_GAPS: usize = 3;

/// The longest text in the report's header, in characters, and the longest header, in bytes. Servers and proxies limit
/// the total size of an answer's headers, many of them to 8 KiB.
const HEADER_TEXT: usize = 200;
const HEADER_MAX: usize = 4096;

/// Builds the answer. Without a sink, `handed` has the name by which the lines are acknowledged, and the lines.
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
    // Lines can only be acknowledged if their name is in the store. An error is answered with lines only if there are
    // any.
    let is_stored = !matches!(end, End::LeaseLost | End::StoreFailed(_));
    let answer = match handed {
        Some((ack, lines)) if is_stored && (status == 200 || !lines.is_empty()) => {
            Answer { status: 200, headers: Vec::new(), content_type: NDJSON, body: lines }
                .with("x-kinesis-ack", ack)
                .with("x-kinesis-outcome", outcome)
                .with("x-kinesis-report", header(&body, &counts.gaps))
        }
        Some(_) | None => {
            body["gaps"] = counts.gaps.iter().map(gap).collect();
            // A header has no room for the shards. Callers that get lines can see them in `GET /status`.
            body["shards"] = shards.iter().map(shard).collect();
            Answer::json(status, body)
        }
    };
    match status {
        409 | 503 => answer.with("retry-after", "5"),
        _ => answer,
    }
}

/// The report as a header: the counts, and as much of the texts and gaps as fits.
fn header(report: &Value, gaps: &[reading::Gap]) -> String {
    let mut report = report.clone();
    report["gaps"] = gaps.iter().take(HEADER_GAPS).map(gap).collect();
    clean(&mut report);
    for name in TEXTS {
        if let Some(Value::String(text)) = report.get_mut(name)
            && let Some((end, _)) = text.char_indices().nth(HEADER_TEXT)
        {
            text.truncate(end);
            text.push_str("...");
        }
    }
    let text = ascii(&report);
    if text.len() <= HEADER_MAX {
        return text;
    }
    for name in TEXTS.into_iter().chain(["gaps"]) {
        report[name] = Value::Null;
    }
    ascii(&report)
}

/// The members of a report whose values are texts for people.
const TEXTS: [&str; 3] = ["why", "hint", "warning"];

fn gap(gap: &reading::Gap) -> Value {
    json!({"shard": gap.shard, "after": gap.after, "ahead": gap.ahead})
}

const STORE_HINT: &str = "what was delivered since the last commit comes again; if the value is too large for the \
     store, use a store that takes larger ones, or merge shards";

const SHORT_HINT: &str = "use a larger max-ms: this one was over before anything that was read could be delivered";

/// How to answer an end.
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
        End::LeaseLost => {
            verdict(409, "lease-lost", Some("another drain took the lease; what was not committed comes again"))
        }
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

/// Describes why a request to Kinesis failed.
pub(super) fn describe(error: &reading::ServiceError) -> String {
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
        Cause::Unintelligible(why) => format!("unexpected answer: {why}"),
        Cause::Failure(reading::Failure::Transient(why) | reading::Failure::Permanent(why)) => why.clone(),
        Cause::Timeout => "no answer in time".to_owned(),
        Cause::Gap(reading::Gap { shard, ahead: Some(ahead), .. }) => {
            format!("the checkpoint of {shard} is in the future, at {ahead} ms since 1970")
        }
        Cause::Gap(gap) => format!("records of {} left the stream before they were read", gap.shard),
        Cause::Recreated(stream) => format!(
            "the stream was deleted and created again, and the checkpoint belongs to the old one: {stream} (hint: to \
             read the new one from its oldest record, set KINESIS_RECREATED to follow)"
        ),
    };
    format!("{operation} failed, attempt {}: {cause}", error.attempts)
}
