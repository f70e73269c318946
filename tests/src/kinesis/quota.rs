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
    blocked_until: u64,
}

impl Quota {
    /// Counts a call, unless it is one too many.
    pub(super) fn admit(&mut self, now: u64) -> bool {
        while self.calls.front().is_some_and(|&call| call + 1000 <= now) {
            self.calls.pop_front();
        }
        let fits = now >= self.blocked_until && self.calls.len() < CALLS;
        if fits {
            self.calls.push_back(now);
        }
        fits
    }

    /// Counts what a call brought. "If a call to GetRecords returns 10 MB […] subsequent calls made within the next
    /// 5 seconds throw"; a page of more than a second's share blocks for as long as it takes to make up for it.
    pub(super) fn brought(&mut self, bytes: u64, now: u64) {
        if bytes > BYTES {
            self.blocked_until = now + (bytes * 1000).div_ceil(BYTES).min(5000);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sixth_call_of_a_second_is_one_too_many() {
        let mut quota = Quota::default();
        assert!((0..5).all(|i| quota.admit(i * 100)));
        assert!(!quota.admit(999));
        assert!(quota.admit(1000));
    }

    #[test]
    fn ten_mebibytes_block_for_five_seconds() {
        let mut quota = Quota::default();
        quota.brought(10 * 1024 * 1024, 1000);
        assert!(!quota.admit(5999));
        assert!(quota.admit(6000));
    }
}
