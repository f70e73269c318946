//! Kinesis, the sink or the store may answer anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use edge_tests::client::{Answer, call, drain};
use edge_tests::sink::messages;
use edge_tests::stub::{Reply, header_only_server, intercept, service};
use edge_tests::{Build, Options, TOKEN};
use serde_json::{Value, json};
use test_support::proxy::{Fault, Mood, Proxy};

use super::{Fixture, KEY, STREAM, host, positions};

/// Text with terminal escapes, a forged header, reversed text and other control characters.
const EVIL: &str = "\u{1b}[31mred\u{1b}[0m\r\nX-Forged: yes\u{202e}gnp.exe\u{200b}\u{9b}31m\u{7f}\u{0}";

/// Whether a text has no control or invisible characters.
fn is_clean(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'))
}

/// Returns all strings in a JSON value.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Object(members) => {
            members.iter().flat_map(|(name, value)| [vec![name.clone()], texts(value)].concat()).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

fn assert_clean(answer: &Answer) {
    for (name, value) in &answer.headers {
        let value = value.to_str().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(value.len() <= 4096 && value.bytes().all(|b| matches!(b, b' '..=b'~')), "{name}: {value}");
    }
    for text in texts(&answer.report()) {
        assert!(is_clean(&text) && text.chars().count() < 2000, "{text:?}");
    }
}

/// Drains for a short time, because lasting faults are retried until the time is up.
async fn drain_briefly(url: &str) -> Answer {
    drain(url, "max-ms=1500").await
}

#[tokio::test(flavor = "multi_thread")]
async fn text_from_kinesis_is_sanitized_and_shortened() {
    let fixture = Fixture::new().await;
    fixture.emulator.put(STREAM, 0..50).await;
    let long = format!("{EVIL}{}", "\u{202e}long ".repeat(20_000));
    for push in [true, false] {
        let (read, long) = (Arc::new(AtomicUsize::new(0)), long.clone());
        let kinesis = intercept(&fixture.emulator.url, move |operation, reply| match operation {
            // The first pages are still delivered.
            "GetRecords" if read.fetch_add(1, Ordering::SeqCst) > 1 => Reply::error("AccessDeniedException", &long),
            _ => reply,
        })
        .await;
        let options = if push { fixture.push() } else { fixture.pull() };
        let (_host, url) = host(options.set("KINESIS_ENDPOINT_URL", &kinesis)).await;
        let answer = drain(&url, "").await;
        assert_clean(&answer);
        let report = answer.report();
        assert!(["failed", "caught-up"].contains(&report["outcome"].as_str().unwrap_or_default()), "{report}");
    }
    // The names of errors, and bodies that are not from Kinesis.
    for reply in [
        Reply::error(EVIL, EVIL),
        Reply::new(400, EVIL.repeat(10_000)),
        Reply::new(200, EVIL),
        Reply::new(200, format!("[{}", "[".repeat(100_000))),
        Reply::new(599, "\u{1b}".repeat(3 << 20)),
    ] {
        let kinesis = service(move |_, _| reply.clone()).await;
        let (_host, url) = host(fixture.push().set("KINESIS_ENDPOINT_URL", &kinesis)).await;
        let answer = drain_briefly(&url).await;
        assert!([200, 502].contains(&answer.status), "{answer:?}");
        assert_eq!(answer.json()["messages"], 0);
        assert_clean(&answer);
    }
}

