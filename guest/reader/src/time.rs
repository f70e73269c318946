//! Time as the machine knows it: told from outside, never asked for.

use core::ops::Add;
use core::time::Duration;

/// A point on the host's monotonic clock, in milliseconds from an origin of the host's choosing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub u64);

impl Instant {
    /// How long after `earlier` this is; nothing if it is not.
    pub fn since(self, earlier: Instant) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, length: Duration) -> Instant {
        Instant(self.0.saturating_add(millis(length)))
    }
}

/// A point in calendar time, in milliseconds since the Unix epoch.
///
/// Used only for what Kinesis itself dates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The time that is this long before; the epoch if that is later.
    pub(crate) fn before(self, length: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(millis(length)))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;

    fn add(self, length: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(millis(length)))
    }
}

/// Whole milliseconds, at most `u64::MAX` of them.
pub(crate) fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}
