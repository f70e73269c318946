//! The two clocks: the calendar, which owners of a lease share, and the monotonic one, by which the reader goes.

use wasip2::clocks::{monotonic_clock, wall_clock};

/// Now in the calendar, in milliseconds since the Unix epoch.
pub(crate) fn present() -> u64 {
    let now = wall_clock::now();
    now.seconds * 1000 + u64::from(now.nanoseconds) / 1_000_000
}

/// Now on the monotonic clock, in milliseconds.
pub(crate) fn now() -> u64 {
    monotonic_clock::now() / NANOS
}

/// Nanoseconds in a millisecond: what `wasi:clocks` counts in.
pub(crate) const NANOS: u64 = 1_000_000;

/// Waits until this time on the monotonic clock.
pub(crate) fn sleep_until(instant: u64) {
    monotonic_clock::subscribe_instant(instant.saturating_mul(NANOS)).block();
}