/// Answers like a Kinesis with one shard that has one message.
fn with_one_shard(operation: &str, query: &[u8]) -> Reply {
    const SHARD: &str = "shardId-000000999999";
    const SEQUENCE: &str = "49590338271490256608559692538361571095921575989136588898";
    let answer = match operation {
        "DescribeStreamSummary" => return Reply::error("AccessDeniedException", "not authorized"),
        "ListShards" => json!({"Shards": [{
            "ShardId": SHARD,
            "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": u128::MAX.to_string()},
            "SequenceNumberRange": {"StartingSequenceNumber": SEQUENCE},
        }]}),
        "GetShardIterator" => {
            match serde_json::from_slice::<Value>(query).expect("requests are JSON")["ShardId"] == SHARD {
                true => json!({"ShardIterator": "AAAA"}),
                false => return Reply::error("ResourceNotFoundException", "Shard does not exist"),
            }
        }
        _ => json!({"MillisBehindLatest": 0, "NextShardIterator": "BBBB", "Records": [{
            "SequenceNumber": SEQUENCE,
            "ApproximateArrivalTimestamp": 1_763_900_000.5,
            "Data": "eyJuIjowfQ==",
            "PartitionKey": "a",
        }]}),
    };
    Reply::new(200, answer.to_string())
}

