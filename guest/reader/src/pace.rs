//! When a shard may be read again.
//!
//! "Each shard can support up to a maximum total data read rate of 2 MB per second via GetRecords. […] If a call to
//! GetRecords returns 10 MB, the maximum allowed for this call, subsequent calls made within the next 5 seconds throw
//! an exception", and "five read transactions per second" (<https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html>).
//! These limits are shared by all who read the shard, so a reader takes only its share of them.

use core::time::Duration;

use crate::time::Instant;

/// Calls of GetRecords on a shard, each second.
const CALLS: u64 = 5;
/// Bytes of data read from a shard, each second.
const BYTES: u64 = 2 * 1024 * 1024;

/// The share of the service's limits on a shard that this reader may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Percent, 1 to 100. None: no pace is kept.
    share: Option<u8>,
}

impl Pace {
    pub(crate) fn new(share: Option<u8>) -> Pace {
        Pace { share }
    }

    /// When a shard may be read again, after a read at `sent` that brought `bytes` of data.
    pub(crate) fn after_read(self, sent: Instant, bytes: u64) -> Instant {
        let Some(share) = self.share else { return sent };
        let full = (1000 / CALLS).max(bytes.saturating_mul(1000).div_ceil(BYTES));
        sent + Duration::from_millis(full.saturating_mul(100).div_ceil(u64::from(share.max(1))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_and_bytes_are_both_kept() {
        let at = |share, bytes| Pace::new(share).after_read(Instant(1000), bytes).0 - 1000;
        assert_eq!(at(Some(100), 0), 200);
        assert_eq!(at(Some(50), 0), 400);
        assert_eq!(at(Some(100), 10 * 1024 * 1024), 5000);
        assert_eq!(at(Some(100), 2 * 1024 * 1024 + 1), 1001);
        assert_eq!(at(None, 10 * 1024 * 1024), 0);
    }
}
