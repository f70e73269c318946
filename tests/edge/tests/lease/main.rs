//! Simulates the lease's protocol: up to eight drains share one store, and at each step they may crash, stall past the
//! end of their lease or lose an answer. The store is strict or has one of the known quirks.
//!
//! The simulation checks that messages are delivered at least once, without gaps, and in order and once within an
//! epoch; that no commit is lost; that no lease is taken early; and that a sink which keeps the highest number gets
//! each message exactly once.

mod calendar;
mod environment;
mod store;
mod worker;

use std::collections::BTreeMap;

use environment::{Scenario, run, run_unreadable};
use kinesis_reader_lease::{Answer, Call, Lease, Outcome, Settings, Step, Value};
use store::{QUIRKS, Quirk};

const SEEDS: u64 = 3_000;

/// A value that a later version of the lease wrote.
const LATER_VERSION: &[u8] = br#"{"version":2,"epoch":1}"#;

/// Plays seeds and prints those that fail: `--first S --seeds N --failures MOST`. `tests/src/mutants/lease.rs` builds
/// this file as a program, in copies with a planted fault.
fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |name: &str| -> Option<u64> {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)?.parse().ok()
    };
    let first = number("--first").unwrap_or(0);
    let seeds = first..first + number("--seeds").unwrap_or(SEEDS);
    let failures = seeds.filter_map(|seed| Some((seed, play(seed).err()?)));
    for (seed, why) in failures.take(number("--failures").unwrap_or(20) as usize) {
        println!("seed {seed}: {why}");
    }
}

/// Plays a seed with good clocks, with wrong clocks, and on a store whose value cannot be read.
fn play(seed: u64) -> Result<(), String> {
    run(seed, &Scenario::of(seed))?;
    run(seed, &with_wrong_clocks(seed))?;
    run_unreadable(seed, &Scenario::of(seed), LATER_VERSION)
}

#[test]
fn no_message_is_missed_and_no_commit_is_lost_on_any_store() {
    let mut seen: BTreeMap<(Quirk, &str), u64> = BTreeMap::new();
    for seed in 0..SEEDS {
        let scenario = Scenario::of(seed);
        match run(seed, &scenario) {
            Ok(events) => {
                events.into_iter().for_each(|(what, count)| *seen.entry((scenario.quirk, what)).or_default() += count)
            }
            Err(why) => panic!("seed {seed}: {why}\n{scenario:?}"),
        }
    }
    // A simulation in which an event never happens proves nothing about it.
    for quirk in QUIRKS {
        for what in ["acquired", "held", "lost", "stall", "given back", "unavailable", "messages twice"] {
            assert!(seen.contains_key(&(quirk, what)), "never happened on {quirk:?}: {what}");
        }
    }
}

#[test]
fn without_crashes_and_stalls_nothing_comes_twice() {
    for seed in 0..SEEDS / 4 {
        let scenario = Scenario { crash: 0, stall: 0, sink_fails: 0, lost_reply: 0, ..Scenario::of(seed) };
        let events = run(seed, &scenario).unwrap_or_else(|why| panic!("seed {seed}: {why}\n{scenario:?}"));
        // Stale reads can make a successful commit look like a failed one.
        assert!(
            scenario.quirk == Quirk::StaleRead || !events.contains_key("messages twice"),
            "seed {seed}: {scenario:?}"
        );
    }
}

#[test]
fn a_process_suspended_while_it_creates_the_value_on_sqlite_misses_nothing() {
    for seed in 0..SEEDS / 2 {
        let (quirk, latest) = (Quirk::OverwriteAbsent, false);
        let scenario = Scenario { quirk, latest, stalls_in_creation: true, stall: 15, ..Scenario::of(seed) };
        run(seed, &scenario).unwrap_or_else(|why| panic!("seed {seed}: {why}\n{scenario:?}"));
    }
}

/// Clocks are years off, stand still or are set at any moment, and operators free leases that end in the year 9999 or
/// that are in use.
#[test]
fn wrong_clocks_cause_only_repetitions() {
    let mut seen: BTreeMap<(Quirk, &str), u64> = BTreeMap::new();
    for seed in 0..SEEDS {
        let scenario = with_wrong_clocks(seed);
        let events = run(seed, &scenario).unwrap_or_else(|why| panic!("seed {seed}: {why}\n{scenario:?}"));
        events.into_iter().for_each(|(what, count)| *seen.entry((scenario.quirk, what)).or_default() += count);
    }
    for quirk in QUIRKS {
        for what in ["clock set", "ahead", "revoked", "free", "lost", "messages twice"] {
            assert!(seen.contains_key(&(quirk, what)), "never happened on {quirk:?}: {what}");
        }
    }
}

fn with_wrong_clocks(seed: u64) -> Scenario {
    let needless_revoke = [0, 10][(seed / 7 % 2) as usize];
    Scenario { wrong_clocks: true, needless_revoke, latest: false, ..Scenario::of(seed) }
}

#[test]
fn an_unreadable_value_is_left_alone() {
    let out_of_range =
        br#"{"version":1,"epoch":1,"revision":18446744073709551615,"owner":"a","until":0,"begun":1,"checkpoint":null}"#;
    for seed in 0..SEEDS / 10 {
        for stored in [LATER_VERSION, out_of_range, b"", b"\x01\0\0\0\0\0\0\0"] {
            let scenario = Scenario::of(seed);
            run_unreadable(seed, &scenario, stored).unwrap_or_else(|why| panic!("seed {seed}: {why}\n{scenario:?}"));
        }
    }
}

