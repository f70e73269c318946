//! The times that a reader is given.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The monotonic clock of a reader and its driver.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Starts a clock at zero.
    pub fn start() -> Clock {
        Clock(Instant::now())
    }

    /// Milliseconds since the start.
    pub fn now(self) -> u64 {
        self.0.elapsed().as_millis() as u64
    }

    /// The first whole millisecond after `instant`, so that whatever is due at the instant is due then.
    pub(super) fn of(self, instant: Instant) -> u64 {
        instant.saturating_duration_since(self.0).as_millis() as u64 + 1
    }

    /// The point in time that is `ms` milliseconds after the start.
    pub(super) fn at(self, ms: u64) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.0 + Duration::from_millis(ms))
    }
}

/// The current time in milliseconds since the Unix epoch, as [`Loaded::open`](crate::component::Loaded::open) takes it.
pub fn present() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}
