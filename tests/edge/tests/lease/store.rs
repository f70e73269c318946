//! A simulated key-value store with one key and its counters, strict or with a quirk.

use std::collections::BTreeMap;

use simulation::chance::Chance;

/// How a store departs from the documentation of `wasi:keyvalue/atomics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Quirk {
    Strict,
    /// A swap of an absent value overwrites what was written since, as on SQLite.
    OverwriteAbsent,
    /// Every successful swap is reported as a failure, as on Redis.
    FalseFailure,
    /// A failed swap is reported as a success.
    FalseSuccess,
    /// Any answer may be lost, whether or not the call was carried out.
    LostReply,
    /// A read may return an old value, which the handle then takes for the newest.
    StaleRead,
}

pub(crate) const QUIRKS: [Quirk; 6] = [
    Quirk::Strict,
    Quirk::OverwriteAbsent,
    Quirk::FalseFailure,
    Quirk::FalseSuccess,
    Quirk::LostReply,
    Quirk::StaleRead,
];

/// How long an old value may still be read, in milliseconds.
const STALE_MAX: u64 = 30_000;

/// A `cas` handle: what a swap compares with.
#[derive(Clone, Debug, Default)]
pub(crate) enum Handle {
    /// `current` was not called, so a swap is unconditional.
    #[default]
    Unread,
    Read(Option<Vec<u8>>),
}

pub(crate) struct Store {
    quirk: Quirk,
    /// Every value that was ever stored, and since when.
    pub(crate) history: Vec<(u64, Vec<u8>)>,
    counters: BTreeMap<u64, i64>,
}

impl Store {
    pub(crate) fn new(quirk: Quirk, first: Option<Vec<u8>>) -> Store {
        Store { quirk, history: first.into_iter().map(|value| (0, value)).collect(), counters: BTreeMap::new() }
    }

    pub(crate) fn value(&self) -> Option<&Vec<u8>> {
        self.history.last().map(|(_, value)| value)
    }

    pub(crate) fn read(&self, chance: &mut Chance, now: u64) -> (Handle, Option<Vec<u8>>) {
        let mut read = self.value();
        if self.quirk == Quirk::StaleRead && chance.percent(40) {
            let back = chance.within(1, 2) as usize;
            // The old value must have been replaced recently.
            let next = self.history.len().checked_sub(back).and_then(|next| self.history.get(next));
            if next.is_some_and(|(since, _)| since + STALE_MAX >= now) {
                read = self.history.len().checked_sub(back + 1).map(|at| &self.history[at].1);
            }
        }
        (Handle::Read(read.cloned()), read.cloned())
    }

    pub(crate) fn swap(&mut self, handle: &mut Handle, value: Vec<u8>, now: u64) -> Result<(), String> {
        let swaps = match handle {
            Handle::Unread => true,
            Handle::Read(None) if self.quirk == Quirk::OverwriteAbsent => true,
            Handle::Read(base) => base.as_ref() == self.value(),
        };
        if swaps {
            self.history.push((now, value));
        }
        // After a failure, the caller gets a handle that has read the current value.
        *handle = Handle::Read(self.value().cloned());
        match (swaps, self.quirk) {
            (true, Quirk::FalseFailure) => Err("the swap failed".to_owned()),
            (false, Quirk::FalseSuccess) | (true, _) => Ok(()),
            (false, _) => Err("the swap failed".to_owned()),
        }
    }

    pub(crate) fn increment(&mut self, slot: u64, by: i64) -> i64 {
        let sum = self.counters.entry(slot).or_default();
        *sum += by;
        *sum
    }
}