/// All shards in the checkpoint have left the stream, so each is a gap.
#[tokio::test(flavor = "multi_thread")]
async fn a_report_with_thousands_of_gaps_fits_in_a_header() {
    const GONE: usize = 1_500;
    let fixture = Fixture::new().await;
    let kinesis = service(with_one_shard).await;
    for push in [true, false] {
        let options = if push { fixture.push() } else { fixture.pull() };
        let (host, url) = host(options.set("KINESIS_ENDPOINT_URL", &kinesis)).await;
        let position = json!({"after": "4959033827149025660855969253836157109"});
        let shards: Value = (0..GONE).map(|n| (format!("shardId-{n:012}"), position.clone())).collect();
        let kept = json!({"version": 1, "stream": {"name": STREAM}, "shards": shards});
        let value = json!({"version": 1, "epoch": 7, "revision": 9, "owner": "a", "until": 0, "begun": 1,
            "checkpoint": {"kept": kept}});
        host.database.put(KEY, value.to_string().as_bytes());
        let answer = drain(&url, "max-requests=10000").await;
        assert_clean(&answer);
        let report = answer.report();
        let counts = (&report["messages"], &report["gaps_total"]);
        assert_eq!((answer.status, counts), (200, (&json!(1), &json!(GONE))), "{report}");
        let gaps = report["gaps"].as_array().expect("the report lists gaps");
        assert_eq!(gaps.len(), if push { GONE } else { 3 }, "a body lists all gaps, and a header three");
        assert!(gaps.iter().all(|gap| gap["shard"].is_string() && gap["after"].is_string()), "{gaps:?}");
        let headers: usize = answer.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        assert!(headers < 8192, "{headers} bytes of headers");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_longer_than_their_operation_allows_are_not_read() {
    let fixture = Fixture::new().await;
    fixture.emulator.put(STREAM, 0..10).await;
    for (operation, bytes) in
        [("GetShardIterator", 100 << 10), ("ListShards", 17 << 20), ("DescribeStreamSummary", 100 << 10)]
    {
        let kinesis = intercept(&fixture.emulator.url, move |requested, mut reply| {
            if requested == operation {
                // This does not change what the JSON means.
                reply.body.extend(std::iter::repeat_n(b' ', bytes));
            }
            reply
        })
        .await;
        let (_host, url) = host(fixture.push().set("KINESIS_ENDPOINT_URL", &kinesis)).await;
        let report = drain(&url, "max-ms=10000").await.json();
        assert_eq!(report["messages"], 0, "{operation}: {report}");
        assert!(report["why"].as_str().is_some_and(|why| why.contains("longer than")), "{operation}: {report}");
    }
    // A page may be that long.
    let kinesis = intercept(&fixture.emulator.url, |operation, mut reply| {
        if operation == "GetRecords" {
            reply.body.extend(std::iter::repeat_n(b' ', 17 << 20));
        }
        reply
    })
    .await;
    let (_host, url) = host(fixture.push().set("KINESIS_ENDPOINT_URL", &kinesis)).await;
    assert_eq!(drain(&url, "").await.json()["messages"], 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_never_end_are_abandoned_in_time() {
    let fixture = Fixture::new().await;
    fixture.emulator.put(STREAM, 0..10).await;
    for fault in [Fault::EndlessDrip, Fault::Silence, Fault::Portal, Fault::Redirect, Fault::Reset] {
        let proxy = Proxy::start(&fixture.emulator.url, 7, Mood::of(100, &[fault])).await;
        let (_host, url) = host(fixture.push().set("KINESIS_ENDPOINT_URL", &proxy.url)).await;
        let answer = drain_briefly(&url).await;
        assert!([200, 502].contains(&answer.status), "{fault:?}: {answer:?}");
        assert_eq!((fixture.sink.count(), positions(&url).await), (0, vec![]), "{fault:?}");
    }
    let (_host, url) = host(fixture.push()).await;
    assert_eq!(drain(&url, "").await.json()["messages"], 10);
}

/// If the body of a request is cut off, a sink may take what it received for the whole batch.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_the_sink_did_not_read_completely_is_not_delivered() {
    let fixture = Fixture::new().await;
    let data = json!({"n": 1, "long": "x".repeat(900_000)}).to_string();
    for _ in 0..9 {
        fixture.emulator.put_data(STREAM, data.as_bytes(), 0).await;
    }
    let sink = header_only_server("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let (_host, url) = host(fixture.push().set("SINK_URL", &sink).set("SINK_TIMEOUT_SECONDS", "2")).await;
    let answer = drain(&url, "").await;
    assert_eq!((answer.status, &answer.json()["outcome"]), (502, &json!("sink-failed")), "{answer:?}");
    assert!(positions(&url).await.iter().all(|(_, position)| !position.contains("after")), "nothing is committed");
    let (_host, url) = host(fixture.push()).await;
    assert_eq!(drain(&url, "").await.json()["messages"], 9);
}

/// What follows the status may be long, or may never come.
#[tokio::test(flavor = "multi_thread")]
async fn only_the_status_of_a_sinks_answer_matters() {
    let fixture = Fixture::new().await;
    fixture.emulator.put(STREAM, 0..10).await;
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhal",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let sink = header_only_server(answer).await;
        let (_host, url) = host(fixture.push().set("SINK_URL", &sink).set("SINK_TIMEOUT_SECONDS", "3600")).await;
        assert_eq!(drain(&url, "max-messages=1").await.json()["outcome"], "max-messages", "{answer}");
    }
    for (answer, outcome) in [
        ("HTTP/1.1 422 No\r\ncontent-length: 99\r\n\r\nnot all of it", "blocked"),
        ("HTTP/1.1 500 No\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", "sink-failed"),
        ("HTTP/1.1 200 OK\r\nbroken", "sink-failed"),
        ("not HTTP\r\n\r\n", "sink-failed"),
    ] {
        let sink = header_only_server(answer).await;
        let (_host, url) = host(fixture.push().set("SINK_URL", &sink).set("SINK_TIMEOUT_SECONDS", "1")).await;
        let report = drain(&url, "max-messages=1").await;
        assert_eq!((report.status, &report.json()["outcome"]), (502, &json!(outcome)), "{answer}: {report:?}");
        assert_clean(&report);
    }
    // A body of many megabytes.
    let sink = service(|_, _| Reply::new(200, vec![b'x'; 64 << 20])).await;
    let (_host, url) = host(fixture.push().set("SINK_URL", &sink)).await;
    assert_eq!(drain(&url, "").await.json()["outcome"], "caught-up");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reason_for_a_dead_letter_is_one_short_line() {
    let fixture = Fixture::new().await;
    fixture.emulator.put(STREAM, 0..10).await;
    let sink = service(|_, _| Reply::new(422, format!("{EVIL}{}", "é".repeat(1 << 20)))).await;
    let (_host, url) = host(fixture.push().set("SINK_URL", &sink).set("DEAD_LETTER_URL", &fixture.sink.url)).await;
    let report = drain(&url, "").await.json();
    assert_eq!((&report["outcome"], &report["dead_letters"]), (&json!("caught-up"), &json!(10)), "{report}");
    for batch in fixture.sink.batches() {
        let reason = &batch.headers["x-kinesis-reason"];
        assert!(reason.starts_with("the sink answered 422") && reason.len() < 300 && is_clean(reason), "{reason}");
    }
}

/// A page with status 200 from something else must not look like a table without our item.
#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_not_from_dynamodb_start_nothing() {
    let fixture = Fixture::new().await;
    fixture.emulator.put(STREAM, 0..10).await;
    for reply in [
        Reply::new(200, "<html>Please log in</html>"),
        Reply::new(200, ""),
        Reply::new(200, "[]"),
        Reply::new(200, vec![b' '; 5 << 20]),
        Reply::new(200, r#"{"Item":{"id":{"S":"kinesis-reader/orders"}}}"#),
        Reply::new(200, r#"{"Item":{"id":{"S":"kinesis-reader/orders"},"value":{"N":"1"}}}"#),
        Reply::new(503, EVIL.repeat(100_000)),
    ] {
        let puts = Arc::new(AtomicUsize::new(0));
        let (counted, replied) = (puts.clone(), reply.clone());
        let database = service(move |operation, _| {
            counted.fetch_add(usize::from(operation == "PutItem"), Ordering::SeqCst);
            replied.clone()
        })
        .await;
        let options = Options::new(Build::Http, fixture.store(), &fixture.emulator.url, STREAM);
        let (_host, url) =
            host(options.set("SINK_URL", &fixture.sink.url).set("DYNAMODB_ENDPOINT_URL", &database)).await;
        let status = call("GET", &format!("{url}/status"), Some(TOKEN)).await.expect("the host answers");
        assert!([500, 503].contains(&status.status), "{reply:?}: {status:?}");
        assert_clean(&status);
        let answer = drain(&url, "").await;
        assert!([500, 503].contains(&answer.status), "{reply:?}: {answer:?}");
        assert_clean(&answer);
        assert_eq!((puts.load(Ordering::SeqCst), fixture.sink.count()), (0, 0));
    }
}

/// An answer keeps its bound even if lines are much larger than their records.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_keeps_its_bound_and_every_message_is_delivered() {
    let fixture = Fixture::new().await;
    fixture.emulator.put_aggregated(STREAM, 0..3_000, 1_000).await;
    fixture.emulator.put(STREAM, 3_000..3_200).await;
    let (_host, url) = host(fixture.pull()).await;
    let (mut numbers, mut ack) = (Vec::new(), String::new());
    loop {
        let answer = drain(&url, &format!("max-bytes=300000&ack={ack}")).await;
        let report = answer.report();
        assert!(answer.text.len() <= 300_000, "{} bytes: {report}", answer.text.len());
        assert_eq!(report["bytes"].as_u64(), Some(answer.text.len() as u64));
        numbers.extend(messages(&answer.text, None).iter().map(|message| message.number));
        ack = answer.header("x-kinesis-ack").to_owned();
        if report["outcome"] == "caught-up" {
            break;
        }
        assert_eq!(report["outcome"], "max-bytes");
        assert!(!answer.text.is_empty(), "each answer makes progress: {report}");
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (0..3_200).collect::<Vec<u64>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_larger_than_any_answer_gets_an_answer_of_its_own() {
    let fixture = Fixture::new().await;
    for number in [1, 2] {
        let data = format!("{{\"n\":{number},\"long\":\"{}\"}}", "x".repeat(50_000));
        fixture.emulator.put_data(STREAM, data.as_bytes(), 0).await;
    }
    let (_host, url) = host(fixture.pull()).await;
    let (mut ack, mut sizes) = (String::new(), Vec::new());
    for _ in 0..3 {
        let answer = drain(&url, &format!("max-bytes=1000&ack={ack}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        sizes.push(answer.text.lines().count());
        ack = answer.header("x-kinesis-ack").to_owned();
    }
    assert_eq!(sizes, [1, 1, 0]);
}
