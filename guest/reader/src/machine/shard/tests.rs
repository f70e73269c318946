//! Every state with every event, as a table that is kept beside this file.

use std::collections::BTreeSet;
use std::format;
use std::string::String;
use std::vec::Vec;

use super::*;
use crate::checkpoint::MessagePosition;

/// The columns: `seek` and so on are members of the state, `f+d+w` counts failures, delays and wrong responses.
#[test]
fn each_state_meets_each_event_as_the_table_says() {
    let mut table = String::from("state | event -> next state | position | effect\n");
    let mut impossible = String::new();
    for (name, state) in states() {
        let mut never = Vec::new();
        for (event_name, event) in events() {
            let Step { state: next, position, effect } = state.clone().on(event, &mut context(&mut Rng::new(1), None));
            if effect == Effect::Impossible {
                assert_eq!((&next, position), (&state, None), "{name} {event_name}");
                never.push(event_name);
                continue;
            }
            let is_ignored = next == state && position.is_none() && effect == Effect::Nothing;
            let next = if is_ignored { "ignored".into() } else { words(&next) };
            let position = position.map_or("-".into(), |position| format!("{position:?}"));
            table += &format!("{name} | {event_name} -> {next} | {position} | {effect:?}\n");
        }
        impossible += &format!("{name}: {}\n", never.join("; "));
    }
    table += "\nimpossible\n";
    table += &impossible;
    assert_eq!(table, include_str!("table.txt"), "\n{table}");
}

#[test]
fn the_diagram_shows_exactly_the_changes_of_the_table() {
    let mut changes = BTreeSet::new();
    for (_, state) in states() {
        for (_, event) in events() {
            // No failure is allowed, and any number of them.
            for failures in [Some(0), None] {
                let step = state.clone().on(event.clone(), &mut context(&mut Rng::new(1), failures));
                let is_same = step.state == state;
                if step.effect != Effect::Impossible && !is_same {
                    changes.insert(format!("{:?} -> {:?}", state.shown(), step.state.shown()));
                }
            }
        }
    }
    let lines = include_str!("../shard.rs").lines().map_while(|line| line.strip_prefix("//!"));
    let edges = lines.filter_map(|line| {
        let (from, rest) = line.split_once(" -> ")?;
        let to = rest.split_whitespace().next()?;
        Some(format!("{} -> {to}", from.trim()))
    });
    assert_eq!(edges.collect::<BTreeSet<_>>(), changes);
}

#[test]
fn a_final_state_is_never_left() {
    for (name, state) in states().into_iter().filter(|(_, state)| state.is_final()) {
        for (event_name, event) in events() {
            let step = state.clone().on(event, &mut context(&mut Rng::new(1), None));
            assert_eq!(step, Step::impossible(state.clone()), "{name} {event_name}");
        }
    }
}

#[test]
fn failures_end_a_shard_and_throttling_does_not() {
    let reading =
        || State::Reading { iterator: iterator(Seek::Position), request: RequestId(1), sent: NOW, trouble: TWICE };
    let next = |event| reading().on(event, &mut context(&mut Rng::new(1), Some(3))).state;
    assert_eq!(next(Event::Failed(Verdict::Transient)), State::Failed);
    assert_eq!(next(Event::Failed(Verdict::Expired)), State::Failed);
    assert!(matches!(next(Event::Failed(Verdict::Throttled)), State::Ready { .. }));
}

#[test]
fn a_few_wrong_responses_end_a_shard() {
    for event in [Verdict::Wrong, Verdict::Astray].map(Event::Failed) {
        for (most, tries) in [(Some(100), WRONGS_MAX), (Some(2), 2), (None, 1000)] {
            let mut trouble = Trouble::default();
            let mut rng = Rng::new(1);
            let ended = (1..=1000).find(|_| {
                let reading =
                    State::Reading { iterator: iterator(Seek::Position), request: RequestId(1), sent: NOW, trouble };
                let state = reading.on(event.clone(), &mut context(&mut rng, most)).state;
                trouble = state.trouble();
                state == State::Failed
            });
            assert_eq!(ended, most.map(|_| tries), "{event:?}, {most:?}");
        }
    }
}

#[test]
fn an_iterator_that_expires_at_its_age_is_not_a_failure() {
    let reading =
        State::Reading { iterator: iterator(Seek::Position), request: RequestId(1), sent: NOW, trouble: TWICE };
    let mut rng = Rng::new(1);
    let mut cx = Context { now: NOW + ITERATOR_LIFE, ..context(&mut rng, Some(3)) };
    let State::Seeking { trouble, .. } = reading.on(Event::Failed(Verdict::Expired), &mut cx).state else {
        panic!("it is sought anew")
    };
    assert_eq!(trouble, TWICE.delayed());
}

#[test]
fn the_pace_is_kept_after_a_failure() {
    let reading =
        State::Reading { iterator: iterator(Seek::Position), request: RequestId(1), sent: NOW, trouble: ONCE };
    let mut rng = Rng::new(1);
    let mut cx = Context { paced: Instant(1_000_000), ..context(&mut rng, None) };
    let State::Ready { not_before, .. } = reading.on(Event::Failed(Verdict::Transient), &mut cx).state else {
        panic!("it is read again")
    };
    assert_eq!(not_before, Instant(1_000_000));
}

const NOW: Instant = Instant(1000);
const ONCE: Trouble = Trouble { failures: 1, delays: 0, wrongs: 0 };
const TWICE: Trouble = Trouble { failures: 2, delays: 0, wrongs: 0 };

