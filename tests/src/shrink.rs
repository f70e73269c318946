//! Makes a failing seed simpler: switches off what it does not need, and keeps what is left.

use kinesis_reader_machine::wire::Wire;

use crate::kinesis::Habits;
use crate::scenario::{Dates, Keeping, Scenario};
use crate::world::{self, Failure};

/// A part of a scenario that may be switched off.
type Part = (&'static str, fn(&mut Scenario));

const PARTS: [Part; 33] = [
    ("all liberties of the service", |s| s.habits = Habits::plain()),
    ("errors of the service", |s| s.habits.errors = Default::default()),
    ("ends that are none", |s| s.habits.false_ends = 0),
    ("listings of a moment ago", |s| s.habits.stale_ms = 0),
    ("CBOR", |s| s.wire = Wire::Json),
    ("children beside a next iterator", |s| s.habits.early_children = false),
    ("limits of calls and bytes", |s| (s.habits.limits, s.habits.neighbours) = (false, 0)),
    ("a record told again", |s| s.habits.after_is_at = false),
    ("odd pages of listings", |s| (s.habits.repeats, s.habits.token_loops) = (0, 0)),
    ("listings of many pages", |s| s.habits.listing_page = 1000),
    ("empty and short pages", |s| (s.habits.voids, s.habits.short_pages) = (0, 0)),
    ("odd lags", |s| (s.habits.lag, s.habits.idle_lag) = (Habits::plain().lag, Habits::plain().idle_lag)),
    ("ageing", |s| s.habits.retention_ms = Habits::plain().retention_ms),
    ("short lives of iterators", |s| s.habits.iterator_life_ms = 300_000),
    ("inexact times of arrival", |s| s.habits.arrival_jitter_ms = 0),
    ("faults of the network", |s| {
        let network = &mut s.network;
        (network.refused, network.reset, network.silent) = (0, 0, 0);
        (network.late, network.cut, network.html, network.unsent) = (0, 0, 0, 0);
    }),
    ("slow writes", |s| s.host.write_ms = (0, 0)),
    ("failing writes", |s| (s.host.write_retried, s.host.write_failed) = (0, 0)),
    ("crashes", |s| s.host.crashes = 0),
    ("lost saves", |s| s.host.lost_saves = 0),
    ("a wrong calendar", |s| s.host.calendar.skew_ms = 0),
    ("a calendar that is set in mid-run", |s| s.host.calendar.steps = 0),
    ("wrong dates", |s| s.host.calendar.dates = Dates::Right),
    ("clocks that leap", |s| s.host.jumps = 0),
    ("clocks that step back", |s| s.host.back_steps = 0),
    ("needless inputs", |s| (s.host.needless, s.host.late_wakes) = (0, 0)),
    ("interrupts", |s| s.host.interrupts = 0),
    ("transactions", |s| s.host.keeping = Keeping::OneAfterTheOther),
    ("recreation", |s| s.recreated = 0),
    ("aggregates", |s| s.writer.aggregated = 0),
    ("reshards at once", |s| s.writer.cascade = 0),
    ("reshards", |s| s.writer.reshards = 0),
    ("all runs but one", |s| s.runs = 1),
];

/// What a failing seed does not need, and how it fails without it.
pub fn shrink(failure: Failure, history: usize) -> (Vec<&'static str>, Failure) {
    let mut off: Vec<Part> = Vec::new();
    let mut simplest = failure;
    for part in PARTS {
        let with = |scenario: &mut Scenario| off.iter().chain([&part]).for_each(|(_, switch)| switch(scenario));
        if let Err(failure) = world::play_changed(simplest.seed, with, history) {
            simplest = failure;
            off.push(part);
        }
    }
    (off.into_iter().map(|(name, _)| name).collect(), simplest)
}
