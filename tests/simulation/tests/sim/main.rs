//! The simulation: each seed plays a stream, a network, a host and a reader, first with faults of all kinds and then
//! without.

mod stories;

use simulation::{environment, sim};

/// Enough for every kind of event to occur many times.
const SEEDS: u64 = 20_000;

#[test]
fn nothing_is_lost_or_repeated_and_every_run_ends() {
    let summary = sim::play(0, SEEDS, 10);
    let failures: Vec<String> =
        summary.failures.iter().map(|f| format!("{}\n  cargo xtask sim --seed {}", f.why, f.seed)).collect();
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));

    // A simulation in which an event never occurs says nothing about it.
    let missing: Vec<&str> = KINDS.into_iter().filter(|kind| !summary.coverage.contains_key(kind)).collect();
    assert!(missing.is_empty(), "never occurred: {missing:?}");
    let unknown: Vec<_> = summary.coverage.keys().filter(|kind| !KINDS.contains(kind)).collect();
    assert!(unknown.is_empty(), "not in the list: {unknown:?}");
}

#[test]
fn equal_seeds_give_equal_histories() {
    for seed in 0..20 {
        let play = || environment::play_changed(seed, |scenario| scenario.runs = 2, 0).map_err(|failure| failure.why);
        assert_eq!(play(), play(), "seed {seed}");
    }
}

/// Every kind of event in the simulation.
const KINDS: [&str; 103] = [
    "AFTER_SEQUENCE_NUMBER like AT_SEQUENCE_NUMBER",
    "aggregated record",
    "aggregated record with a key that is too long",
    "aggregated record with user records of another shard",
    "answer after its deadline",
    "answer that Kinesis never gives",
    "calendar set during a run",
    "CBOR",
    "changes of a checkpoint",
    "checkpoint without known changes",
    "children next to an iterator",
    "clock corrected by the service's",
    "clock that jumps forward",
    "clock that steps back",
    "closed shard without records",
    "connection refused",
    "connection reset",
    "constant Date header",
    "crash",
    "credentials refused",
    "decreasing arrival times",
    "destination failed permanently",
    "empty page",
    "empty pages before records",
    "end with children",
    "end without children",
    "equal arrival times",
    "expired iterator or token",
    "failure of the service",
    "false end",
    "forever: forbidden identifier",
    "forever: iterator that expires at once",
    "forever: iterator to the oldest record",
    "forever: iterator to the same page",
    "forever: no next iterator",
    "forever: records out of order",
    "forever: shard that is its own child",
    "forever: shard that is its own parent",
    "forever: shards that are each other's parents",
    "forever: shards that close at once",
    "forever: token to an earlier page",
    "forever: token to an empty page",
    "forever: token to the same page",
    "forever: unlisted parent",
    "gap reported",
    "HTML page",
    "lag behind the newest record",
    "lag of 0 on every page with records",
    "lag on idle shards",
    "lost save",
    "merge",
    "missing Date header",
    "multi-page listing",
    "no answer",
    "no credentials",
    "one transaction",
    "one transaction with merged checkpoints",
    "page in several batches",
    "page of a listing with further pages",
    "page with more bytes than a second allows",
    "permanent failure",
    "position silently trimmed",
    "position trimmed",
    "record of 10 MiB",
    "records that left the stream",
    "records trimmed after the iterator was created",
    "records without a partition key",
    "recreation noticed",
    "run cut short",
    "run failed",
    "run limited",
    "run reached its end",
    "run stopped",
    "sequence numbers of different lengths",
    "shard created and resharded at once",
    "shard listed twice",
    "shard not found",
    "shard that left the stream",
    "shard that left the stream before its children",
    "shard that left the stream with its grandchildren",
    "short-lived shard",
    "signature time refused",
    "sleep",
    "sleep with a stopped clock",
    "sometimes wrong Date header",
    "split",
    "spurious timeout",
    "stale listings",
    "start at a time",
    "start at LATEST",
    "start in the future",
    "stream named by its ARN",
    "stream recreated",
    "summary denied",
    "three generations",
    "throttled",
    "truncated answer",
    "unexpected answer",
    "until a time",
    "unusable listing",
    "write retried",
    "wrong calendar",
    "wrong Date header",
];
