//! Decides when a shard may be read again.
//!
//! "Each shard can support up to a maximum total data read rate of 2 MB per second via GetRecords. […] If a call to
//! GetRecords returns 10 MB, the maximum allowed for this call, subsequent calls made within the next 5 seconds throw
//! an exception", and "five read transactions per second"
//! (<https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html>). All consumers of a shard share
//! these limits, so a reader only uses a configured share of them.

use core::time::Duration;

use crate::time::Instant;

/// `GetRecords` calls per second and shard.
const CALLS: u64 = 5;
/// Bytes of data per second and shard.
const BYTES: u64 = 2 * 1024 * 1024;

/// The share of a shard's limits that this reader may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// In percent, 1 to 100. `None` disables pacing.
    share: Option<u8>,
}

impl Pace {
    pub(crate) fn new(share: Option<u8>) -> Pace {
        Pace { share }
    }

    /// Returns when a shard may be read again after a request, sent at `sent`, that returned `bytes` bytes of data.
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
    fn the_call_limit_and_the_byte_limit_are_both_respected() {
        let at = |share, bytes| Pace::new(share).after_read(Instant(1000), bytes).0 - 1000;
        assert_eq!(at(Some(100), 0), 200);
        assert_eq!(at(Some(50), 0), 400);
        assert_eq!(at(Some(100), 10 * 1024 * 1024), 5000);
        assert_eq!(at(Some(100), 2 * 1024 * 1024 + 1), 1001);
        assert_eq!(at(None, 10 * 1024 * 1024), 0);
    }
}
