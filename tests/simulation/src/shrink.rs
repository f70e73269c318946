//! Simplifies a failing seed: switches off every feature of its scenario that the failure does not need.

use kinesis_reader_machine::wire::Wire;

use crate::environment::{self, Failure};
use crate::kinesis::Quirks;
use crate::scenario::{CommitMode, Dates, Scenario};

/// A feature of a scenario that can be switched off.
type Part = (&'static str, fn(&mut Scenario));

const PARTS: [Part; 36] = [
    ("all quirks of the service", |s| s.quirks = Quirks::plain()),
    ("service errors", |s| s.quirks.errors = Default::default()),
    ("false ends", |s| s.quirks.false_ends = 0),
    ("stale listings", |s| s.quirks.stale_ms = 0),
    ("CBOR", |s| s.wire = Wire::Json),
    ("children next to an iterator", |s| s.quirks.early_children = false),
    ("call and byte limits", |s| (s.quirks.limits, s.quirks.other_readers) = (false, 0)),
    ("AFTER_SEQUENCE_NUMBER like AT_SEQUENCE_NUMBER", |s| s.quirks.after_is_at = false),
    ("shards listed twice", |s| s.quirks.repeated_shards = 0),
    ("misbehavior of the service", |s| s.quirks.misbehavior = None),
    ("a run in which the service always misbehaves", |s| s.doom = None),
    ("multi-page listings", |s| s.quirks.listing_page = 1000),
    ("empty and short pages", |s| (s.quirks.empty_pages, s.quirks.short_pages) = (0, 0)),
    ("odd lags", |s| (s.quirks.lag, s.quirks.idle_lag) = (Quirks::plain().lag, Quirks::plain().idle_lag)),
    ("retention", |s| s.quirks.retention_ms = Quirks::plain().retention_ms),
    ("short-lived iterators", |s| s.quirks.iterator_life_ms = 300_000),
    ("inexact arrival times", |s| s.quirks.arrival_jitter_ms = 0),
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
    ("spurious inputs", |s| (s.host.spurious, s.host.late_wakes) = (0, 0)),
    ("interrupts", |s| s.host.interrupts = 0),
    ("transactions", |s| s.host.commit_mode = CommitMode::Separate),
    ("recreation", |s| s.recreated = 0),
    ("batches of parts of a page", |s| s.limits.batch_bytes = u32::MAX),
    ("aggregated records", |s| s.writer.aggregated = 0),
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
        if let Err(failure) = environment::play_changed(simplest.seed, with, history) {
            simplest = failure;
            off.push(part);
        }
    }
    (off.into_iter().map(|(name, _)| name).collect(), simplest)
}