fn states() -> Vec<(&'static str, State)> {
    let (request, sent, trouble) = (RequestId(1), NOW, ONCE);
    let seeking = |seek| State::Seeking { seek, not_before: NOW, trouble };
    let sought = |seek| State::Sought { seek, request, sent, trouble };
    let reading = |seek| State::Reading { iterator: iterator(seek), request, sent, trouble };
    let delivering = |then| State::Delivering { batch: BatchId(1), to: Some(position()), then };
    let ending = |why, trouble| State::Ending { since: 5, why, seek: Seek::Position, trouble };
    Vec::from([
        ("Blocked", State::Blocked { seek: Seek::Position }),
        ("Seeking", seeking(Seek::Position)),
        ("Sought", sought(Seek::Position)),
        ("Sought at the tip", sought(Seek::Latest)),
        ("Sought the oldest", sought(Seek::Oldest)),
        ("Ready", State::Ready { iterator: iterator(Seek::Position), not_before: NOW, trouble }),
        ("Reading", reading(Seek::Position)),
        ("Reading the oldest", reading(Seek::Oldest)),
        ("Delivering, then more", delivering(read())),
        ("Delivering, then a new iterator", delivering(Then::Seek)),
        ("Delivering, then caught up", delivering(Then::CaughtUp)),
        ("Delivering, then drained", delivering(Then::Drained)),
        ("Delivering, then ending", delivering(Then::Ending { why: Why::Ended, seek: Seek::Position, trouble })),
        ("Ending", ending(Why::Ended, ONCE)),
        ("Ending in doubt", ending(Why::Doubtful, ONCE)),
        ("Ending, gone", ending(Why::Gone, ONCE)),
        ("CaughtUp", State::CaughtUp),
        ("Drained", State::Drained),
        ("Failed", State::Failed),
    ])
}

fn events() -> Vec<(&'static str, Event)> {
    let listed = |number, shown| Event::Listed { number, shown };
    let page = |batch: Option<BatchId>, then| Event::Page { batch, to: batch.map(|_| position()), then };
    Vec::from([
        ("Unblocked", Event::Unblocked),
        ("Beyond", Event::Beyond),
        ("Sent", Event::Sent { request: RequestId(2) }),
        ("Shard iterator", Event::ShardIterator { text: "new".into() }),
        ("Page", page(Some(BatchId(2)), read())),
        ("Page, empty", page(None, read())),
        ("Page, nothing of it wanted", Event::Page { batch: None, to: Some(position()), then: read() }),
        ("Page, empty, at the tip", page(None, Then::CaughtUp)),
        ("Page, empty, the last", page(None, Then::Drained)),
        (
            "Page, empty, no iterator",
            page(None, Then::Ending { why: Why::Doubtful, seek: Seek::Position, trouble: ONCE }),
        ),
        ("Delivered", Event::Delivered),
        ("Delivered, more of the page", Event::Next { batch: BatchId(2), to: Some(position()), then: Then::Drained }),
        ("Stale", Event::Stale),
        ("Expired", Event::Failed(Verdict::Expired)),
        ("Wrong", Event::Failed(Verdict::Wrong)),
        ("Astray", Event::Failed(Verdict::Astray)),
        ("Throttled", Event::Failed(Verdict::Throttled)),
        ("Transient", Event::Failed(Verdict::Transient)),
        ("Fatal", Event::Failed(Verdict::Fatal)),
        ("Trimmed", Event::Failed(Verdict::Trimmed)),
        ("Gone", Event::Failed(Verdict::Gone)),
        ("Listed by an older listing", listed(5, Shown::Closed)),
        ("Listed as open", listed(6, Shown::Open)),
        ("Listed as closed", listed(6, Shown::Closed)),
        ("Listed no more", listed(6, Shown::Absent)),
    ])
}

fn context(rng: &mut Rng, failures: Option<u32>) -> Context<'_> {
    Context {
        now: NOW,
        backoff_first: Duration::from_millis(100),
        backoff_max: Duration::from_secs(5),
        failures,
        listings: 7,
        paced: NOW,
        rng,
    }
}

fn iterator(seek: Seek) -> ShardIterator {
    ShardIterator { text: "old".into(), born: NOW, seek, is_first: false }
}

fn read() -> Then {
    Then::Read { iterator: iterator(Seek::Position), trouble: Trouble::default() }
}

fn position() -> Position {
    Position::After(MessagePosition { sequence: "9".parse().expect("a number"), subsequence: None })
}

/// A state in the words of the table.
fn words(state: &State) -> String {
    let tried = |trouble: &Trouble| match trouble.wrongs {
        0 => format!("{}+{}", trouble.failures, trouble.delays),
        wrongs => format!("{}+{}+{wrongs}", trouble.failures, trouble.delays),
    };
    match state {
        State::Seeking { seek, not_before, trouble } => {
            let when = if *not_before > NOW { "later" } else { "now" };
            format!("Seeking {seek:?} {when}, {}", tried(trouble))
        }
        State::Ready { iterator, not_before, trouble } => {
            let when = if *not_before > NOW { "later" } else { "now" };
            format!("Ready {} {when}, {}", iterator.text, tried(trouble))
        }
        State::Ending { since, why, seek, trouble } => {
            format!("Ending {why:?} {seek:?} since {since}, {}", tried(trouble))
        }
        State::Sought { seek, request, .. } => format!("Sought {seek:?} by {}", request.0),
        State::Reading { iterator, request, .. } => format!("Reading {} by {}", iterator.text, request.0),
        State::Delivering { batch, .. } => format!("Delivering {}", batch.0),
        State::Blocked { .. } | State::CaughtUp | State::Drained | State::Failed => format!("{:?}", state.shown()),
    }
}
