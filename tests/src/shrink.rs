//! Simplifies a failing seed: switches off every feature of its scenario that the failure does not need.

use kinesis_reader_machine::wire::Wire;

use crate::kinesis::Habits;
use crate::scenario::{Dates, Keeping, Scenario};
use crate::world::{self, Failure};

/// A feature of a scenario that can be switched off.
type Part = (&'static str, fn(&mut Scenario));

const PARTS: [Part; 36] = [
    ("all quirks of the service", |s| s.habits = Habits::plain()),
    ("service errors", |s| s.habits.errors = Default::default()),
    ("false ends", |s| s.habits.false_ends = 0),
    ("stale listings", |s| s.habits.stale_ms = 0),
    ("CBOR", |s| s.wire = Wire::Json),
    ("children next to an iterator", |s| s.habits.early_children = false),
    ("call and byte limits", |s| (s.habits.limits, s.habits.neighbours) = (false, 0)),
    ("repeated records", |s| s.habits.after_is_at = false),
    ("odd listing pages", |s| s.habits.repeats = 0),
    ("invalid responses", |s| s.habits.wrong = None),
    ("a run of invalid responses", |s| s.doom = None),
    ("multi-page listings", |s| s.habits.listing_page = 1000),
    ("empty and short pages", |s| (s.habits.voids, s.habits.short_pages) = (0, 0)),
    ("odd lags", |s| (s.habits.lag, s.habits.idle_lag) = (Habits::plain().lag, Habits::plain().idle_lag)),
    ("retention", |s| s.habits.retention_ms = Habits::plain().retention_ms),
    ("short-lived iterators", |s| s.habits.iterator_life_ms = 300_000),
    ("inexact arrival times", |s| s.habits.arrival_jitter_ms = 0),
    ("network faults", |s| {
        let network = &mut s.network;
        (network.refused, network.reset, network.silent) = (0, 0, 0);
        (network.late, network.cut, network.html, network.unsent) = (0, 0, 0, 0);
    }),
    ("slow writes", |s| s.host.write_ms = (0, 0)),
    ("failing writes", |s| (s.host.write_retried, s.host.write_failed) = (0, 0)),
    ("crashes", |s| s.host.crashes = 0),
    ("lost saves", |s| s.host.lost_saves = 0),
    ("wrong calendar time", |s| s.host.calendar.skew_ms = 0),
    ("calendar time set during a run", |s| s.host.calendar.steps = 0),
    ("wrong Date headers", |s| s.host.calendar.dates = Dates::Right),
    ("clocks that jump forward", |s| s.host.jumps = 0),
    ("clocks that step back", |s| s.host.back_steps = 0),
    ("spurious inputs", |s| (s.host.needless, s.host.late_wakes) = (0, 0)),
    ("interrupts", |s| s.host.interrupts = 0),
    ("transactions", |s| s.host.keeping = Keeping::OneAfterTheOther),
    ("recreation", |s| s.recreated = 0),
    ("batches of parts of a page", |s| s.limits.batch_bytes = u32::MAX),
    ("aggregates", |s| s.writer.aggregated = 0),
    ("consecutive reshards", |s| s.writer.cascade = 0),
    ("reshards", |s| s.writer.reshards = 0),
    ("all but one run", |s| s.runs = 1),
];

/// Returns the names of the features that the failure does not need, and the failure without them.
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
