//! The limits of a shard: calls and bytes per second, shared by all its readers.

use std::collections::VecDeque;

/// "Five read transactions per second."
const CALLS: usize = 5;
/// "Up to a maximum total data read rate of 2 MB per second."
const BYTES: u64 = 2 * 1024 * 1024;

/// How much of a shard's limits is used up.
#[derive(Clone, Debug, Default)]
pub(super) struct Quota {
    /// The times of `GetRecords` calls in the last second.
    calls: VecDeque<u64>,
    /// The times of `GetShardIterator` calls in the last second.
    seeks: VecDeque<u64>,
    /// When the bytes that were read no longer count.
    bytes_until: u64,
    /// When the penalty for exceeding a limit ends.
    blocked_until: u64,
}

/// "If there is insufficient provisioned throughput on the stream, subsequent calls made within the next 1 second
/// throw."
const PENALTY_MS: u64 = 1000;
/// "If a call to GetRecords returns 10 MB […] subsequent calls made within the next 5 seconds throw."
const BYTES_MS_MAX: u64 = 5000;

impl Quota {
    /// Admits a `GetRecords` call if the limits allow it. Just before it, other readers made `others` calls.
    pub(super) fn admit(&mut self, now: u64, others: usize, penalties: bool) -> bool {
        forget(&mut self.calls, now);
        for _ in 0..others.min(CALLS - self.calls.len()) {
            self.calls.push_back(now);
        }
        if now < self.blocked_until {
            return false;
        }
        let fits = now >= self.bytes_until && self.calls.len() < CALLS;
        if fits {
            self.calls.push_back(now);
        } else if penalties {
            self.blocked_until = now + PENALTY_MS;
        }
        fits
    }

    /// Admits a `GetShardIterator` call if the limit allows it: "five transactions per second per account per open
    /// shard".
    pub(super) fn admit_seek(&mut self, now: u64) -> bool {
        forget(&mut self.seeks, now);
        let fits = self.seeks.len() < CALLS;
        if fits {
            self.seeks.push_back(now);
        }
        fits
    }

    /// Counts the bytes of a page. Calls are refused for as long as these bytes use up the limit.
    pub(super) fn count_bytes(&mut self, bytes: u64, now: u64) {
        let until = self.bytes_until.max(now) + bytes * 1000 / BYTES;
        self.bytes_until = until.min(now + BYTES_MS_MAX);
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
    fn the_sixth_call_within_a_second_is_refused() {
        let mut quota = Quota::default();
        assert!((0..5).all(|i| quota.admit(i * 100, 0, false)));
        assert!(!quota.admit(999, 0, false));
        assert!(quota.admit(1000, 0, false));
        assert!((0..5).all(|i| quota.admit_seek(i)));
        assert!(!quota.admit_seek(999));
        assert!(quota.admit_seek(1000));
    }

    #[test]
    fn a_penalty_lasts_one_second() {
        let mut quota = Quota::default();
        assert!(quota.admit(0, 4, true));
        assert!(!quota.admit(900, 0, true));
        assert!(!quota.admit(1899, 0, true), "a call during the penalty does not extend it");
        assert!(quota.admit(1900, 0, true));
    }

    #[test]
    fn ten_mebibytes_block_for_five_seconds() {
        let mut quota = Quota::default();
        quota.count_bytes(10 * 1024 * 1024, 1000);
        assert!(!quota.admit(5999, 0, false));
        assert!(quota.admit(6000, 0, false));
    }
}
