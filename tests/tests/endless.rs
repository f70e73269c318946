//! Services that never finish or contradict themselves. Every run must end within its bounds, and no service may be
//! called too often.
//!
//! A service of a few lines drives the machine in virtual time. A bounded run must end, with an error or because it has
//! read as far as it should. An unbounded run must fail, or continue at a pace.

use kinesis_reader_machine::wire::{Body, Operation};
use kinesis_reader_machine::{
    Action, Cause, Config, Failure, Instant, Notice, Outcome, Reader, Request, Response, Source, Timestamp, Until,
};
use serde_json::{Value, json};

const OPENED: u64 = 1_763_900_000_000;
const HOUR: u64 = 3_600_000;
const SEQUENCE: u64 = 1_000_000_000;

/// How a run must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// With an error that contains this text.
    Error(&'static str),
    /// A bounded run reaches its end. An unbounded run continues.
    End,
    /// A bounded run reaches its end. An unbounded run fails with this text.
    EndOr(&'static str),
}
use Expected::{End, EndOr, Error};

/// A service: its answer to an operation, given the request's body and the number of earlier requests for the
/// operation.
type Service = fn(Operation, &Value, usize) -> Option<Value>;

#[test]
fn an_endless_listing_ends_the_run() {
    let loops = "the listing does not end";
    check("a token to the same page", Error(loops), |operation, _, _| {
        list(operation, &[shard(0)], Some("T".to_owned()))
    });
    check("two alternating tokens", Error(loops), |operation, query, _| {
        list(operation, &[shard(0)], Some(if query["NextToken"] == "A" { "B" } else { "A" }.to_owned()))
    });
    check("a cycle of seven tokens", Error(loops), |operation, query, _| {
        let at = query["NextToken"].as_str().map_or(0, |token| token.parse::<u64>().expect("ours"));
        list(operation, &[shard(at % 7)], Some(((at + 1) % 7).to_string()))
    });
    check("new tokens without shards", Error(loops), |operation, _, n| list(operation, &[], Some(n.to_string())));
    check("new tokens with the same shard", Error(loops), |operation, _, n| {
        list(operation, &[shard(0)], Some(n.to_string()))
    });
    check("new tokens, and a new shard on each page", Error("more than 1000 pages"), |operation, _, n| {
        list(operation, &[shard(n as u64)], Some(n.to_string()))
    });
    check("new tokens, and a new shard on every tenth page", Error("more than 1000 pages"), |operation, _, n| {
        list(operation, &[shard(n as u64 / 10)], Some(n.to_string()))
    });
    check("a token that expires at once", Error("ExpiredNextTokenException"), |operation, query, n| {
        match query["NextToken"].as_str() {
            Some(_) => Some(json!({"__type": "ExpiredNextTokenException", "message": "no"})),
            None => list(operation, &[shard(0)], Some(n.to_string())),
        }
    });
    check("a token longer than the model's", Error("NextToken: longer than 1048576 bytes"), |operation, _, n| {
        list(operation, &[shard(0)], Some("T".repeat(1 << 20) + &n.to_string()))
    });
}

#[test]
fn a_listing_with_too_many_shards_ends_the_run() {
    let more: Service = |operation, _, n| {
        let shards: Vec<Value> = (0..10_000).map(|i| json!({"ShardId": format!("s{:010}", n * 10_000 + i)})).collect();
        list(operation, &shards, Some(n.to_string()))
    };
    let run = Run::of(more, Until::Stopped, None);
    let Some(Outcome::Failed(error)) = &run.outcome else { panic!("{run:?}") };
    assert_eq!(error.cause, Cause::Unintelligible("the stream has more than 200000 shards".to_owned()));
    // The description, the pages of 200,000 shards, and one more.
    assert_eq!((error.attempts, run.sent.len()), (1, 1 + 21));
}

#[test]
fn a_lineage_that_contradicts_itself_ends_the_run() {
    check(
        "a shard that is its own parent",
        Error("shard shardId-000000000000 is its own ancestor"),
        |operation, _, _| list(operation, &[child(0, &[0])], None),
    );
    check("a shard that is its own second parent", Error("is its own ancestor"), |operation, _, _| {
        list(operation, &[shard(0), child(1, &[0, 1])], None)
    });
    check("two shards that are each other's parents", Error("is its own ancestor"), |operation, _, _| {
        list(operation, &[child(0, &[1]), child(1, &[0])], None)
    });
    check("a cycle of five shards, one per page", Error("is its own ancestor"), |operation, query, _| {
        let at = query["NextToken"].as_str().map_or(0, |token| token.parse::<u64>().expect("ours"));
        list(operation, &[child(at, &[(at + 1) % 5])], (at < 4).then(|| (at + 1).to_string()))
    });
    check("another parent in each listing", Error("has more than 2 parents"), |operation, query, n| match operation {
        Operation::ListShards => list(operation, &[child(9, &[n as u64])], (n < 4).then(|| n.to_string())),
        _ => page(operation, query, json!({"Records": [], "MillisBehindLatest": 0})),
    });
    check("a parent that no listing shows", Error("no listing shows shard shardId-000000000009"), |operation, _, _| {
        list(operation, &[child(0, &[9])], None)
    });
    check(
        "a shard that is its own child",
        Error("ChildShards: shard shardId-000000000000 is"),
        |operation, query, _| {
            let child = json!([{"ShardId": "shardId-000000000000", "ParentShards": ["shardId-000000000000"]}]);
            page(operation, query, json!({"Records": [], "MillisBehindLatest": 0, "ChildShards": child}))
        },
    );
    check("a page that names a parent as a child", Error("ChildShards: shard shardId"), |operation, query, _| {
        if operation == Operation::ListShards {
            return list(operation, &[shard(0), child(1, &[0])], None);
        }
        let child = json!([{"ShardId": "shardId-000000000000", "ParentShards": ["shardId-000000000001"]}]);
        page(operation, query, json!({"Records": [], "MillisBehindLatest": 0, "ChildShards": child}))
    });
    check("shards that end at once and name a child", End, |operation, query, n| {
        let (one, next) = (format!("shardId-{n:012}"), format!("shardId-{:012}", n + 1));
        let parent = query["ShardIterator"].as_str().unwrap_or(&one).to_owned();
        let child = json!([{"ShardId": next, "ParentShards": [parent]}]);
        match operation {
            Operation::GetShardIterator => Some(json!({"ShardIterator": query["ShardId"]})),
            _ => page(operation, query, json!({"Records": [], "MillisBehindLatest": 0, "ChildShards": child})),
        }
    });
}

#[test]
fn a_forbidden_identifier_ends_the_run_and_is_escaped_in_the_error() {
    const CLEAN: &str = r#"not a shard id: "shardId-0\u{1b}]0;x\u{7}\n\u{202e}gnp""#;
    const ID: &str = "shardId-0\u{1b}]0;x\u{7}\n\u{202e}gnp";
    check("a shard", Error(CLEAN), |operation, _, _| list(operation, &[json!({"ShardId": ID})], None));
    check("a parent", Error(CLEAN), |operation, _, _| {
        list(operation, &[json!({"ShardId": "a", "ParentShardId": ID})], None)
    });
    check("a second parent", Error(CLEAN), |operation, _, _| {
        list(operation, &[json!({"ShardId": "a", "AdjacentParentShardId": ID})], None)
    });
    check("a child", Error(CLEAN), |operation, query, _| {
        page(operation, query, json!({"Records": [], "ChildShards": [{"ShardId": ID, "ParentShards": []}]}))
    });
    check("a parent of a child", Error(CLEAN), |operation, query, _| {
        page(operation, query, json!({"Records": [], "ChildShards": [{"ShardId": "a", "ParentShards": [ID]}]}))
    });
    check("a path", Error("not a shard id"), |operation, _, _| list(operation, &[json!({"ShardId": "../../x"})], None));
    check("one that is too long", Error("not a shard id"), |operation, _, _| {
        list(operation, &[json!({"ShardId": "9".repeat(1 << 20)})], None)
    });
    check("the end of a shard's numbers", Error(r#"not a sequence number: "9\u{1b}""#), |operation, _, _| {
        list(operation, &[json!({"ShardId": "a", "SequenceNumberRange": {"EndingSequenceNumber": "9\u{1b}"}})], None)
    });
    check("an ARN", Error(r#"not the ARN of a stream: "arn:aws:\u{1b}[31m"#), |operation, _, _| {
        let summary = json!({"StreamName": "orders", "StreamARN": "arn:aws:\u{1b}[31mkinesis"});
        (operation == Operation::DescribeStreamSummary).then(|| json!({"StreamDescriptionSummary": summary}))
    });
    check("a rejection", Error(r"no\u{1b}[31m\u{202e}x"), |operation, _, _| {
        let rejection = json!({"__type": "AccessDeniedException", "message": "no\u{1b}[31m\u{202e}x"});
        (operation == Operation::ListShards).then_some(rejection)
    });
}

#[test]
fn iterators_that_lead_back_end_the_run() {
    let back = "leads back to records that were delivered";
    check("the same page and iterator again and again", Error(back), |operation, query, _| {
        page(operation, query, json!({"Records": records(0..10), "NextShardIterator": "i", "MillisBehindLatest": 1000}))
    });
    check("the same without a lag, at the tip", EndOr(back), |operation, query, _| {
        page(operation, query, json!({"Records": records(0..10), "NextShardIterator": "i", "MillisBehindLatest": 0}))
    });
    check("two alternating pages", Error(back), |operation, query, n| {
        let from = n as u64 % 2 * 10;
        let records = records(from..from + 10);
        page(operation, query, json!({"Records": records, "NextShardIterator": "i", "MillisBehindLatest": 1000}))
    });
    check("the same records with an empty page between", Error(back), |operation, query, n| {
        let records = if n % 2 == 0 { records(0..10) } else { Vec::new() };
        page(operation, query, json!({"Records": records, "NextShardIterator": "i", "MillisBehindLatest": 1000 + n}))
    });
    check("the same records, with an iterator that expires", Error("ExpiredIterator"), |operation, query, n| {
        match operation {
            Operation::GetRecords if n % 2 == 0 => Some(json!({"__type": "ExpiredIteratorException", "message": "no"})),
            _ => {
                let page_ = json!({"Records": records(0..10), "NextShardIterator": "i", "MillisBehindLatest": 9});
                page(operation, query, page_)
            }
        }
    });
    check("the same records, and no next iterator", Error("no next iterator"), |operation, query, _| {
        page(operation, query, json!({"Records": records(0..10), "MillisBehindLatest": 1000}))
    });
    check("no records, and no next iterator", Error("no next iterator"), |operation, query, _| {
        page(operation, query, json!({"Records": [], "MillisBehindLatest": 0}))
    });
    check(
        "an iterator that expires at once",
        Error("ExpiredIteratorException"),
        |operation, query, _| match operation {
            Operation::GetRecords => Some(json!({"__type": "ExpiredIteratorException", "message": "no"})),
            _ => page(operation, query, Value::Null),
        },
    );
    check(
        "a request for an iterator that fails as expired",
        Error("ExpiredIteratorException"),
        |operation, query, _| match operation {
            Operation::GetShardIterator => Some(json!({"__type": "ExpiredIteratorException", "message": "no"})),
            _ => page(operation, query, Value::Null),
        },
    );
    check("a listed shard that does not exist", Error("ResourceNotFoundException"), |operation, query, _| {
        match operation {
            Operation::GetShardIterator => Some(json!({"__type": "ResourceNotFoundException", "message": "no shard"})),
            _ => page(operation, query, Value::Null),
        }
    });
    check("an iterator that is too long", Error("NextShardIterator: longer than 4096 bytes"), |operation, query, n| {
        let iterator = "i".repeat(10 << 10) + &n.to_string();
        page(operation, query, json!({"Records": [], "NextShardIterator": iterator, "MillisBehindLatest": 9}))
    });
}

#[test]
fn invalid_records_and_records_out_of_order_end_the_run() {
    let disorder = "not after the record before it";
    check("records in reverse", Error(disorder), |operation, query, _| {
        let records: Vec<Value> = records(0..5).into_iter().rev().collect();
        page(operation, query, json!({"Records": records, "NextShardIterator": "i", "MillisBehindLatest": 0}))
    });
    check("records with the same number", Error(disorder), |operation, query, _| {
        let records: Vec<Value> = (0..5).flat_map(|_| records(7..8)).collect();
        page(operation, query, json!({"Records": records, "NextShardIterator": "i", "MillisBehindLatest": 0}))
    });
    check("a number below zero", Error(r#"not a sequence number: "-1""#), |operation, query, _| {
        page(operation, query, json!({"Records": [{"SequenceNumber": "-1", "Data": ""}], "NextShardIterator": "i"}))
    });
    check("a number with an escape", Error(r#"not a sequence number: "1\u{1b}[2J""#), |operation, query, _| {
        let record = json!({"SequenceNumber": "1\u{1b}[2J", "Data": ""});
        page(operation, query, json!({"Records": [record], "NextShardIterator": "i"}))
    });
    check("a number of a million digits", Error(r#"not a sequence number: "9999"#), |operation, query, _| {
        let record = json!({"SequenceNumber": "9".repeat(1 << 20), "Data": ""});
        page(operation, query, json!({"Records": [record], "NextShardIterator": "i"}))
    });
}

#[test]
fn a_lag_without_records_does_not_keep_a_run_from_ending() {
    fn empty(operation: Operation, query: &Value, lag: impl Into<Value>) -> Option<Value> {
        let lag: Value = lag.into();
        page(operation, query, json!({"Records": [], "NextShardIterator": "i", "MillisBehindLatest": lag}))
    }
    check("always the same", End, |operation, query, _| empty(operation, query, 5000));
    check("always the maximum", End, |operation, query, _| empty(operation, query, u64::MAX));
    check("falling from a huge value by a millisecond", End, |operation, query, n| {
        empty(operation, query, (1_u64 << 60) - n as u64)
    });
    check("falling from a day by a millisecond", End, |operation, query, n| {
        empty(operation, query, 24 * HOUR - n as u64)
    });
    check("growing", End, |operation, query, n| empty(operation, query, 1_u64 << n.min(62)));
    check("up and down by hours", End, |operation, query, n| empty(operation, query, HOUR + n as u64 % 2 * 10 * HOUR));
    check("alternating with none", End, |operation, query, n| empty(operation, query, n as u64 % 2 * 5000));
    check("negative", End, |operation, query, _| empty(operation, query, -5));
    check("out of range", Error("MillisBehindLatest: number out of range"), |operation, query, _| {
        empty(operation, query, 2e19)
    });
}

#[test]
fn texts_of_the_host_and_the_service_are_escaped_in_notices() {
    const ODD: &str = "a\u{1b}[31m\n\u{202e}b";
    const CLEAN: &str = r"a\u{1b}[31m\n\u{202e}b";
    let config = Config::new(Source::Name("orders".to_owned()));
    let mut reader = Reader::open(config, None, 1, Instant(0), Timestamp(OPENED)).expect("a valid configuration");
    let mut causes = Vec::new();
    while causes.len() < 2 {
        match reader.poll_action() {
            Action::Send(request) if causes.is_empty() => {
                let failure = Failure::Transient(ODD.to_owned());
                reader.handle_failure(request.id, failure, Instant(1)).expect("the request is pending");
            }
            Action::Send(request) => {
                let body = Body::Json(json!({"__type": "ServiceUnavailable", "message": ODD}).to_string());
                let aws_request_id = Some(ODD.to_owned());
                let response = Response { status: 503, body, aws_request_id, date: None, signed: None };
                reader.handle_response(request.id, response, Instant(10_000)).expect("the request is pending");
            }
            Action::Notice(Notice::Retry(error)) => causes.push(error.cause),
            Action::Wait(_) => reader.handle_timeout(Instant(10_000)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(causes[0], Cause::Failure(Failure::Transient(CLEAN.to_owned())));
    let Cause::Rejected { rejection, aws_request_id } = &causes[1] else { panic!("{causes:?}") };
    assert_eq!((rejection.message.as_str(), aws_request_id.as_deref()), (r"a\u{1b}[31m \u{202e}b", Some(CLEAN)));
}

/// Runs the reader with this service in each mode, and checks how it ends and how often it calls the service.
#[track_caller]
fn check(name: &str, expected: Expected, service: Service) {
    let past = Until::Time(Timestamp(OPENED - HOUR));
    for (until, pace) in [
        (Until::CaughtUp(core::time::Duration::ZERO), None),
        (Until::CaughtUp(core::time::Duration::ZERO), Some(100)),
        (past, None),
        (Until::Stopped, None),
        (Until::Stopped, Some(100)),
    ] {
        let run = Run::of(service, until, pace);
        let what = format!("{name}, {until:?}, pace {pace:?}: {run:?}");
        match (&run.outcome, expected) {
            (Some(Outcome::Failed(error)), Error(words) | EndOr(words)) => {
                let text = match &error.cause {
                    Cause::Unintelligible(why) => why.clone(),
                    Cause::Rejected { rejection, .. } => rejection.to_string(),
                    other => panic!("{what}: {other:?}"),
                };
                assert!(text.contains(words), "{what}: {text}");
                assert!(!text.chars().any(char::is_control), "{what}: {text:?}");
            }
            (Some(Outcome::Reached | Outcome::Exhausted), End | EndOr(_)) if until != Until::Stopped => {}
            // The records are late enough to end the read, whatever the service does next.
            (Some(Outcome::Reached), Error(_)) if until == past && run.delivered => {}
            // The run continues at a pace, which is checked below.
            (None, End) if until == Until::Stopped => {}
            _ => panic!("{what}"),
        }
        // Failures with the pauses between them must not take longer.
        assert!(run.outcome.is_none() || run.ms() <= 120_000, "{what}");
        assert!(run.most_in_a_second() <= 110, "{} requests in a second: {what}", run.most_in_a_second());
        if run.outcome.is_none() {
            assert!(run.ms() >= REQUESTS_MAX as u64 * 1000 / 11, "{what}");
        }
    }
}

/// The number of requests after which we stop an unbounded run.
const REQUESTS_MAX: usize = 5_000;

struct Run {
    outcome: Option<Outcome>,
    /// The time of each request.
    sent: Vec<u64>,
    delivered: bool,
}

impl Run {
    fn of(service: Service, until: Until, pace: Option<u8>) -> Run {
        let mut config = Config { until, ..Config::new(Source::Name("orders".to_owned())) };
        config.limits.pace = pace;
        let mut reader = Reader::open(config, None, 1, Instant(0), Timestamp(OPENED)).expect("a valid configuration");
        let (mut run, mut now) = (Run { outcome: None, sent: Vec::new(), delivered: false }, 0);
        let mut counts = [0; 4];
        while until != Until::Stopped || run.sent.len() < REQUESTS_MAX {
            match reader.poll_action() {
                Action::Send(request) => {
                    run.sent.push(now);
                    let n = &mut counts[request.operation as usize];
                    let response = answer(service, &request, *n);
                    (*n, now) = (*n + 1, now + 1);
                    reader.handle_response(request.id, response, Instant(now)).expect("the request is pending");
                }
                Action::Deliver(batch) => {
                    run.delivered = true;
                    reader.handle_delivered(batch.id(), Instant(now)).expect("the batch is pending");
                }
                Action::Notice(_) => {}
                Action::Wait(wait) => {
                    now = wait.until.expect("a deadline").0;
                    reader.handle_timeout(Instant(now));
                }
                Action::Finish(outcome) => {
                    run.outcome = Some(outcome);
                    break;
                }
            }
            assert!(run.sent.len() < 20_000, "the run does not end");
        }
        run
    }

    fn ms(&self) -> u64 {
        self.sent.last().copied().unwrap_or(0)
    }

    fn most_in_a_second(&self) -> usize {
        let before = |time: u64| self.sent.partition_point(|&sent| sent < time);
        self.sent.iter().enumerate().map(|(at, &from)| before(from + 1000) - at).max().unwrap_or(0)
    }
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} after {} requests in {} ms", self.outcome, self.sent.len(), self.ms())
    }
}

/// Returns the service's answer. By default, the stream has one open shard without records.
fn answer(service: Service, request: &Request, n: usize) -> Response {
    let Body::Json(query) = &request.body else { panic!("not JSON") };
    let query: Value = serde_json::from_str(query).expect("JSON");
    let body = service(request.operation, &query, n).or_else(|| match request.operation {
        Operation::DescribeStreamSummary => Some(json!({"__type": "AccessDeniedException", "message": "no"})),
        Operation::ListShards => list(Operation::ListShards, &[shard(0)], None),
        operation => page(operation, &query, json!({"Records": [], "NextShardIterator": "i", "MillisBehindLatest": 0})),
    });
    let body = body.expect("an answer");
    let status = if body.get("__type").is_some() { 400 } else { 200 };
    Response { status, body: Body::Json(body.to_string()), aws_request_id: None, date: None, signed: None }
}

/// Answers `ListShards` with a page of a listing.
fn list(operation: Operation, shards: &[Value], token: Option<String>) -> Option<Value> {
    (operation == Operation::ListShards).then(|| json!({"Shards": shards, "NextToken": token}))
}

/// Answers `GetShardIterator`, and `GetRecords` with this page.
fn page(operation: Operation, _query: &Value, page: Value) -> Option<Value> {
    match operation {
        Operation::GetShardIterator => Some(json!({"ShardIterator": "i"})),
        Operation::GetRecords => Some(page),
        Operation::DescribeStreamSummary | Operation::ListShards => None,
    }
}

fn shard(number: u64) -> Value {
    child(number, &[])
}

fn child(number: u64, parents: &[u64]) -> Value {
    let parent = |at: usize| parents.get(at).map(|parent| format!("shardId-{parent:012}"));
    json!({
        "ShardId": format!("shardId-{number:012}"),
        "ParentShardId": parent(0),
        "AdjacentParentShardId": parent(1),
        "SequenceNumberRange": {"StartingSequenceNumber": "1"},
    })
}

/// Returns records that arrived two hours before the opening.
fn records(numbers: std::ops::Range<u64>) -> Vec<Value> {
    let record = |number: u64| {
        let arrived = (OPENED - 2 * HOUR) as f64 / 1000.0;
        json!({
            "SequenceNumber": (SEQUENCE + number).to_string(),
            "ApproximateArrivalTimestamp": arrived,
            "Data": "e30=",
            "PartitionKey": "k",
        })
    };
    numbers.map(record).collect()
}
