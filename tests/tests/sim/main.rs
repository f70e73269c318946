//! The simulation: each seed is a stream, a network, a host and a reader with faults of all kinds, and then without.

mod document;
mod planted;
mod stories;

use tests::{environment, sim};

/// Enough to meet every kind of fault many times.
const SEEDS: u64 = 20_000;

#[test]
fn nothing_is_lost_or_twice_and_every_run_ends() {
    let summary = sim::play(0, SEEDS, 10);
    let failures: Vec<String> =
        summary.failures.iter().map(|f| format!("{}\n  cargo xtask sim --seed {}", f.why, f.seed)).collect();
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));

    // A simulation that never meets a fault proves nothing of it.
    let unmet: Vec<&str> = KINDS.into_iter().filter(|kind| !summary.seen.contains_key(kind)).collect();
    assert!(unmet.is_empty(), "never met: {unmet:?}");
    let unknown: Vec<_> = summary.seen.keys().filter(|kind| !KINDS.contains(kind)).collect();
    assert!(unknown.is_empty(), "met, and not in the list: {unknown:?}");
}

#[test]
fn equal_seeds_give_equal_histories() {
    for seed in 0..20 {
        let play = || environment::play_changed(seed, |scenario| scenario.runs = 2, 0).map_err(|failure| failure.why);
        assert_eq!(play(), play(), "seed {seed}");
    }
}

/// Everything that a seed may meet.
const KINDS: [&str; 103] = [
    "AFTER taken for AT",
    "aggregate",
    "aggregate with a key that is too long",
    "aggregate with messages of another shard",
    "answer after the deadline",
    "answer that nobody waits for",
    "arrival times that go back",
    "CBOR",
    "calendar set in mid-run",
    "changes of a checkpoint",
    "checkpoint to be taken whole",
    "children beside a next iterator",
    "clock corrected by the service's",
    "clock that leaps",
    "clock that steps back",
    "closed shard without records",
    "connection refused",
    "connection reset",
    "crash",
    "date of another time",
    "date that is now and then another",
    "date that is off",
    "credentials refused",
    "destination failed for good",
    "empty page",
    "empty pages before records",
    "end that is none",
    "end with children",
    "end without children",
    "equal arrival times",
    "expired iterator or token",
    "failure of the service",
    "forever: forbidden identifier",
    "forever: iterator that expires at once",
    "forever: iterator to its own page",
    "forever: iterator to the oldest record",
    "forever: no next iterator",
    "forever: parent that no listing shows",
    "forever: records out of order",
    "forever: shard that is its own child",
    "forever: shard that is its own parent",
    "forever: shards that are each other's parents",
    "forever: shards that end at once",
    "forever: token to an earlier page",
    "forever: token to an empty page",
    "forever: token to its own page",
    "gap told",
    "half an answer",
    "lag behind the newest record",
    "lag of 0 on every page with records",
    "lag on idle shards",
    "listing of many pages",
    "listing that cannot be used",
    "listings of a moment ago",
    "merge",
    "needless timeout",
    "no answer at all",
    "no credentials",
    "no date",
    "one transaction",
    "one transaction with joined checkpoints",
    "page in several batches",
    "page of a listing that has more",
    "page of HTML",
    "page of more than a second's bytes",
    "position trimmed",
    "position trimmed in silence",
    "record of 10 MiB",
    "records that left the stream",
    "records that went while the iterator was in hand",
    "records without a key",
    "recreation noticed",
    "refused for good",
    "response that Kinesis never gives",
    "run cut short",
    "run failed",
    "run limited",
    "run reached its end",
    "run stopped",
    "save that did not last",
    "sequence numbers of unequal length",
    "shard made and resharded at once",
    "shard not found",
    "shard that a listing tells of twice",
    "shard that left the stream",
    "shard that left the stream before its children",
    "shard that left the stream with its grandchildren",
    "shard that lived briefly",
    "signature of another time refused",
    "sleep",
    "sleep with a stopped clock",
    "split",
    "start at a time",
    "start at a time to come",
    "start at LATEST",
    "stream named by its ARN",
    "stream recreated",
    "summary denied",
    "three generations",
    "throttled",
    "until a time",
    "write tried again",
    "wrong calendar",
];
