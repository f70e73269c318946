//! The lease's protocol under simulation: up to eight drains on one store, which may crash, stall past their lease or
//! lose an answer at each step, on a strict store and on stores with each quirk.
//!
//! Shown: at least once, in order and once within an epoch, no gap, what was told to be kept is kept, nobody is taken
//! the lease from early; and with a sink that goes by the greatest number, exactly once. Mistakes that are planted are
//! found.

mod calendar;
mod store;
mod worker;
mod world;

use std::collections::BTreeMap;

use kinesis_reader_lease::{Answer, Call, Fault, Lease, Outcome, Settings, Step, Value};
use store::{QUIRKS, Quirk};
use world::{Mistake, Scenario, play, play_unreadable};

const SEEDS: u64 = 3_000;

/// Enough for the mistake that is hardest to find to be found by some twenty.
const FAULT_SEEDS: u64 = 800;

#[test]
fn nothing_is_missed_and_what_is_kept_stays_on_any_store() {
    let mut seen: BTreeMap<(Quirk, &str), u64> = BTreeMap::new();
    for seed in 0..SEEDS {
        let scenario = Scenario::of(seed);
        match play(seed, &scenario) {
            Ok(met) => {
                met.into_iter().for_each(|(what, count)| *seen.entry((scenario.quirk, what)).or_default() += count)
            }
            Err(why) => panic!("seed {seed}: {why}\n{scenario:?}"),
        }
    }
    // A simulation that never meets a fault proves nothing of it.
    for quirk in QUIRKS {
        for what in ["taken", "held", "lost", "stall", "given back", "unavailable", "messages twice"] {
            assert!(seen.contains_key(&(quirk, what)), "never met on {quirk:?}: {what}");
        }
    }
}

#[test]
fn without_crashes_and_stalls_nothing_comes_twice() {
    for seed in 0..SEEDS / 4 {
        let scenario = Scenario { crash: 0, stall: 0, sink_fails: 0, lost_reply: 0, ..Scenario::of(seed) };
        let met = play(seed, &scenario).unwrap_or_else(|why| panic!("seed {seed}: {why}\n{scenario:?}"));
        // A commit that cannot be seen does not count as made.
        assert!(scenario.quirk == Quirk::StaleRead || !met.contains_key("messages twice"), "seed {seed}: {scenario:?}");
    }
}

#[test]
fn a_process_that_stops_for_minutes_while_it_creates_on_sqlite_misses_nothing() {
    for seed in 0..SEEDS / 2 {
        let (quirk, latest) = (Quirk::OverwriteAbsent, false);
        let scenario = Scenario { quirk, latest, stalls_in_creation: true, stall: 15, ..Scenario::of(seed) };
        play(seed, &scenario).unwrap_or_else(|why| panic!("seed {seed}: {why}\n{scenario:?}"));
    }
}

/// Clocks that are years off, stand still or are set at any moment, and operators who free the lease: one that is held
/// until the year 9999, and one that is at work.
#[test]
fn wrong_clocks_cost_repetitions_and_nothing_else() {
    let mut seen: BTreeMap<(Quirk, &str), u64> = BTreeMap::new();
    for seed in 0..SEEDS {
        let scenario = with_wrong_clocks(seed);
        let met = play(seed, &scenario).unwrap_or_else(|why| panic!("seed {seed}: {why}\n{scenario:?}"));
        met.into_iter().for_each(|(what, count)| *seen.entry((scenario.quirk, what)).or_default() += count);
    }
    for quirk in QUIRKS {
        for what in ["clock set", "ahead", "revoked", "free", "lost", "messages twice"] {
            assert!(seen.contains_key(&(quirk, what)), "never met on {quirk:?}: {what}");
        }
    }
}

fn with_wrong_clocks(seed: u64) -> Scenario {
    let meddling = [0, 10][(seed / 7 % 2) as usize];
    Scenario { wrong_clocks: true, meddling, latest: false, ..Scenario::of(seed) }
}

#[test]
fn what_cannot_be_read_is_left_alone() {
    let newer = br#"{"version":2,"epoch":1}"#;
    let endless =
        br#"{"version":1,"epoch":1,"revision":18446744073709551615,"owner":"a","until":0,"begun":1,"checkpoint":null}"#;
    for seed in 0..SEEDS / 10 {
        for there in [newer.as_slice(), endless, b"", b"\x01\0\0\0\0\0\0\0"] {
            let scenario = Scenario::of(seed);
            play_unreadable(seed, &scenario, there).unwrap_or_else(|why| panic!("seed {seed}: {why}\n{scenario:?}"));
        }
    }
}

#[test]
fn mistakes_that_are_planted_are_found() {
    let faults = [
        Fault::TrustSuccess,
        Fault::TrustFailure,
        Fault::SwapAgain,
        Fault::NoGuard,
        Fault::HastyGuard,
        Fault::IgnoreTime,
        Fault::IgnoreOwner,
        Fault::KeepEpoch,
        Fault::DropCheckpoint,
        Fault::BeginLate,
    ];
    let faults = faults.map(|fault| (format!("{fault:?}"), Some(fault), None));
    let mistakes = [Mistake::CommitFirst, Mistake::CountFailed].map(|m| (format!("{m:?}"), None, Some(m)));
    let clocks = [Fault::BelieveAhead, Fault::RevokeUnfenced, Fault::RevokeAll];
    let clocks = clocks.map(|fault| (format!("{fault:?}"), Some(fault), None));
    let cases = faults.into_iter().chain(mistakes).map(|case| (case, false));
    for ((name, fault, mistake), wrong_clocks) in cases.chain(clocks.map(|case| (case, true))) {
        let found = |seed: &u64| {
            let scenario = if wrong_clocks { with_wrong_clocks(*seed) } else { Scenario::of(*seed) };
            play(*seed, &Scenario { fault, mistake, ..scenario }).is_err()
        };
        let by = (0..FAULT_SEEDS).filter(found).count();
        eprintln!("{name}: found by {by} of {FAULT_SEEDS} seeds");
        assert!(by > 0, "{name} is not found");
    }
    let there = br#"{"version":2,"epoch":1}"#;
    let overwrite = |seed| Scenario { fault: Some(Fault::OverwriteUnreadable), ..Scenario::of(seed) };
    assert!((0..100).any(|seed| play_unreadable(seed, &overwrite(seed), there).is_err()));
}

