//! The clock offset: signing with the service's time.

use std::ops::Range;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The clock for signing: the system's, corrected by the clock offset to the service.
#[derive(Default)]
pub(super) struct Clock {
    offset_ms: AtomicI64,
}

impl Clock {
    /// The time to sign with. It can always be expressed in `X-Amz-Date`, whatever the system's clock says.
    pub(super) fn now(&self) -> SystemTime {
        moved(SystemTime::now(), self.offset_ms.load(Ordering::Relaxed)).clamp(UNIX_EPOCH, UNIX_EPOCH + SIGNABLE_MAX)
    }

    /// Adopts the service's time if it is far from the time that was signed, in place of an earlier correction. Returns
    /// false if the difference is small, so that the signature must be wrong for another reason, or if the time is
    /// impossible.
    pub(super) fn correct(&self, signed_at: SystemTime, date: SystemTime) -> bool {
        let is_plausible = (UNIX_EPOCH + ERA.start..UNIX_EPOCH + ERA.end).contains(&date);
        if !is_plausible || ms_ahead(date, signed_at).unsigned_abs() < SKEW_MIN.as_millis() as u64 {
            return false;
        }
        self.offset_ms.store(ms_ahead(date, SystemTime::now()), Ordering::Relaxed);
        true
    }
}

fn moved(time: SystemTime, by_ms: i64) -> SystemTime {
    let offset = Duration::from_millis(by_ms.unsigned_abs());
    let moved = if by_ms < 0 { time.checked_sub(offset) } else { time.checked_add(offset) };
    moved.unwrap_or(time)
}

/// How far `a` is ahead of `b`.
fn ms_ahead(a: SystemTime, b: SystemTime) -> i64 {
    match a.duration_since(b) {
        Ok(ahead) => i64::try_from(ahead.as_millis()).unwrap_or(i64::MAX),
        Err(behind) => i64::try_from(behind.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
    }
}

/// AWS accepts a signature whose time differs from its own by up to five minutes.
const SKEW_MIN: Duration = Duration::from_secs(4 * 60);

/// From 2015 to 2100, since the epoch. A `Date` outside these years comes from a broken clock.
const ERA: Range<Duration> = Duration::from_secs(1_420_070_400)..Duration::from_secs(4_102_444_800);

/// The last second of the year 9999, which is the last time that `X-Amz-Date` can express.
pub(super) const SIGNABLE_MAX: Duration = Duration::from_secs(253_402_300_799);

/// Milliseconds since the Unix epoch. `None` before it.
pub(super) fn millis(time: SystemTime) -> Option<u64> {
    u64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signing_time_is_valid_whatever_the_offset() {
        for offset_ms in [i64::MIN, i64::MIN + 1, -1 << 60, -1 << 50, 0, 1 << 50, 1 << 60, i64::MAX] {
            let now = Clock { offset_ms: AtomicI64::new(offset_ms) }.now();
            assert!((UNIX_EPOCH..=UNIX_EPOCH + SIGNABLE_MAX).contains(&now), "{offset_ms}: {now:?}");
        }
    }
}
