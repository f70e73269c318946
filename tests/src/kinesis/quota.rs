//! The limits of a shard: calls and bytes a second, over all who read it.

use std::collections::VecDeque;

/// "Five read transactions per second."
const CALLS: usize = 5;
/// "Up to a maximum total data read rate of 2 MB per second."
const BYTES: u64 = 2 * 1024 * 1024;

/// What was read of a shard lately.
#[derive(Clone, Debug, Default)]
pub(super) struct Quota {
    calls: VecDeque<u64>,
    seeks: VecDeque<u64>,
    /// When the bytes that were read are made up for.
    made_up: u64,
    blocked_until: u64,
}

/// "If there is insufficient provisioned throughput on the stream, subsequent calls made within the next 1 second throw."
const PENALTY_MS: u64 = 1000;
/// "If a call to GetRecords returns 10 MB […] subsequent calls made within the next 5 seconds throw."
const MADE_UP_MS_MAX: u64 = 5000;

impl Quota {
    /// Counts a call for records, unless it is one too many; `neighbours` of others came just before it.
    pub(super) fn admit(&mut self, now: u64, neighbours: usize, penalties: bool) -> bool {
        forget(&mut self.calls, now);
        for _ in 0..neighbours.min(CALLS - self.calls.len()) {
            self.calls.push_back(now);
        }
        if now < self.blocked_until {
            return false;
        }
        let fits = now >= self.made_up && self.calls.len() < CALLS;
        if fits {
            self.calls.push_back(now);
        } else if penalties {
            self.blocked_until = now + PENALTY_MS;
        }
        fits
    }

    /// Counts a call for an iterator, unless it is one too many: "five transactions per second per account per open
    /// shard".
    pub(super) fn admit_seek(&mut self, now: u64) -> bool {
        forget(&mut self.seeks, now);
        let fits = self.seeks.len() < CALLS;
        if fits {
            self.seeks.push_back(now);
        }
        fits
    }

    /// Counts what a call brought: it blocks for as long as it takes to make up for it.
    pub(super) fn brought(&mut self, bytes: u64, now: u64) {
        let made_up = self.made_up.max(now) + bytes * 1000 / BYTES;
        self.made_up = made_up.min(now + MADE_UP_MS_MAX);
    }
}

fn forget(calls: &mut VecDeque<u64>, now: u64) {
    while calls.front().is_some_and(|&call| call + 1000 <= now) {
        calls.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sixth_call_of_a_second_is_one_too_many() {
        let mut quota = Quota::default();
        assert!((0..5).all(|i| quota.admit(i * 100, 0, false)));
        assert!(!quota.admit(999, 0, false));
        assert!(quota.admit(1000, 0, false));
        assert!((0..5).all(|i| quota.admit_seek(i)));
        assert!(!quota.admit_seek(999));
        assert!(quota.admit_seek(1000));
    }

    #[test]
    fn who_asks_too_much_waits_for_a_second() {
        let mut quota = Quota::default();
        assert!(quota.admit(0, 4, true));
        assert!(!quota.admit(900, 0, true));
        assert!(!quota.admit(1899, 0, true), "a call within the penalty does not make it longer");
        assert!(quota.admit(1900, 0, true));
    }

    #[test]
    fn ten_mebibytes_block_for_five_seconds() {
        let mut quota = Quota::default();
        quota.brought(10 * 1024 * 1024, 1000);
        assert!(!quota.admit(5999, 0, false));
        assert!(quota.admit(6000, 0, false));
    }
}
