//! Decides when a shard may be read again.
//!
//! "Each shard can support up to a maximum total data read rate of 2 MB per second via GetRecords. […] If a call to
//! GetRecords returns 10 MB, the maximum allowed for this call, subsequent calls made within the next 5 seconds throw
//! an exception", and "five read transactions per second"
//! (<https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html>). All consumers of a shard share
//! these limits, so a reader only uses a configured share of them, and even less of the calls while there is nothing to
//! read.

use core::time::Duration;

use crate::time::Instant;

/// `GetRecords` calls per second and shard.
const CALLS: u64 = 5;
/// The number of consecutive pages without a new record that are not followed by an extra pause.
const IDLE_FREE: u32 = 3;
/// Bytes of data per second and shard.
const BYTES: u64 = 2 * 1024 * 1024;

/// The share of a shard's limits that this reader may use, and its pause at the tip.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// In percent, 1 to 100. `None` disables pacing.
    share: Option<u8>,
    idle_interval: Duration,
}

impl Pace {
    pub(crate) fn new(share: Option<u8>, idle_interval: Duration) -> Pace {
        Pace { share, idle_interval }
    }

    /// Returns when a shard may be read again after a request, sent at `sent`, that returned `bytes` bytes of data.
    pub(crate) fn after_read(self, sent: Instant, bytes: u64) -> Instant {
        let Some(share) = self.share else { return sent };
        let full = (1000 / CALLS).max(bytes.saturating_mul(1000).div_ceil(BYTES));
        sent + Duration::from_millis(full.saturating_mul(100).div_ceil(u64::from(share.max(1))))
    }

    /// Returns when a shard may be read again after a request, sent at `sent`, that found it at its tip.
    pub(crate) fn after_tip(self, sent: Instant) -> Instant {
        sent + self.idle_interval
    }
}

/// Returns when a shard may be read again after `idle` consecutive pages without a new record, the last of which was
/// requested at `sent`.
///
/// This applies even if pacing is disabled: otherwise the reader would poll a quiet shard as fast as the network
/// allows. Each of these pages doubles the pause, up to what the service's call limit requires.
pub(crate) fn after_idle(sent: Instant, idle: u32) -> Instant {
    let doublings = idle.saturating_sub(IDLE_FREE).min(u64::BITS - 1);
    let pause = Duration::from_millis((1 << doublings) - 1);
    sent + pause.min(Duration::from_millis(1000 / CALLS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_call_limit_and_the_byte_limit_are_both_respected() {
        let at = |share, bytes| Pace::new(share, Duration::ZERO).after_read(Instant(1000), bytes).0 - 1000;
        assert_eq!(at(Some(100), 0), 200);
        assert_eq!(at(Some(50), 0), 400);
        assert_eq!(at(Some(100), 10 * 1024 * 1024), 5000);
        assert_eq!(at(Some(100), 2 * 1024 * 1024 + 1), 1001);
        assert_eq!(at(None, 10 * 1024 * 1024), 0);
    }

    #[test]
    fn a_quiet_shard_is_polled_less_and_less_often() {
        let pauses = [0, 3, 4, 5, 6, 10, 11, 64, u32::MAX].map(|idle| after_idle(Instant(1000), idle).0 - 1000);
        assert_eq!(pauses, [0, 0, 1, 3, 7, 127, 200, 200, 200]);
    }
}
