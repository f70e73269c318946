//! The calendar clock, by which leases end, and the monotonic clock, which the reader uses.
//!
//! A calendar clock can be wrong, and it can be set while we work. Three rules keep that harmless: durations are
//! measured on the monotonic clock, calendar time never steps back within a request, and arithmetic saturates.

use std::sync::atomic::{AtomicU64, Ordering};

use wasip2::clocks::{monotonic_clock, wall_clock};

/// The last millisecond of the year 9999, the last year that has four digits.
pub(crate) const YEAR_9999: u64 = 253_402_300_799_999;

/// The calendar time that `present` returned last, and the monotonic time when it did.
static LAST: (AtomicU64, AtomicU64) = (AtomicU64::new(0), AtomicU64::new(0));

/// Begins a request. A host may reuse an instance, so this forgets the calendar time of an earlier request.
pub(crate) fn begin() {
    LAST.0.store(0, Ordering::Relaxed);
    LAST.1.store(now(), Ordering::Relaxed);
}

/// Returns the calendar time, in milliseconds since the Unix epoch. It advances at least as fast as the monotonic
/// clock, so setting the host's clock back does not make a lease look longer than it is.
pub(crate) fn present() -> u64 {
    let now = now();
    let passed = now.saturating_sub(LAST.1.load(Ordering::Relaxed));
    let present = LAST.0.load(Ordering::Relaxed).saturating_add(passed).max(wall());
    LAST.0.store(present, Ordering::Relaxed);
    LAST.1.store(now, Ordering::Relaxed);
    present
}

/// Returns the host's calendar time, which may step back.
pub(crate) fn wall() -> u64 {
    let now = wall_clock::now();
    now.seconds.saturating_mul(1000).saturating_add(u64::from(now.nanoseconds) / 1_000_000)
}

/// Returns the monotonic time, in milliseconds.
pub(crate) fn now() -> u64 {
    monotonic_clock::now() / NANOS
}

/// The nanoseconds in a millisecond. `wasi:clocks` counts in nanoseconds.
pub(crate) const NANOS: u64 = 1_000_000;

/// Waits until this time on the monotonic clock.
pub(crate) fn sleep_until(instant: u64) {
    monotonic_clock::subscribe_instant(instant.saturating_mul(NANOS)).block();
}
