//! The clocks: the calendar, which owners of a lease share, and the monotonic one, by which the reader goes.
//!
//! A calendar can be wrong, and it can be set while we work. Three rules keep that from doing harm: lengths of time are
//! measured on the monotonic clock, within a request the calendar never steps back, and arithmetic saturates.

use std::sync::atomic::{AtomicU64, Ordering};

use wasip2::clocks::{monotonic_clock, wall_clock};

/// The last millisecond of the year 9999: no calendar that is written with four digits goes further.
pub(crate) const YEAR_9999: u64 = 253_402_300_799_999;

/// The calendar time that was given last, and the monotonic time at which it was.
static LAST: (AtomicU64, AtomicU64) = (AtomicU64::new(0), AtomicU64::new(0));

/// Begins a request: what the calendar said in one before does not count, in a host that uses an instance again.
pub(crate) fn begin() {
    LAST.0.store(0, Ordering::Relaxed);
    LAST.1.store(now(), Ordering::Relaxed);
}

/// Now in the calendar, in milliseconds since the Unix epoch: what the host says, but never less than was given before
/// and as much later as the monotonic clock has gone on since. A lease that is ours by a clock that was set back is held
/// for no longer than it is.
pub(crate) fn present() -> u64 {
    let now = now();
    let passed = now.saturating_sub(LAST.1.load(Ordering::Relaxed));
    let present = LAST.0.load(Ordering::Relaxed).saturating_add(passed).max(wall());
    LAST.0.store(present, Ordering::Relaxed);
    LAST.1.store(now, Ordering::Relaxed);
    present
}

/// What the host says of the calendar, which may step back.
pub(crate) fn wall() -> u64 {
    let now = wall_clock::now();
    now.seconds.saturating_mul(1000).saturating_add(u64::from(now.nanoseconds) / 1_000_000)
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
