//! A key-value store with one key and its counters, as it should be and as stores are.

use std::collections::BTreeMap;

use tests::chance::Chance;

/// How a store departs from what `wasi:keyvalue/atomics` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Quirk {
    Strict,
    /// A swap on what was absent overwrites what came since: SQLite.
    OverwriteAbsent,
    /// A swap that was made is answered with a failure, always: Redis.
    FalseFailure,
    /// A swap that was not made is answered well.
    FalseSuccess,
    /// Any answer may be lost, after the call was carried out or before.
    LostReply,
    /// A read may give a value of before, which the handle then holds for the newest.
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

/// How long a value of before may be read, in milliseconds.
const STALE_MAX: u64 = 30_000;

/// What a `cas` handle holds for the newest.
#[derive(Clone, Debug, Default)]
pub(crate) enum Handle {
    /// `current` was not called: a swap is unconditional.
    #[default]
    Unread,
    Read(Option<Vec<u8>>),
}

pub(crate) struct Store {
    quirk: Quirk,
    /// Each value that was ever there, and since when.
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
            // What is read was still there not too long ago.
            let ended = self.history.len().checked_sub(back).and_then(|next| self.history.get(next));
            if ended.is_some_and(|(since, _)| since + STALE_MAX >= now) {
                read = self.history.len().checked_sub(back + 1).map(|at| &self.history[at].1);
            }
        }
        (Handle::Read(read.cloned()), read.cloned())
    }

    pub(crate) fn swap(&mut self, handle: &mut Handle, value: Vec<u8>, now: u64) -> Result<(), String> {
        let made = match handle {
            Handle::Unread => true,
            Handle::Read(None) if self.quirk == Quirk::OverwriteAbsent => true,
            Handle::Read(base) => base.as_ref() == self.value(),
        };
        if made {
            self.history.push((now, value));
        }
        // Where it failed, the caller gets a handle that has read anew.
        *handle = Handle::Read(self.value().cloned());
        match (made, self.quirk) {
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
