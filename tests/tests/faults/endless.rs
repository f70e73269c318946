//! The program with services that never finish or contradict themselves. Each run must end soon and by itself, with an
//! error that is safe to print on a terminal.
//!
//! `tests/tests/endless.rs` has more such services for the machine. Here we check that nothing in the host keeps a run
//! from ending.

use std::process::Output;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use test_support::emulator::REGION;
use test_support::hostile::{Hostile, Request, answer, record, shard};
use test_support::program::{STREAM, bare, read, run, stderr};

/// More requests than two runs need.
const REQUESTS_MAX: usize = 1_000;

#[test]
fn listings_that_do_not_end_are_an_error() {
    for (name, token) in [
        ("the same token", (|_, _| json!("T")) as fn(&Request, u64) -> Value),
        ("two tokens in turn", |request, _| json!(if request.body["NextToken"] == "A" { "B" } else { "A" })),
        ("new tokens", |_, count| json!(count.to_string())),
    ] {
        let count = AtomicU64::new(0);
        let server = Hostile::start(move |request| {
            let token = token(request, count.fetch_add(1, Ordering::Relaxed));
            let shards = if token == "T" { vec![shard("shardId-000000000000")] } else { Vec::new() };
            (request.operation == "ListShards").then(|| answer(200, "", &json!({"Shards": shards, "NextToken": token})))
        });
        fails(&server, name, "the listing does not end");
    }
}

#[test]
fn a_stream_without_shards_is_an_error() {
    let server =
        Hostile::start(|request| (request.operation == "ListShards").then(|| answer(200, "", &json!({"Shards": []}))));
    fails(&server, "no shards", "the stream has no shards");
}

#[test]
fn shards_that_are_their_own_ancestors_are_an_error() {
    for (name, parents) in [("its own parent", &[(0, 0)][..]), ("a cycle of three", &[(0, 1), (1, 2), (2, 0)])] {
        let server = Hostile::start(move |request| {
            let listed = |&(shard, parent): &(u64, u64)| json!({"ShardId": format!("shardId-{shard:012}"), "ParentShardId": format!("shardId-{parent:012}")});
            let shards: Vec<Value> = parents.iter().map(listed).collect();
            (request.operation == "ListShards").then(|| answer(200, "", &json!({"Shards": shards})))
        });
        fails(&server, name, "is its own ancestor");
    }
    let child = json!([{"ShardId": "shardId-000000000000", "ParentShards": ["shardId-000000000000"]}]);
    let server = Hostile::start(move |request| {
        let page = json!({"Records": [], "MillisBehindLatest": 0, "ChildShards": child});
        (request.operation == "GetRecords").then(|| answer(200, "", &page))
    });
    fails(&server, "its own child", "is its own ancestor");
}

#[test]
fn iterators_that_lead_back_and_records_out_of_order_are_an_error() {
    let page = |numbers: [u64; 3], lag: u64| {
        let records = numbers.map(|number| record(number, "key", b"{}"));
        answer(200, "", &json!({"Records": records, "NextShardIterator": "0", "MillisBehindLatest": lag}))
    };
    for (name, numbers, lag, words) in [
        ("the same page", [0, 1, 2], 1000, "leads back to records that were delivered"),
        ("records in reverse", [2, 1, 0], 0, "not after the record before it"),
        ("records of one number", [1, 1, 1], 0, "not after the record before it"),
    ] {
        let page = page(numbers, lag);
        let server = Hostile::start(move |request| (request.operation == "GetRecords").then(|| page.clone()));
        fails(&server, name, words);
    }
}

#[test]
fn forbidden_identifiers_are_an_error_and_escaped() {
    const ID: &str = "shardId-0\u{1b}]0;name\u{7}\u{1b}[2J\n1999-01-01T00:00:00Z  INFO forged\r\u{202e}gnp.exe";
    for id in [ID, "../../x", "shardId-\0", &"9".repeat(1 << 20)] {
        let listing = answer(200, "", &json!({"Shards": [shard(id)]}));
        let server = Hostile::start(move |request| (request.operation == "ListShards").then(|| listing.clone()));
        fails(&server, &id[..7], "not a shard id");
    }
}

#[test]
fn a_lag_that_never_ends_does_not_keep_a_run_from_ending() {
    for (name, lag) in
        [("constant", (|_| 5000) as fn(u64) -> u64), ("greatest", |_| u64::MAX), ("falling", |count| (1 << 60) - count)]
    {
        let count = AtomicU64::new(0);
        let server = Hostile::start(move |request| {
            let lag = lag(count.fetch_add(1, Ordering::Relaxed));
            let page = json!({"Records": [], "NextShardIterator": "0", "MillisBehindLatest": lag});
            (request.operation == "GetRecords").then(|| answer(200, "", &page))
        });
        let folder = tempfile::tempdir().expect("a temporary directory");
        let output = run(&mut read(folder.path(), &server.url, "sqlite:out.db"));
        assert!(output.status.success(), "{name}: {}", stderr(&output));
        assert!(server.requests() < REQUESTS_MAX, "{name}: {} requests", server.requests());
    }
}

/// Asserts that a run soon fails with this text, and that the program prints nothing that acts on a terminal.
#[track_caller]
fn fails(server: &Hostile, name: &str, text: &str) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let output = run(&mut read(folder.path(), &server.url, "sqlite:out.db"));
    assert_eq!(output.status.code(), Some(1), "{name}: {}", stderr(&output));
    assert!(stderr(&output).contains(text), "{name}: {}", stderr(&output));
    assert_clean(name, &output);
    let mut shards = bare(folder.path());
    shards.args(["shards", STREAM, "--endpoint-url", &server.url, "--region", REGION]);
    assert_clean(name, &run(&mut shards));
    assert!(server.requests() < REQUESTS_MAX, "{name}: {} requests", server.requests());
}

#[track_caller]
fn assert_clean(name: &str, output: &Output) {
    for bytes in [&output.stdout, &output.stderr] {
        let text = String::from_utf8_lossy(bytes);
        let acts = |character: char| character != '\n' && character.is_control() || character == '\u{202e}';
        assert!(!text.chars().any(acts) && !text.lines().any(|line| line.starts_with("1999")), "{name}: {text:?}");
    }
}