/// As where the value has grown too large for it, or where we may not write.
#[test]
fn a_store_that_takes_no_write_is_given_up_in_time_with_its_own_words() {
    let settings = Settings { time: 60_000, grace: 2_000, patience: 8_000, pause: 50 };
    let value = Value { epoch: 3, revision: 9, owner: "a".to_owned(), until: 0, begun: 1, checkpoint: None };
    for there in [None, Some(value.to_bytes().expect("it is JSON"))] {
        for said in [Ok(()), Err("the value is too large".to_owned())] {
            let (begun, mut now, mut swaps) = (1_763_900_000_000, 1_763_900_000_000, 0);
            let mut lease = Lease::acquire("b".to_owned(), settings, now);
            let outcome = loop {
                let answer = match lease.poll(now) {
                    Step::Done(outcome) => break outcome,
                    Step::Call(Call::Read) => Answer::Read(Ok(there.clone())),
                    Step::Call(Call::Increment { by, .. }) => Answer::Incremented(Ok(by)),
                    Step::Call(Call::Swap(_)) => {
                        swaps += 1;
                        Answer::Swapped(said.clone())
                    }
                    Step::Call(Call::Pause(until)) => {
                        now = until;
                        Answer::Paused
                    }
                };
                lease.handle(answer, now);
                assert!(now - begun <= settings.patience && swaps < 20, "{swaps} swaps in {} ms", now - begun);
            };
            let words = said.err().unwrap_or_else(|| "what was written is not there".to_owned());
            assert_eq!((outcome, lease.held()), (Outcome::Unavailable(words), None));
        }
    }
}

/// What a hostile store can do, on a clock that stands still: each reading finds another value, free and newer.
#[test]
fn a_value_that_never_comes_to_rest_is_given_up() {
    let settings = Settings { time: 60_000, grace: 2_000, patience: 8_000, pause: 50 };
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
                    Step::Call(Call::Swap(_)) => Answer::Swapped(Err("it has changed".to_owned())),
                    Step::Call(Call::Increment { by, .. }) => Answer::Incremented(Ok(by)),
                    Step::Call(Call::Pause(_)) => Answer::Paused,
                };
                lease.handle(answer, now);
                calls += 1;
                assert!(calls < 200, "no end at {now}");
            };
            match outcome {
                Outcome::Unavailable(_) | Outcome::Free | Outcome::Ahead { .. } => {}
                other => panic!("{other:?} at {now}"),
            }
        }
    }
}

/// `until` may be anything, and what frees the lease leaves all else: by hand, or by whoever is asked to.
#[test]
fn a_lease_of_any_length_is_freed_with_its_checkpoint() {
    let settings = Settings { time: 60_000, grace: 2_000, patience: 8_000, pause: 50 };
    let now = 1_763_900_000_000;
    let checkpoint = Some(r#"{"kept":[7]}"#.to_owned());
    for until in [1, now, now + 30_000, now + 7_200_000, 253_402_300_799_999, u64::MAX] {
        let value =
            Value { epoch: 3, revision: 9, owner: "a".to_owned(), until, begun: 1, checkpoint: checkpoint.clone() };
        let mut there = value.to_bytes().expect("it is JSON");
        let mut settle = |mut lease: Lease| loop {
            let answer = match lease.poll(now) {
                Step::Done(outcome) => break (outcome, lease),
                Step::Call(Call::Read) => Answer::Read(Ok(Some(there.clone()))),
                Step::Call(Call::Swap(value)) => {
                    there = value;
                    Answer::Swapped(Ok(()))
                }
                Step::Call(other) => panic!("{other:?}"),
            };
            lease.handle(answer, now);
        };
        let (outcome, _) = settle(Lease::acquire("b".to_owned(), settings, now));
        match until {
            1 => assert_eq!(outcome, Outcome::Written),
            _ if until <= now + 3_660_000 => assert!(matches!(outcome, Outcome::Held { .. }), "{until}: {outcome:?}"),
            _ => assert_eq!(outcome, Outcome::Ahead { by: until - now }),
        }
        let (outcome, lease) = settle(Lease::revoke("c".to_owned(), settings, now));
        let held = lease.held().cloned().expect("it was written");
        assert_eq!((outcome, held.until, &held.checkpoint), (Outcome::Written, 0, &checkpoint));
        let (outcome, _) = settle(Lease::revoke("d".to_owned(), settings, now));
        assert_eq!(outcome, Outcome::Free);
        let (outcome, lease) = settle(Lease::acquire("e".to_owned(), settings, now));
        assert_eq!(
            (outcome, lease.held().map(|held| held.checkpoint.clone())),
            (Outcome::Written, Some(checkpoint.clone()))
        );
    }
}