/// This happens if the value has grown too large for the store, or if we lack permission to write.
#[test]
fn a_store_that_rejects_writes_is_given_up_in_time_with_its_error() {
    let settings = Settings { duration: 60_000, grace: 2_000, timeout: 8_000, backoff: 50 };
    let value = Value { epoch: 3, revision: 9, owner: "a".to_owned(), until: 0, begun: 1, checkpoint: None };
    for stored in [None, Some(value.to_bytes().expect("there is no checkpoint that could be invalid"))] {
        for swapped in [Ok(()), Err("the value is too large".to_owned())] {
            let (start, mut now, mut swaps) = (1_763_900_000_000, 1_763_900_000_000, 0);
            let mut lease = Lease::acquire("b".to_owned(), settings, now);
            let outcome = loop {
                let answer = match lease.poll(now) {
                    Step::Done(outcome) => break outcome,
                    Step::Call(Call::Read) => Answer::Read(Ok(stored.clone())),
                    Step::Call(Call::Increment { by, .. }) => Answer::Incremented(Ok(by)),
                    Step::Call(Call::Swap(_)) => {
                        swaps += 1;
                        Answer::Swapped(swapped.clone())
                    }
                    Step::Call(Call::Pause(until)) => {
                        now = until;
                        Answer::Paused
                    }
                };
                lease.handle(answer, now);
                assert!(now - start <= settings.timeout && swaps < 20, "{swaps} swaps in {} ms", now - start);
            };
            let why = swapped.err().unwrap_or_else(|| "the value is not there after it was written".to_owned());
            assert_eq!((outcome, lease.held()), (Outcome::Unavailable(why), None));
        }
    }
}

/// A hostile store returns a newer value with each read, while the clock stands still.
#[test]
fn a_value_that_keeps_changing_is_given_up() {
    let settings = Settings { duration: 60_000, grace: 2_000, timeout: 8_000, backoff: 50 };
    for (now, until) in [(0, 0), (1_763_900_000_000, 0), (u64::MAX, 0), (1_763_900_000_000, u64::MAX)] {
        let owner = || "b".to_owned();
        for mut lease in [Lease::acquire(owner(), settings, now), Lease::revoke(owner(), settings, now)] {
            let (mut calls, mut revision) = (0, 0);
            let outcome = loop {
                let answer = match lease.poll(now) {
                    Step::Done(outcome) => break outcome,
                    Step::Call(Call::Read) => {
                        revision += 1;
                        let owner = format!("a{revision}");
                        let value = Value { epoch: 1, revision, owner, until, begun: 1, checkpoint: None };
                        Answer::Read(Ok(value.to_bytes()))
                    }
                    Step::Call(Call::Swap(_)) => Answer::Swapped(Err("the value has changed".to_owned())),
                    Step::Call(Call::Increment { by, .. }) => Answer::Incremented(Ok(by)),
                    Step::Call(Call::Pause(_)) => Answer::Paused,
                };
                lease.handle(answer, now);
                calls += 1;
                assert!(calls < 200, "no outcome at {now}");
            };
            match outcome {
                Outcome::Unavailable(_) | Outcome::Free | Outcome::Ahead { .. } => {}
                other => panic!("{other:?} at {now}"),
            }
        }
    }
}

/// `until` may be any number.
#[test]
fn freeing_a_lease_of_any_length_keeps_the_checkpoint() {
    let settings = Settings { duration: 60_000, grace: 2_000, timeout: 8_000, backoff: 50 };
    let now = 1_763_900_000_000;
    let checkpoint = Some(r#"{"kept":[7]}"#.to_owned());
    for until in [1, now, now + 30_000, now + 7_200_000, 253_402_300_799_999, u64::MAX] {
        let value =
            Value { epoch: 3, revision: 9, owner: "a".to_owned(), until, begun: 1, checkpoint: checkpoint.clone() };
        let mut stored = value.to_bytes().expect("the checkpoint is JSON");
        let mut finish = |mut lease: Lease| loop {
            let answer = match lease.poll(now) {
                Step::Done(outcome) => break (outcome, lease),
                Step::Call(Call::Read) => Answer::Read(Ok(Some(stored.clone()))),
                Step::Call(Call::Swap(value)) => {
                    stored = value;
                    Answer::Swapped(Ok(()))
                }
                Step::Call(other) => panic!("{other:?}"),
            };
            lease.handle(answer, now);
        };
        let (outcome, _) = finish(Lease::acquire("b".to_owned(), settings, now));
        match until {
            1 => assert_eq!(outcome, Outcome::Written),
            _ if until <= now + 3_660_000 => assert!(matches!(outcome, Outcome::Held { .. }), "{until}: {outcome:?}"),
            _ => assert_eq!(outcome, Outcome::Ahead { by: until - now }),
        }
        let (outcome, lease) = finish(Lease::revoke("c".to_owned(), settings, now));
        let held = lease.held().cloned().expect("the value was written");
        assert_eq!((outcome, held.until, &held.checkpoint), (Outcome::Written, 0, &checkpoint));
        let (outcome, _) = finish(Lease::revoke("d".to_owned(), settings, now));
        assert_eq!(outcome, Outcome::Free);
        let (outcome, lease) = finish(Lease::acquire("e".to_owned(), settings, now));
        assert_eq!(
            (outcome, lease.held().map(|held| held.checkpoint.clone())),
            (Outcome::Written, Some(checkpoint.clone()))
        );
    }
}
